"""Rows that say the same twice, nearly the same, or ask the same in training and in evaluation.

A row is kept as hashes, about a hundred bytes, in flat arrays; what is equal is found by sorting at the end. Nearly
equal rows are found by MinHash (Broder, 1997): 64 bytes a row, in eight bands of which one must be equal.
"""

import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from tunesmith.checks.report import Hit

BANDS, ROWS = 8, 8
"""A band of eight hashes is equal with probability share^8: texts alike to 0.9 are compared in 99 of 100 cases."""
ALIKE = 0.8
"""Share of equal hashes from which two rows count as nearly the same."""
SHINGLE = 5
"""Words in a row that are compared as one."""

_ODD = np.random.default_rng(0).integers(0, 2**63, (2, BANDS * ROWS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class Fingerprints:
    """Hashes of rows, of prompts of samples, and where they come from."""

    def __init__(self, *, near: bool) -> None:
        self.near = near
        self.files: list[str] = []
        self.rows = {name: array(kind) for name, kind in (("file", "H"), ("row", "Q"), ("text", "Q"))}
        self.samples = {name: array(kind) for name, kind in (("row", "Q"), ("prompt", "Q"))}
        self.signatures = bytearray()

    def add(self, file: str, row: int, text: str, content: str) -> None:
        """Add a row: its whole text, and what it says itself, without what all rows share."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        for name, value in (("file", len(self.files) - 1), ("row", row), ("text", _hash(text))):
            self.rows[name].append(value)
        if self.near:
            self.signatures += signature(content)

    def add_sample(self, prompt: str) -> None:
        """Add a sample of the last row."""
        self.samples["row"].append(len(self.rows["row"]) - 1)
        self.samples["prompt"].append(_hash(prompt))

    def place(self, index: int) -> tuple[str, int]:
        """Return file and row."""
        return self.files[self.rows["file"][index]], self.rows["row"][index]

    def hits(self, pairs: Iterable[tuple[int, int]], what: str) -> Iterator[Hit]:
        """Return a hit for each row of which there is an earlier one."""
        for later, earlier in pairs:
            yield Hit(*self.place(later), f"{what} {':'.join(map(str, self.place(earlier)))}")

    def equal(self) -> list[tuple[int, int]]:
        """Return each row whose text an earlier row has, with that row."""
        return _repeats(np.frombuffer(self.rows["text"], np.uint64))

    def alike(self) -> list[tuple[int, int]]:
        """Return each row that is nearly, but not quite, like an earlier one, with that row."""
        signatures = np.frombuffer(bytes(self.signatures), np.uint8).reshape(-1, BANDS * ROWS)
        looked_at = np.array(signatures.any(axis=1))
        looked_at[[later for later, _ in self.equal()]] = False
        rows = np.flatnonzero(looked_at)
        found: dict[int, int] = {}
        for band in signatures.view(np.uint64)[rows].T:
            for later, earlier in _repeats(band):
                one, other = int(rows[later]), int(rows[earlier])
                if one not in found and np.mean(signatures[one] == signatures[other]) >= ALIKE:
                    found[one] = other
        return sorted(found.items())

    def leaked(self, held_out: Sequence[int]) -> list[tuple[int, int]]:
        """Return each row of which a sample is held out whose prompt a training row has too, with that row."""
        prompts, rows = (np.frombuffer(self.samples[name], np.uint64) for name in ("prompt", "row"))
        is_test = np.zeros(len(prompts), bool)
        is_test[list(held_out)] = True
        trained = dict(zip(prompts[~is_test][::-1].tolist(), rows[~is_test][::-1].tolist(), strict=True))
        pairs = zip(rows[is_test].tolist(), prompts[is_test].tolist(), strict=True)
        return sorted({row: trained[prompt] for row, prompt in pairs if prompt in trained}.items())


def _repeats(values: Any) -> list[tuple[int, int]]:
    """Return the index of each value that stands earlier too, with the first index of it."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    earlier = first[inverse]
    later = np.flatnonzero(earlier != np.arange(len(values)))
    return [(int(index), int(earlier[index])) for index in later]


def _hash(text: str) -> int:
    """Hash a text, but for case and whitespace."""
    plain = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def signature(text: str) -> bytes:
    """Return 64 bytes, of which two texts share about as many as they share runs of five words; zeros if too short."""
    units = re.findall(r"\w+", text.casefold())
    if units and len(text) > 15 * len(units):  # a language without spaces
        units = list(text)
    if len(units) < 2 * SHINGLE:
        return bytes(BANDS * ROWS)
    words = np.array([crc32(unit.encode("utf-8", "replace")) for unit in units], np.uint64)
    runs = words[: len(words) - SHINGLE + 1].copy()
    for offset in range(1, SHINGLE):
        runs *= np.uint64(0x9E3779B97F4A7C15)
        runs += words[offset : len(words) - SHINGLE + 1 + offset]
    runs ^= runs >> np.uint64(29)
    lowest = np.full((BANDS * ROWS, 1), 2**64 - 1, np.uint64)
    for start in range(0, len(runs), 4096):  # in parts, since each is multiplied by 64
        hashed = runs[start : start + 4096] * _ODD[0] + _ODD[1]
        lowest = np.minimum(lowest, (hashed ^ hashed >> np.uint64(32)).min(axis=1, keepdims=True))
    return bytes((lowest >> np.uint64(40)).astype(np.uint8)[:, 0])
