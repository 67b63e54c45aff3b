"""Handlers of signals are set in one place, for a while, and in the main thread only."""

import os
import signal
import threading

from tunesmith.signals import handle_stop_signals


def test_stop_signals_are_handled_inside_the_block_only():
    earlier, numbers = signal.getsignal(signal.SIGINT), []
    with handle_stop_signals(lambda number, frame: numbers.append(number)):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert numbers == [signal.SIGINT, signal.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is earlier


def test_another_thread_changes_no_handler():
    earlier, inside = signal.getsignal(signal.SIGINT), []

    def work():
        with handle_stop_signals(print):
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [earlier]
