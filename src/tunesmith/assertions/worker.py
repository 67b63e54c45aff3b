"""A worker process: receives cases, returns verdicts, and exits when a call of an assertion hangs.

Output of the user's code goes to standard error; standard input is empty. The worker gets two open files: a channel to
the runner, and a mark file with the running call, followed by the traceback if the process dies.
"""

import faulthandler
import os
import pickle
import struct
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tunesmith.assertions.verdict import (
    Assertion,
    Case,
    Fault,
    Verdict,
    arguments_of,
    assertions_in,
    location_of,
    require_different,
    run_assertion,
)
from tunesmith.errors import ConfigError

MARK = struct.Struct("ii")
"""Number of the case in its batch, and number of the assertion; -1: none is running."""
LOADING = 60.0
"""Seconds for loading the files."""
SEND_SECONDS = 0.1
"""Seconds after which verdicts are sent before the batch is finished, so that a dead worker loses few."""


class _Watchdog:
    """Ends this process when a call takes too long, also in C code: faulthandler's thread needs no Python.

    Setting it is slow, so it is set to 110% of the limit, and not again within the next 10%.
    """

    def __init__(self, mark: int, seconds: float) -> None:
        self.mark, self.seconds, self.set_at = mark, seconds, 0.0

    def start(self, case: int, assertion: int) -> None:
        os.pwrite(self.mark, MARK.pack(case, assertion), 0)
        if (now := time.monotonic()) > self.set_at + self.seconds / 10:
            faulthandler.dump_traceback_later(self.seconds * 1.1, exit=True, file=self.mark)
            self.set_at = now

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self.set_at = 0.0


def serve(channel_number: int, mark: int) -> None:
    """Load the assertions that the first message names, then run them on batches of cases until the channel closes."""
    channel: Connection[Any, Any] = Connection(channel_number)
    files, seconds = channel.recv()
    faulthandler.enable(mark)
    loading = _Watchdog(mark, LOADING)
    loading.start(0, -1)
    try:
        assertions = _load(files)
    except ConfigError as error:
        channel.send(str(error))
        return
    loading.stop()
    channel.send([(assertion.__name__, location_of(assertion)) for assertion in assertions])
    watchdog = _Watchdog(mark, seconds)
    while True:
        try:
            cases = channel.recv()
        except EOFError:
            return
        _run_batch(cases, assertions, watchdog, channel)
        watchdog.stop()


def _load(files: list[tuple[Path, str]]) -> list[Assertion]:
    for file, _ in files:
        sys.path.insert(0, str(file.absolute().parent))  # as pytest does: the file may import its neighbors
    assertions = [assertion for file in files for assertion in assertions_in(*file)]
    require_different(assertion.__name__ for assertion in assertions)
    return assertions


def _run_batch(
    cases: list[Case], assertions: list[Assertion], watchdog: _Watchdog, channel: "Connection[Any, Any]"
) -> None:
    outcomes: list[list[Verdict | Fault]] = []
    sent_at = time.monotonic()
    for number, case in enumerate(cases):
        pickled_case = pickle.dumps(case)  # each assertion gets a fresh row, because another one may have changed it
        outcome: list[Verdict | Fault] = []
        for index, assertion in enumerate(assertions):
            watchdog.start(number, index)
            try:
                outcome.append(run_assertion(assertion, arguments_of(pickle.loads(pickled_case))))
            except Fault as fault:
                outcome.append(fault)
        outcomes.append(outcome)
        if time.monotonic() > sent_at + SEND_SECONDS:
            channel.send(outcomes)
            outcomes, sent_at = [], time.monotonic()
    channel.send(outcomes)
