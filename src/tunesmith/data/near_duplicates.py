"""Exact and near-duplicates of texts: the one place that decides, for the data check, `curate` and `generate`.

Exact duplicates have equal normalized text (case, whitespace, composed letters). Near-duplicates have a Jaccard
similarity of their shingles (five words in a row) of at least a threshold. MinHash (Broder, 1997) by rensa proposes
the pairs; the similarity is then counted, not estimated. The shingles are in a temporary file, so that a text needs 88
bytes of memory, whatever its length.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from array import array
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

MIN_SIMILARITY = 0.8
"""Default threshold of the Jaccard similarity."""
SHINGLE_WORDS = 5
BANDS = 20
"""MinHash bands of a text; texts with an equal band key are compared."""
RECALL = 0.99
"""Lowest probability that two texts with just the threshold similarity share a band key."""
NEIGHBORS = 4
"""In a bucket, a text is compared with the first texts of the bucket and with the last ones before it, so many each."""
BLOCK = 1024
"""Texts whose band keys are computed at once."""

_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese. Each counts as a word."""
_WORDS = re.compile(rf"[{_NO_SPACES}]|[^\W{_NO_SPACES}]+|[-+*/<>=!%^&|~]+")
_ODD = np.random.default_rng(0).integers(0, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class NearDuplicate(NamedTuple):
    """The number of an earlier text, and the Jaccard similarity with it."""

    earlier: int
    similarity: float


def hash_normalized(text: str) -> int:
    """Return a 64-bit hash that ignores case, whitespace and how letters are composed."""
    return hash_exact(" ".join(unicodedata.normalize("NFC", text).casefold().split()))


def hash_exact(text: str) -> int:
    """Return a 64-bit hash of a text as it is."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def find_repeats(values: Any) -> list[tuple[int, int]]:
    """Return (index, first index of the same value) for each value that has occurred before."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    earlier = first[inverse]
    later = np.flatnonzero(earlier != np.arange(len(values)))
    return list(zip(later.tolist(), earlier[later].tolist(), strict=True))


def compute_shingles(text: str) -> Any:
    """Return the sorted, distinct hashes of a text's shingles; none for a text of less than ten words."""
    units = _WORDS.findall(text.casefold())
    if units and len(text) > 15 * len(units):  # no words, as in base64
        units = list(text)
    if len(units) < 2 * SHINGLE_WORDS:
        return np.zeros(0, np.uint32)
    words = np.array([crc32(unit.encode("utf-8", "replace")) for unit in units], np.uint64)
    count = len(words) - SHINGLE_WORDS + 1
    shingles = words[:count].copy()
    for offset in range(1, SHINGLE_WORDS):
        shingles *= np.uint64(0x9E3779B97F4A7C15)
        shingles += words[offset : count + offset]
    shingles ^= shingles >> np.uint64(29)
    return np.unique((shingles * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32)).astype(np.uint32))


def compute_rows_per_band(similarity: float) -> int:
    """Return the most hashes a band with which a pair of just this similarity is found with `RECALL`."""
    fitting = [rows for rows in range(2, 9) if 1 - (1 - similarity**rows) ** BANDS >= RECALL]
    return max(fitting, default=1)


