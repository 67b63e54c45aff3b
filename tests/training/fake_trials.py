"""Trials that end in every way without training; each is run in a process of its own, which imports this file."""

import os
import signal
import time
from pathlib import Path

from tunesmith.errors import RunError


def finish(config, resume, overwrite):
    return True


def fail(config, resume, overwrite):
    raise RunError("the disk is full")


class OutOfMemoryError(RuntimeError):
    """torch's has this name."""


def be_too_large(config, resume, overwrite):
    raise OutOfMemoryError("CUDA out of memory")


def break_down(config, resume, overwrite):
    raise ZeroDivisionError("a fault of ours")


def be_killed(config, resume, overwrite):
    os.kill(os.getpid(), signal.SIGKILL)


def work(config, resume, overwrite):
    """Say that it has begun and work until SIGTERM comes, as a run does that then saves its checkpoint."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    Path(config.training.output_dir).mkdir(parents=True)
    for _ in range(200):
        time.sleep(0.05)
        if stopped:
            return False
    return True
