"""The process in which a user's assertions run: takes cases, answers with verdicts, and ends itself when a call hangs.

What the user's code prints goes to standard error; standard input is empty. The two files that it is given are a
channel to the runner, and a mark: which call is running, and behind it the traceback of how it ended.
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
    assertions_in,
    home,
    judge_one,
    known_to,
    require_different,
)
from tunesmith.errors import ConfigError

MARK = struct.Struct("ii")
"""Number of the case in its batch, and number of the assertion; -1: none is running."""
LOADING = 60.0
"""Seconds that the file may take to load."""
TELL = 0.1
"""Seconds after which verdicts are told before the batch is done, so that little is lost with the process."""


class _Clock:
    """Ends this process when a call takes too long, also in C code: the thread of faulthandler needs no Python.

    It is costly to wind up, so that it is wound up for a tenth longer than the limit, and not again within that tenth.
    """

    def __init__(self, mark: int, seconds: float) -> None:
        self.mark, self.seconds, self.wound = mark, seconds, 0.0

    def begin(self, case: int, assertion: int) -> None:
        os.pwrite(self.mark, MARK.pack(case, assertion), 0)
        if (now := time.monotonic()) > self.wound + self.seconds / 10:
            faulthandler.dump_traceback_later(self.seconds * 1.1, exit=True, file=self.mark)
            self.wound = now

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self.wound = 0.0


def serve(channel_number: int, mark: int) -> None:
    """Load the assertions that the first message names, then judge batches of cases until the channel closes."""
    channel: Connection[Any, Any] = Connection(channel_number)
    files, seconds = channel.recv()
    faulthandler.enable(mark)
    loading = _Clock(mark, LOADING)
    loading.begin(0, -1)
    try:
        assertions = _load(files)
    except ConfigError as error:
        channel.send(str(error))
        return
    loading.stop()
    channel.send([(assertion.__name__, home(assertion)) for assertion in assertions])
    clock = _Clock(mark, seconds)
    while True:
        try:
            cases = channel.recv()
        except EOFError:
            return
        _judge(cases, assertions, clock, channel)
        clock.stop()


def _load(files: list[tuple[Path, str]]) -> list[Assertion]:
    for file, _ in files:
        sys.path.insert(0, str(file.absolute().parent))  # as pytest does: the file may import what lies beside it
    found = [assertion for file in files for assertion in assertions_in(*file)]
    require_different(assertion.__name__ for assertion in found)
    return found


def _judge(cases: list[Case], assertions: list[Assertion], clock: _Clock, channel: "Connection[Any, Any]") -> None:
    found: list[list[Verdict | Fault]] = []
    told = time.monotonic()
    for number, case in enumerate(cases):
        as_sent = pickle.dumps(case)  # each assertion gets the row as it was: another one may have changed it
        outcome: list[Verdict | Fault] = []
        for index, assertion in enumerate(assertions):
            clock.begin(number, index)
            try:
                outcome.append(judge_one(assertion, known_to(pickle.loads(as_sent))))
            except Fault as fault:
                outcome.append(fault)
        found.append(outcome)
        if time.monotonic() > told + TELL:
            channel.send(found)
            found, told = [], time.monotonic()
    channel.send(found)
