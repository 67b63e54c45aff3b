"""Signal handlers. This is the only file that sets them; Python allows it in the main thread only."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handle_stop_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `handler` for SIGINT and SIGTERM inside the block, then restore the earlier handlers.

    In another thread than the main one nothing changes: a program that runs Tunesmith in a thread keeps its handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier_handler in earlier.items():
            signal.signal(number, earlier_handler)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker process: its parent stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
