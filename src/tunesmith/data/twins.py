"""Texts that say the same or nearly the same: the one place that decides it, for the doctor, `curate` and `generate`.

The same is equal but for case, whitespace and how letters are composed. Nearly the same is a share of equal runs of
five words (Jaccard). MinHash (Broder, 1997) by rensa proposes the pairs; the share is then counted, not estimated. The
runs lie in a temporary file, so that a text costs 88 bytes of memory whatever its length.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

ALIKE = 0.8
"""Share of runs from which two texts count as nearly the same, where nothing else is asked for."""
RUN = 5
"""Words, or signs of arithmetic, that are compared as one."""
BANDS = 20
"""Keys of a text; texts with an equal key are compared."""
FOUND = 0.99
"""How probable it is at least that two texts with just the share that is asked for have an equal key."""
NEIGHBOURS = 4
"""Of a crowd with an equal key, a text is compared with so many at its begin, and so many just before itself."""
BLOCK = 1024
"""Texts whose keys are computed at once."""

_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese, of which each counts as a word."""
_WORDS = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+|[-+*/<>=!%^&|~]+")
_ODD = np.random.default_rng(0).integers(0, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class Twin(NamedTuple):
    """An earlier text that a text is like, by its number, and the share of runs that they have in common."""

    earlier: int
    share: float


def text_hash(text: str) -> int:
    """Return a 64-bit hash of what a text says, but for case, whitespace and how letters are composed."""
    return exact_hash(" ".join(unicodedata.normalize("NFC", text).casefold().split()))


def exact_hash(text: str) -> int:
    """Return a 64-bit hash of a text as it stands."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def repeats(values: Any) -> list[tuple[int, int]]:
    """Return the index of each value that stands earlier too, with the first index of it."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    earlier = first[inverse]
    later = np.flatnonzero(earlier != np.arange(len(values)))
    return list(zip(later.tolist(), earlier[later].tolist(), strict=True))


def runs_of(text: str) -> Any:
    """Return the hashes of a text's runs of five words, sorted, each once; none of a text of less than ten words."""
    units = _WORDS.findall(text.casefold())
    if units and len(text) > 15 * len(units):  # no words, as of base64
        units = list(text)
    if len(units) < 2 * RUN:
        return np.zeros(0, np.uint32)
    words = np.array([crc32(unit.encode("utf-8", "replace")) for unit in units], np.uint64)
    runs = words[: len(words) - RUN + 1].copy()
    for offset in range(1, RUN):
        runs *= np.uint64(0x9E3779B97F4A7C15)
        runs += words[offset : len(words) - RUN + 1 + offset]
    runs ^= runs >> np.uint64(29)
    return np.unique((runs * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32)).astype(np.uint32))


def rows_of_a_band(alike: float) -> int:
    """Return how many hashes make a key: as many as leave a pair that is just `alike` found in 99 of 100 cases."""
    return max(rows for rows in range(1, 9) if rows == 1 or 1 - (1 - alike**rows) ** BANDS >= FOUND)


class NearTexts:
    """Texts, numbered in the order in which they are added, that can be asked which of them are nearly the same."""

    def __init__(self, alike: float = ALIKE) -> None:
        self.alike = alike
        self._rows = rows_of_a_band(alike)
        self._keys = array("I")
        self._ends = array("Q", [0])
        self._runs = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the object
        self._new: list[Any] = []

    def add(self, text: str) -> None:
        """Add a text."""
        found = runs_of(text)
        self._new.append(found)
        self._runs.write(found.tobytes())
        self._ends.append(self._ends[-1] + len(found))
        if len(self._new) >= BLOCK:
            self._flush()

    def find(self, text: str) -> Twin | None:
        """Return the first text that was added to which a text is alike."""
        found = runs_of(text)
        if not len(found):
            return None
        self._flush()
        same = (np.frombuffer(self._keys, np.uint32).reshape(-1, BANDS) == self._keys_of([found])).any(axis=1)
        for index in np.flatnonzero(same).tolist():
            if (share := _share(found, self._runs_at(index))) >= self.alike:
                return Twin(index, share)
        return None

    def twins(self, *, without: Any = (), border: int = 0) -> dict[int, Twin]:
        """Return each text that is alike an earlier one which is not such a text itself, with the first of those.

        Args:
            without: numbers of texts that are not looked at.
            border: compare only texts from this number on with those before it.
        """
        self._flush()
        keys = np.frombuffer(self._keys, np.uint32).reshape(-1, BANDS)
        looked_at = np.diff(np.frombuffer(self._ends, np.uint64)) > 0
        looked_at[list(without)] = False
        rows = np.flatnonzero(looked_at)
        pairs = np.zeros(0, np.uint64)
        for band in range(BANDS):
            later, earlier = (rows[part].astype(np.uint64) for part in _neighbours(keys[rows, band]))
            across = (later >= border) & (earlier < (border or len(keys)))
            pairs = np.union1d(pairs, (later << np.uint64(32) | earlier)[across])
        found: dict[int, Twin] = {}
        for block in np.array_split(pairs, len(pairs) // BLOCK + 1):
            for pair in block.tolist():
                one, other = pair >> 32, pair & 0xFFFFFFFF
                if one in found or other in found:
                    continue
                if (share := _share(self._runs_at(one), self._runs_at(other))) >= self.alike:
                    found[one] = Twin(other, share)
        return found

    def _flush(self) -> None:
        if self._new:
            self._keys.frombytes(self._keys_of(self._new).tobytes())
            self._new = []
            self._runs.flush()

    def _keys_of(self, texts: list[Any]) -> Any:
        """Return the keys of texts by their runs, shape (texts, BANDS)."""
        from rensa import RMinHash

        ends = np.cumsum([0, *map(len, texts)], dtype=np.uint64)
        hashes = np.concatenate(texts).astype(np.uint64)
        wide = BANDS * self._rows
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, wide, 1).to_rows()
        bands = np.array(matrix, np.uint64).reshape(len(texts), BANDS, self._rows)
        return ((bands * _ODD[: self._rows]).sum(axis=2, dtype=np.uint64) >> np.uint64(32)).astype(np.uint32)

    def _runs_at(self, index: int) -> Any:
        begin, end = self._ends[index], self._ends[index + 1]
        return np.frombuffer(os.pread(self._runs.fileno(), 4 * (end - begin), 4 * begin), np.uint32)


def _neighbours(values: Any) -> tuple[Any, Any]:
    """Return pairs of indexes, later and earlier, of equal values: with the first ones of a crowd and the last ones."""
    order = np.argsort(values, kind="stable")
    place = np.arange(len(order))
    begins = np.ones(len(order), bool)
    begins[1:] = values[order][1:] != values[order][:-1]
    start = np.maximum.accumulate(np.where(begins, place, 0)) if len(order) else place
    crowded = place > start
    place, start = place[crowded], start[crowded]
    later, earlier = [], []
    for offset in range(NEIGHBOURS):
        for other, fits in _at(place, start, offset):
            later.append(order[place[fits]])
            earlier.append(order[other[fits]])
    return np.concatenate(later), np.concatenate(earlier)


def _at(place: Any, start: Any, offset: int) -> Iterator[tuple[Any, Any]]:
    """Yield the places at an offset from the begin of a crowd and from oneself, and where they are inside."""
    yield start + offset, start + offset < place
    yield place - 1 - offset, place - 1 - offset >= start + NEIGHBOURS


def _share(one: Any, other: Any) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return float(common / (len(one) + len(other) - common))
