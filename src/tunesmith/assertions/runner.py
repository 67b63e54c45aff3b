"""Runs assertions in parallel worker processes: a call that hangs or crashes ends only its worker.

Workers are started as new programs, so that they do not have torch and do not run the caller's main file again.
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
"""The result of each assertion on one case."""

BATCH = 128
"""Most cases of a batch."""
BATCH_SECONDS = 0.1
"""Target time of a batch: much longer batches are halved, shorter ones doubled."""
GATHER_SECONDS = 0.05
"""Time in which cases are collected for a batch; a slow source gives batches of one."""
MAX_FAULTS = 5
"""Faults that are reported; and workers that may die before the run stops."""
CASES_AFTER_FAULT = 1000
"""Cases after the first fault, to report other faults together with it."""

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
        path: `file.py` or `file.py:function`, or several, relative to the working directory or to `source`.
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
    """Assertions and their worker processes, which are started when they are needed.

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
        """Start the first worker, which reports whether the files are usable."""
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
            ConfigError: assertions are at fault. The verdicts before the first faulty case are yielded; some
                more cases are run to report several faults at once.
        """
        faults: dict[tuple[str, str], tuple[Fault, list[str]]] = {}
        number = num_after_fault = 0
        for batch, outcomes in self._batches(iter(cases)):
            for case, outcome in zip(batch, outcomes, strict=True):
                number += 1
                for item in outcome:
                    if isinstance(item, Fault):
                        faults.setdefault((item.name, item.location), (item, []))[1].append(
                            case.place or f"case {number}"
                        )
                if not faults:
                    yield [item for item in outcome if isinstance(item, Verdict)]
            num_after_fault += len(batch) if faults else 0
            if num_after_fault > CASES_AFTER_FAULT or self._lost >= MAX_FAULTS:
                break
        if faults:
            raise ConfigError(_report_faults(list(faults.values())))

    def _batches(self, cases: Iterator[Case]) -> Iterator[tuple[list[Case], list[Outcome]]]:
        """Yield batches with their outcomes, in order; at most two for each worker are in memory."""
        running: deque[tuple[list[Case], Future[list[Outcome]]]] = deque()
        is_exhausted = False
        while running or not is_exhausted:
            if is_exhausted or len(running) == 2 * self._count or (running and running[0][1].done()):
                batch, future = running.popleft()
                yield batch, future.result()
                continue
            batch, start = [], time.monotonic()
            for case in islice(cases, self._size):
                batch.append(case)
                if time.monotonic() > start + GATHER_SECONDS:
                    break
            is_exhausted = not batch
            if batch:
                running.append((batch, self._pool.submit(self._run, batch)))

    def _run(self, cases: list[Case]) -> list[Outcome]:
        """Return the outcomes of a batch; if a worker dies, its case gets a fault and another worker continues."""
        start = time.monotonic()
        outcomes: list[Outcome | None] = [None] * len(cases)
        while unanswered := [index for index, outcome in enumerate(outcomes) if outcome is None]:
            if self._lost >= MAX_FAULTS:
                fault = Fault("and all others", self._files[0][0].name, f"are not run: {MAX_FAULTS} workers died")
                return [outcome or [fault] for outcome in outcomes]
            worker = self._take()
            try:
                for index, outcome in zip(unanswered, worker.run([cases[index] for index in unanswered]), strict=True):
                    outcomes[index] = outcome
                self._idle.append(worker)
            except (EOFError, OSError):
                number, fault = worker.read_death()
                outcomes[unanswered[number]] = [fault]
                with self._lock:
                    self._lost += 1
                    self._all.discard(worker)
        seconds = time.monotonic() - start
        if seconds < BATCH_SECONDS:
            self._size = min(max(self._size, 2 * len(cases)), BATCH)
        elif seconds > 2 * BATCH_SECONDS:
            self._size = max(1, len(cases) // 2)
        return [outcome for outcome in outcomes if outcome is not None]

    def _take(self) -> "_Worker":
        """Return an idle worker, or a new one."""
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
        self.assertions: list[tuple[str, str]] = []  # name and location of each
        self.mark = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        os.lseek(self.mark.fileno(), MARK.size, os.SEEK_SET)  # a traceback is written after the mark
        self.channel, worker_channel = Pipe()
        with worker_channel:
            numbers = (worker_channel.fileno(), self.mark.fileno())
            # -B: bytecode of a file that was edited within the same second would be stale.
            self.process = subprocess.Popen(
                [sys.executable, "-B", "-c", BOOT, *map(str, numbers), *map(str, sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=numbers,
                env={key: value for key, value in os.environ.items() if key != "PYTHONOPTIMIZE"}  # it drops `assert`
                | {"PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # the parent handles Ctrl-C, and ends child processes with the worker
            )

    def load(self) -> None:
        """Wait until the assertions are loaded.

        Raises:
            ConfigError: they do not load.
        """
        try:
            self.channel.send((self.files, self.seconds))
            message = self._receive()
        except (EOFError, OSError):
            _, fault = self.read_death(loading=True)
            raise ConfigError(f"{', '.join(str(file) for file, _ in self.files)}: loading it {fault.reason}") from None
        if isinstance(message, str):
            raise ConfigError(message)
        self.assertions = message

    def run(self, cases: list[Case]) -> Iterator[Outcome]:
        """Yield the outcome of each case.

        Raises:
            EOFError, OSError: the process has died.
        """
        os.pwrite(self.mark.fileno(), MARK.pack(0, -1), 0)
        self.channel.send(cases)
        count = 0
        while count < len(cases):
            outcomes = self._receive()
            count += len(outcomes)
            yield from outcomes

    def _receive(self) -> Any:
        """Return the next message. A child process of an assertion may keep the channel open after the worker's end."""
        while not self.channel.poll(1.0):
            if self.process.poll() is not None and not self.channel.poll(0):
                raise EOFError
        return self.channel.recv()

    def read_death(self, *, loading: bool = False) -> tuple[int, Fault]:
        """Return the case during which the process died, and a fault of the running assertion."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.kill()
        content = os.pread(self.mark.fileno(), 100_000, 0)
        number, index = MARK.unpack(content[: MARK.size])
        dump = content[MARK.size :].decode(errors="replace")
        frames = re.findall(r'File "(.+)", line (\d+) in', dump)
        assertion_files = {str(file) for file, _ in self.files}
        name, default = self.assertions[index] if index >= 0 else ("an assertion", self.files[0][0].name)
        locations = (f"{Path(file).name}:{line}" for file, line in frames if file in assertion_files)
        location = next(locations, default)
        code = self.process.wait()
        if dump.startswith("Timeout"):
            limit = "60 s" if loading else f"{self.seconds:g} s, the limit (`evaluation.assertion_seconds`),"
            reason = f"took over {limit} and was ended"
        elif dump:
            reason = f"crashed: {dump.splitlines()[0].removeprefix('Fatal Python error: ')}"
        else:
            method = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            reason = f"ended its process {method}; an assertion fails a case by `assert`"
        self.close()
        return number, Fault(name, location, reason)

    def kill(self) -> None:
        """Kill the process and its children."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process if it still runs, and free its resources."""
        if not self.mark.closed:
            self.kill()
            self.process.wait()
            self.channel.close()
            self.mark.close()


def _report_faults(faults: list[tuple[Fault, list[str]]]) -> str:
    """Return the first faults as text, each with the first case that shows it."""
    lines = []
    for fault, locations in faults[:MAX_FAULTS]:
        more = f" and {len(locations) - 1:,} more" if len(locations) > 1 else ""
        lines.append(f"{fault} ({locations[0]}{more})")
    if len(faults) > MAX_FAULTS:
        lines.append(f"and {len(faults) - MAX_FAULTS} more faults")
    return "assertions are at fault:\n  " + "\n  ".join(lines)
