"""Packing: nothing lost, nothing over, little waste."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.pack import pack, pack_in_order

lengths_and_capacity = st.integers(1, 300).flatmap(
    lambda capacity: st.tuples(st.lists(st.integers(1, capacity), max_size=200), st.just(capacity))
)


def first_fit_decreasing(lengths, capacity) -> int:
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        place = next((index for index, free in enumerate(room) if free >= length), None)
        if place is None:
            room.append(capacity - length)
        else:
            room[place] -= length
    return len(room)


@settings(max_examples=150, deadline=None)
@given(lengths_and_capacity)
def test_every_sample_is_placed_once_and_no_sequence_overflows(case):
    lengths, capacity = case
    packed = pack(lengths, capacity)
    assert sorted(index for sequence in packed for index in sequence) == list(range(len(lengths)))
    assert all(0 < sum(lengths[index] for index in sequence) <= capacity for sequence in packed)
    assert pack(lengths, capacity) == packed


@settings(max_examples=150, deadline=None)
@given(lengths_and_capacity)
def test_there_are_hardly_more_sequences_than_first_fit_makes(case):
    lengths, capacity = case
    fewest = -(-sum(lengths) // capacity)
    found, other = len(pack(lengths, capacity)), first_fit_decreasing(lengths, capacity)
    assert fewest <= found <= max(other + 1, other * 1.02)


@pytest.mark.parametrize("seed", range(3))
def test_lengths_as_of_real_data_fill_their_sequences(seed):
    source = random.Random(seed)
    lengths = [min(2048, max(8, round(source.lognormvariate(5.5, 0.8)))) for _ in range(2000)]
    packed = pack(lengths, 2048)
    assert sum(lengths) / (len(packed) * 2048) >= 0.97
    assert len(packed) <= first_fit_decreasing(lengths, 2048) * 1.02


@pytest.mark.parametrize("length", [0, -1, 11])
def test_a_length_that_does_not_fit_is_a_fault_of_the_caller(length):
    with pytest.raises(ValueError, match=f"sample 1 has {length} tokens; expected 1 to 10"):
        pack([5, length], 10)


def test_nothing_packs_to_nothing():
    assert pack([], 10) == []


def test_a_sample_goes_into_the_fullest_sequence_that_has_room():
    assert pack([7, 6, 3], 10) == [[0, 2], [1]]


def test_packing_in_order_begins_a_sequence_where_a_sample_no_longer_fits():
    assert pack_in_order([3, 5, 2, 7, 1, 8], 8) == [[0, 1], [2], [3, 4], [5]]
    assert pack_in_order([], 8) == []
