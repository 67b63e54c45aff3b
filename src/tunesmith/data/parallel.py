"""Work on batches of rows on all cores, with the results in order."""

import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

from tunesmith.signals import ignore_interrupts

Item = TypeVar("Item")
Result = TypeVar("Result")

ALONE = 3
"""Batches that are done before other processes are started."""
_work: Callable[[Any], Any]


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`; `itertools.batched` is new in Python 3.12."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def on_all_cores(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order; two items for each process are under way, so that memory is flat.

    The processes are forks, which share what is loaded, tokenizer and templates too. On macOS and Windows, where
    libraries do not bear a fork, all is done here.
    """
    rest = iter(items)
    yield from map(work, islice(rest, ALONE))
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    first = list(islice(rest, 1)) if cores > 1 else []
    if not first:
        yield from map(work, rest)
        return
    with ProcessPoolExecutor(cores, get_context("fork"), _begin, (work,)) as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in chain(first, rest):
                running.append(pool.submit(_do, item))
                if len(running) > 2 * cores:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(work: Callable[[Any], Any]) -> None:
    """Keep what is to be done; Ctrl-C is for the process that asks.

    The tokenizer's threads did not come along with the fork: it would wait for them.
    """
    global _work
    _work = work
    os.environ.update(TOKENIZERS_PARALLELISM="false")
    ignore_interrupts()
    gc.disable()  # rows make no cycles, and looking for them takes a quarter of the time


def _do(item: Any) -> Any:
    return _work(item)
