"""Puts samples into sequences of a fixed length: with little waste (best-fit decreasing), or in their order."""

from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the samples of each sequence, as indices into `lengths`.

    Best-fit decreasing: the samples from long to short, each into the fullest sequence that still has room (Johnson,
    1973; at most 11/9 of the fewest sequences possible, and a few). Samples of one length are placed together, so that
    the cost grows with the number of different lengths. Deterministic.

    Args:
        lengths: tokens of each sample, each from 1 to `capacity`.
        capacity: tokens of a sequence.
    """
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        if not 0 < length <= capacity:
            raise ValueError(f"sample {index} has {length} tokens; expected 1 to {capacity}")
        by_length.setdefault(length, []).append(index)
    sequences: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # free tokens -> sequences with just that many
    for length in sorted(by_length, reverse=True):
        waiting = by_length[length][::-1]
        for room in sorted(room for room in with_room if room >= length):
            _fill(with_room.pop(room), room, length, waiting, sequences, with_room)
            if not waiting:
                break
        while waiting:
            sequences.append([])
            _fill([len(sequences) - 1], capacity, length, waiting, sequences, with_room)
    return sequences


def pack_in_order(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the samples of each sequence, in their order: a sample that no longer fits begins the next sequence."""
    sequences: list[list[int]] = []
    room = 0
    for index, length in enumerate(lengths):
        if length > room:
            sequences.append([])
            room = capacity
        sequences[-1].append(index)
        room -= length
    return sequences


def _fill(
    open_sequences: list[int],
    room: int,
    length: int,
    waiting: list[int],
    sequences: list[list[int]],
    with_room: dict[int, list[int]],
) -> None:
    """Fill sequences that have `room` left, one after the other, with the samples in `waiting`."""
    for number, sequence in enumerate(open_sequences):
        if not waiting:
            with_room.setdefault(room, []).extend(open_sequences[number:])
            return
        left = room
        while waiting and left >= length:
            sequences[sequence].append(waiting.pop())
            left -= length
        if left:
            with_room.setdefault(left, []).append(sequence)