class NearDuplicateIndex:
    """Texts, numbered in the order in which they are added, and a search for near-duplicates among them."""

    def __init__(self, min_similarity: float = MIN_SIMILARITY) -> None:
        self.min_similarity = min_similarity
        self._rows_per_band = compute_rows_per_band(min_similarity)
        self._keys = array("I")
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the object
        self._pending: list[Any] = []

    def add(self, text: str) -> None:
        """Add a text."""
        shingles = compute_shingles(text)
        self._pending.append(shingles)
        self._file.write(shingles.tobytes())
        self._ends.append(self._ends[-1] + len(shingles))
        if len(self._pending) >= BLOCK:
            self._flush()

    def find(self, text: str) -> NearDuplicate | None:
        """Return the first added text that `text` is a near-duplicate of."""
        shingles = compute_shingles(text)
        if not len(shingles):
            return None
        self._flush()
        keys = np.frombuffer(self._keys, np.uint32).reshape(-1, BANDS)
        same_bucket = (keys == self._compute_keys([shingles])).any(axis=1)
        for index in np.flatnonzero(same_bucket).tolist():
            similarity = _jaccard(shingles, self._shingles_at(index))
            if similarity >= self.min_similarity:
                return NearDuplicate(index, similarity)
        return None

    def near_duplicates(self, *, without: Any = (), split_index: int = 0) -> dict[int, NearDuplicate]:
        """Return for each near-duplicate the first earlier text that is like it and is no near-duplicate itself.

        Args:
            without: numbers of texts that are skipped.
            split_index: if set, compare only texts from this number on with texts before it.
        """
        duplicates: dict[int, NearDuplicate] = {}
        pairs = self._candidate_pairs(without, split_index)
        for block in np.array_split(pairs, len(pairs) // BLOCK + 1):
            for pair in block.tolist():
                later, earlier = pair >> 32, pair & 0xFFFFFFFF
                if later in duplicates or earlier in duplicates:
                    continue
                similarity = _jaccard(self._shingles_at(later), self._shingles_at(earlier))
                if similarity >= self.min_similarity:
                    duplicates[later] = NearDuplicate(earlier, similarity)
        return duplicates

    def _candidate_pairs(self, without: Any, split_index: int) -> Any:
        """Return the pairs of texts in the same bucket, sorted, each as `later << 32 | earlier`."""
        self._flush()
        keys = np.frombuffer(self._keys, np.uint32).reshape(-1, BANDS)
        has_shingles = np.diff(np.frombuffer(self._ends, np.uint64)) > 0
        has_shingles[list(without)] = False
        rows = np.flatnonzero(has_shingles)
        pairs = np.zeros(0, np.uint64)
        for band in range(BANDS):
            later, earlier = (rows[side].astype(np.uint64) for side in _pair_neighbors(keys[rows, band]))
            across = (later >= split_index) & (earlier < (split_index or len(keys)))
            pairs = np.union1d(pairs, (later << np.uint64(32) | earlier)[across])
        return pairs

    def _flush(self) -> None:
        if self._pending:
            self._keys.frombytes(self._compute_keys(self._pending).tobytes())
            self._pending = []
            self._file.flush()

    def _compute_keys(self, texts: list[Any]) -> Any:
        """Return the band keys of texts from their shingles, shape (texts, BANDS)."""
        from rensa import RMinHash

        ends = np.cumsum([0, *map(len, texts)], dtype=np.uint64)
        hashes = np.concatenate(texts).astype(np.uint64)
        width = BANDS * self._rows_per_band
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, width, 1).to_rows()
        bands = np.array(matrix, np.uint64).reshape(len(texts), BANDS, self._rows_per_band)
        sums = (bands * _ODD[: self._rows_per_band]).sum(axis=2, dtype=np.uint64)
        return (sums >> np.uint64(32)).astype(np.uint32)

    def _shingles_at(self, index: int) -> Any:
        start, end = self._ends[index], self._ends[index + 1]
        return np.frombuffer(os.pread(self._file.fileno(), 4 * (end - start), 4 * start), np.uint32)


def _pair_neighbors(values: Any) -> tuple[Any, Any]:
    """Return (later, earlier) indexes of equal values: of each bucket the first ones, and those just before a value."""
    order = np.argsort(values, kind="stable")
    position = np.arange(len(order))
    is_first = np.ones(len(order), bool)
    is_first[1:] = values[order][1:] != values[order][:-1]
    start = np.maximum.accumulate(np.where(is_first, position, 0)) if len(order) else position
    has_earlier = position > start
    position, start = position[has_earlier], start[has_earlier]
    later, earlier = [], []
    for offset in range(NEIGHBORS):
        from_start, before = start + offset, position - 1 - offset
        for other, is_valid in ((from_start, from_start < position), (before, before >= start + NEIGHBORS)):
            later.append(order[position[is_valid]])
            earlier.append(order[other[is_valid]])
    return np.concatenate(later), np.concatenate(earlier)


def _jaccard(first: Any, second: Any) -> float:
    common = len(np.intersect1d(first, second, assume_unique=True))
    return float(common / (len(first) + len(second) - common))
