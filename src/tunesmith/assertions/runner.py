"""Runs assertions in parallel, in processes of their own: a call that hangs or dies takes its worker with it, no more.

The workers are started as new programs, so that they hold no torch and run nothing of the caller's main file again.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import Pipe
from pathlib import Path
from threading import Lock
from typing import Any

from tunesmith.assertions.verdict import Case, Fault, Verdict
from tunesmith.assertions.worker import MARK
from tunesmith.errors import ConfigError
from tunesmith.references import code_file

Outcome = list[Verdict | Fault]
"""What each assertion makes of one case."""

BATCH = 128
"""Cases that a worker is given at once, at most."""
FULL = 0.1
"""Seconds of work that a batch should be: longer ones are halved, shorter ones doubled."""
GATHER = 0.05
"""Seconds in which cases are gathered for a batch; of a slow source one is judged as it comes."""
NAMED = 5
"""Faults that are told; and workers that may be lost before the rest is given up."""
LOOK_ON = 1000
"""Cases that are judged after one with a fault, to tell other faults together with it."""

BOOT = (
    "import sys; sys.path[:] = sys.argv[3:]; from tunesmith.assertions.worker import serve; "
    "serve(int(sys.argv[1]), int(sys.argv[2]))"
)


@contextmanager
def open_assertions(
    path: str | Sequence[str], source: str, seconds: float = 5.0, workers: int | None = None
) -> Iterator["AssertionRunner"]:
    """Yield a runner of the assertions in one or more files: `runner(cases)` gives the verdicts on each, in order.

    Args:
        path: `file.py` or `file.py:function`, or several, as seen from here or from beside `source`.
        source: the config's file.
        seconds: how long one call of one assertion may take.
        workers: how many processes; by default as many as there are cores.

    Raises:
        ConfigError: a file is missing or has no usable assertion; `runner(cases)` raises it for faults of assertions.
    """
    files = [code_file(name, source) for name in ([path] if isinstance(path, str) else path)]
    runner = AssertionRunner(files, seconds, workers or os.cpu_count() or 1)
    try:
        runner.open()
        yield runner
    finally:
        runner.close()


class AssertionRunner:
    """Assertions, and the processes that run them, which are started as they are needed.

    Attributes:
        names: names of the assertions, in the order of their verdicts.
    """

    def __init__(self, files: list[tuple[Path, str]], seconds: float, workers: int) -> None:
        self.names: list[str] = []
        self._files, self._seconds, self._count = files, seconds, workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="assertions")
        self._lock = Lock()
        self._all: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._size, self._lost, self._closed = 1, 0, False

    def open(self) -> None:
        """Start the first worker, which tells whether the files can be used."""
        worker = self._take()
        self.names = [name for name, _ in worker.assertions]
        self._idle.append(worker)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self._closed = True
        for worker in list(self._all):
            worker.kill()
        self._pool.shutdown(cancel_futures=True)
        for worker in list(self._all):
            worker.close()

    def __call__(self, cases: Iterable[Case]) -> Iterator[list[Verdict]]:
        """Yield the verdicts on each case, one of each assertion, in the order of the cases.

        Raises:
            ConfigError: assertions are at fault. Verdicts on the cases before the first such one are given; some
                further cases are judged, so that several faults are told at once.
        """
        faults: dict[tuple[str, str], tuple[Fault, list[str]]] = {}
        number = judged_on = 0
        for batch, outcomes in self._batches(iter(cases)):
            for case, outcome in zip(batch, outcomes, strict=True):
                number += 1
                for item in outcome:
                    if isinstance(item, Fault):
                        faults.setdefault((item.name, item.where), (item, []))[1].append(case.place or f"case {number}")
                if not faults:
                    yield [item for item in outcome if isinstance(item, Verdict)]
            judged_on += len(batch) if faults else 0
            if judged_on > LOOK_ON or self._lost >= NAMED:
                break
        if faults:
            raise ConfigError(_told(list(faults.values())))

    def _batches(self, cases: Iterator[Case]) -> Iterator[tuple[list[Case], list[Outcome]]]:
        """Yield batches with their outcomes, in order; two for each worker are under way, so that memory is flat."""
        running: deque[tuple[list[Case], Future[list[Outcome]]]] = deque()
        ended = False
        while running or not ended:
            if ended or len(running) == 2 * self._count or (running and running[0][1].done()):
                batch, future = running.popleft()
                yield batch, future.result()
                continue
            batch, start = [], time.monotonic()
            for case in islice(cases, self._size):
                batch.append(case)
                if time.monotonic() > start + GATHER:
                    break
            ended = not batch
            if batch:
                running.append((batch, self._pool.submit(self._run, batch)))

    def _run(self, cases: list[Case]) -> list[Outcome]:
        """Return the outcomes of a batch; a worker that is lost gives its case a fault, and another goes on."""
        start = time.monotonic()
        found: list[Outcome | None] = [None] * len(cases)
        while todo := [index for index, outcome in enumerate(found) if outcome is None]:
            if self._lost >= NAMED:
                given_up = Fault("and all others", self._files[0][0].name, f"are given up: {NAMED} workers were lost")
                return [outcome or [given_up] for outcome in found]
            worker = self._take()
            try:
                for index, outcome in zip(todo, worker.judge([cases[index] for index in todo]), strict=True):
                    found[index] = outcome
                self._idle.append(worker)
            except (EOFError, OSError):
                number, fault = worker.last_words()
                found[todo[number]] = [fault]
                with self._lock:
                    self._lost += 1
                    self._all.discard(worker)
        took = time.monotonic() - start
        if took < FULL:
            self._size = min(max(self._size, 2 * len(cases)), BATCH)
        elif took > 2 * FULL:
            self._size = max(1, len(cases) // 2)
        return [outcome for outcome in found if outcome is not None]

    def _take(self) -> "_Worker":
        """Return a worker that is idle, or a new one."""
        with self._lock:
            if self._closed:
                raise InterruptedError("the assertion runner is closed")
            if self._idle:
                return self._idle.pop()
            worker = _Worker(self._files, self._seconds)
            self._all.add(worker)
        worker.load()
        return worker


class _Worker:
    """A process that runs assertions: see `worker.py`."""

    def __init__(self, files: list[tuple[Path, str]], seconds: float) -> None:
        self.files, self.seconds = files, seconds
        self.assertions: list[tuple[str, str]] = []  # name and place of each
        self.mark = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        os.lseek(self.mark.fileno(), MARK.size, os.SEEK_SET)  # a traceback is written behind the mark
        self.channel, other = Pipe()
        with other:
            numbers = (other.fileno(), self.mark.fileno())
            # -B: a file that was edited within a second must not be found as it was before.
            self.process = subprocess.Popen(
                [sys.executable, "-B", "-c", BOOT, *map(str, numbers), *map(str, sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=numbers,
                env={key: value for key, value in os.environ.items() if key != "PYTHONOPTIMIZE"}  # it drops `assert`
                | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is ours to handle, and what it starts ends with it
            )

    def load(self) -> None:
        """Wait until the assertions are loaded.

        Raises:
            ConfigError: they do not load.
        """
        try:
            self.channel.send((self.files, self.seconds))
            found = self._receive()
        except (EOFError, OSError):
            _, fault = self.last_words(loading=True)
            raise ConfigError(f"{', '.join(str(file) for file, _ in self.files)}: loading it {fault.what}") from None
        if isinstance(found, str):
            raise ConfigError(found)
        self.assertions = found

    def judge(self, cases: list[Case]) -> Iterator[Outcome]:
        """Yield the outcome of each case.

        Raises:
            EOFError, OSError: the process is gone.
        """
        os.pwrite(self.mark.fileno(), MARK.pack(0, -1), 0)
        self.channel.send(cases)
        count = 0
        while count < len(cases):
            outcomes = self._receive()
            count += len(outcomes)
            yield from outcomes

    def _receive(self) -> Any:
        """Return the next message. A process that the assertion started may hold the channel open after the end."""
        while not self.channel.poll(1.0):
            if self.process.poll() is not None and not self.channel.poll(0):
                raise EOFError
        return self.channel.recv()

    def last_words(self, *, loading: bool = False) -> tuple[int, Fault]:
        """Return the case on which the process was lost, and how, as a fault of the assertion that ran."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.kill()
        content = os.pread(self.mark.fileno(), 100_000, 0)
        number, index = MARK.unpack(content[: MARK.size])
        dump = content[MARK.size :].decode(errors="replace")
        frames = re.findall(r'File "(.+)", line (\d+) in', dump)
        own = {str(file) for file, _ in self.files}
        name, home = self.assertions[index] if index >= 0 else ("an assertion", self.files[0][0].name)
        where = next((f"{Path(file).name}:{line}" for file, line in frames if file in own), home)
        code = self.process.wait()
        if dump.startswith("Timeout"):
            limit = "60 s" if loading else f"{self.seconds:g} s, the limit (`evaluation.assertion_seconds`),"
            what = f"took over {limit} and was ended"
        elif dump:
            what = f"crashed: {dump.splitlines()[0].removeprefix('Fatal Python error: ')}"
        else:
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            what = f"ended its process {how}; an assertion says no by `assert`"
        self.close()
        return number, Fault(name, where, what)

    def kill(self) -> None:
        """End the process, and those that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Free what the process held; it has ended, or is ended."""
        if not self.mark.closed:
            self.kill()
            self.process.wait()
            self.channel.close()
            self.mark.close()


def _told(faults: list[tuple[Fault, list[str]]]) -> str:
    """Return the first faults in words, each with the first case that shows it."""
    lines = []
    for fault, places in faults[:NAMED]:
        more = f" and {len(places) - 1:,} more" if len(places) > 1 else ""
        lines.append(f"{fault} ({places[0]}{more})")
    if len(faults) > NAMED:
        lines.append(f"and {len(faults) - NAMED} more faults")
    return "assertions are at fault:\n  " + "\n  ".join(lines)
