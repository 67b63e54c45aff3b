"""Batches are worked on in other processes, in order, a few at a time."""

import os
import time

import pytest

from tunesmith.data.parallel import ALONE, on_all_cores


def slow_at_first(item):
    time.sleep(0.05 if item == ALONE else 0)
    return item, os.getpid()


def test_results_come_in_order_and_from_several_processes():
    found = list(on_all_cores(slow_at_first, range(40)))
    assert [item for item, _ in found] == list(range(40))
    assert {process for _, process in found[:ALONE]} == {os.getpid()}
    if len(os.sched_getaffinity(0)) > 1:
        assert len({process for _, process in found}) > 2


def test_items_are_read_as_they_are_needed():
    read = []
    results = on_all_cores(slow_at_first, (read.append(item) or item for item in range(1000)))
    assert [next(results)[0] for _ in range(20)] == list(range(20))
    assert len(read) < 20 + 4 * (os.cpu_count() or 1)
    results.close()


def test_an_error_is_that_of_the_work():
    def fails(item):
        raise ValueError(f"not {item}") if item == 7 else item

    def work(item):
        return fails(item) if item == 7 else item

    with pytest.raises(ValueError, match="not 7"):
        list(on_all_cores(work, range(20)))
