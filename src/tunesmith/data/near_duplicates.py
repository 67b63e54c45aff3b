"""Exact and near-duplicates of rows: the one place that decides, for the data check, `curate` and `generate`.

A row is a list of leaves: places and texts (`data.comparison`). Exact duplicates have the same places with equal
normalized texts: in prose, case and whitespace are ignored; in code, only whitespace at the ends of lines.

In near-duplicates only long prose may differ. Its Jaccard similarity of shingles (five words in a row) is at least a
threshold. All else must be equal: numbers, signs, code, and texts of less than `MIN_WORDS` words, because there a
single word changes what is said. This fixed part is a hash. MinHash (Broder, 1997) by rensa proposes pairs among the
rows with the same hash; the similarity is then counted, not estimated. The shingles are in a temporary file, so that
a row needs 88 bytes of memory, whatever its length.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
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

MIN_WORDS = 20
"""A text of fewer words is compared for equality only."""
MIN_LEAF_SIMILARITY = 0.5
"""Lowest similarity of each text of a near-duplicate, so that a long prompt does not hide another answer."""

_NO_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Letters of Thai, Lao, Burmese, Khmer, Japanese and Chinese. Each counts as a word."""
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0dff"
"""Accents, vowel signs and letters of Indian scripts, which are part of a word."""
_CHINESE_NUMBERS = "\u3007\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b\u4e5d\u5341\u767e\u5343\u4e07\u4ebf\u4e24"
_SIGNS = "-+*/<>=%^&|~"
_SYMBOLS = rf"[^\w\s\x00-\xbf\u2000-\u206f\u3000-\u303f\uff00-\uffef{_MARKS}{_NO_SPACES}]"
"""Characters that are no words or punctuation, such as an emoji."""
_WORDS = re.compile(rf"[{_NO_SPACES}]|(?:[^\W{_NO_SPACES}]+|[{_MARKS}]+)+|[{_SIGNS}!]+")
_FIXED = re.compile(
    r"\d(?<![^\W\d_]{3}\d)(?<!\d\d)\d*(?:[.,:/]\d+)*"  # a number, except at the end of a word
    rf"|[{_SIGNS}](?<![^\s\d][{_SIGNS}])[{_SIGNS}]*(?![^\s\d])"  # signs between spaces or digits
    rf"|[{_CHINESE_NUMBERS}]|{_SYMBOLS}"
)
"""What must be equal in the prose of near-duplicates: numbers and signs."""
_HAS_FIXED = re.compile(rf"[{_SIGNS}\d{_CHINESE_NUMBERS}]|{_SYMBOLS}")
_CODE = tuple(
    map(
        re.compile,
        (
            r"[{}\\=<>|_^~]",
            r";\s*(?:\n|$)",
            r"[(\[](?<=\w.)\S{0,80}[)\]]",  # a call or an index
            r"\.(?<=[A-Za-z_]\w\.)[A-Za-z_]\w",  # an attribute or a file name
            r"\n(?: {2,}|\t)\S",  # indentation
            r"-(?<=\s-)-?[A-Za-z]",  # an option of a command
            r"\$[A-Za-z{(]",
            r"[A-Za-z0-9+/-]{40}",  # base64
        ),
    )
)
"""Signs of code in a paragraph. A paragraph of prose with such a sign is compared as code, which excludes less."""
_ODD = np.random.default_rng(0).integers(0, 2**63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


Leaves = Sequence[tuple[str, ...]]
"""The compared values of a row, each as its place and its text, such as `comparison.Leaf`."""


class NearDuplicate(NamedTuple):
    """The number of an earlier text, and the Jaccard similarity with it."""

    earlier: int
    similarity: float


def hash_leaves(leaves: Leaves) -> int:
    """Return a 64-bit hash that equal rows share; 0 for a row that says nothing."""
    return _hash((leaf[0], normalize(leaf[1])) for leaf in leaves) if any(leaf[1] for leaf in leaves) else 0


def hash_exact(leaves: Leaves) -> int:
    """Return a 64-bit hash of the texts as they are; 0 for a row that says nothing."""
    return _hash((leaf[0], leaf[1]) for leaf in leaves) if any(leaf[1] for leaf in leaves) else 0


def normalize(text: str) -> str:
    """Return a text as it is compared: without what does not count in prose and in code."""
    return "\n".join(block for _, block in _blocks(text))


def _hash(parts: Iterable[tuple[str, ...]]) -> int:
    text = "\x00".join("\x01".join(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def _is_code(text: str) -> bool:
    text = f"\n{text}"
    return any(pattern.search(text) for pattern in _CODE)


@lru_cache(maxsize=64)
def _blocks(text: str) -> tuple[tuple[bool, str], ...]:
    """Return the paragraphs of a text, normalized, each with whether it is code; paragraphs of prose are joined."""
    text = unicodedata.normalize("NFC", text)
    if "```" not in text and not _is_code(text):
        return ((False, " ".join(text.casefold().split())),)
    blocks: list[tuple[bool, str]] = []
    for index, part in enumerate(text.split("```")):
        for block in [part] if index % 2 else re.split(r"\n\s*\n", part):
            if index % 2 or _is_code(block):
                blocks.append((True, "\n".join(line.rstrip() for line in block.splitlines()).strip("\n")))
            elif prose := " ".join(block.casefold().split()):
                before = f"{blocks.pop()[1]} " if blocks and not blocks[-1][0] else ""
                blocks.append((False, before + prose))
    return tuple(blocks)


def find_repeats(values: Any) -> list[tuple[int, int]]:
    """Return (index, first index of the same value) for each value that has occurred before."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    earlier = first[inverse]
    later = np.flatnonzero(earlier != np.arange(len(values)))
    return list(zip(later.tolist(), earlier[later].tolist(), strict=True))


class Record(NamedTuple):
    """A row as it is searched for near-duplicates.

    Attributes:
        fixed: hash of what near-duplicates have in common.
        shingles: of each long text the sorted, distinct hashes of its shingles; none if no text is long.
    """

    fixed: int
    shingles: list[Any]

    def similarity(self, other: "Record") -> float:
        """Return the Jaccard similarity with another row; 0 if something differs that must be equal."""
        if self.fixed != other.fixed or not self.shingles or len(self.shingles) != len(other.shingles):
            return 0.0
        num_common = num_all = 0
        for first, second in zip(self.shingles, other.shingles, strict=True):
            common = len(np.intersect1d(first, second, assume_unique=True))
            union = len(first) + len(second) - common
            if common < MIN_LEAF_SIMILARITY * union:
                return 0.0
            num_common, num_all = num_common + common, num_all + union
        return num_common / num_all


def make_record(leaves: Leaves) -> Record:
    """Return what near-duplicates of a row are searched by."""
    fixed: list[tuple[str, ...]] = []
    shingles: list[Any] = []
    end: list[str] = []
    for place, text, *_ in leaves:
        blocks = _blocks(text)
        words = [word for is_code, block in blocks if not is_code for word in _WORDS.findall(block)]
        if len(words) < MIN_WORDS:
            fixed.append((place, *(block for _, block in blocks)))
            continue
        fixed.append((place, "", *(part for block in blocks for part in _fixed_parts(*block))))
        shingles.append(compute_shingles([*end, *words], len(shingles)))
        end = words[1 - SHINGLE_WORDS :]  # shingles across two texts count, as in one text
    return Record(_hash(fixed), shingles)


def _fixed_parts(is_code: bool, block: str) -> list[str]:
    if is_code:
        return [block]
    return _FIXED.findall(block) if _HAS_FIXED.search(block) else []


def compute_shingles(words: Sequence[str], seed: int = 0) -> Any:
    """Return the sorted, distinct hashes of the shingles of a text, which differ for each `seed`."""
    hashes = np.array([crc32(word.encode("utf-8", "replace"), seed) for word in words], np.uint64)
    count = len(hashes) - SHINGLE_WORDS + 1
    shingles = hashes[:count].copy()
    for offset in range(1, SHINGLE_WORDS):
        shingles *= np.uint64(0x9E3779B97F4A7C15)
        shingles += hashes[offset : count + offset]
    shingles ^= shingles >> np.uint64(29)
    return np.unique((shingles * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32)).astype(np.uint32))


def compute_rows_per_band(similarity: float) -> int:
    """Return the most hashes a band with which a pair of just this similarity is found with `RECALL`."""
    fitting = [rows for rows in range(2, 9) if 1 - (1 - similarity**rows) ** BANDS >= RECALL]
    return max(fitting, default=1)


class NearDuplicateIndex:
    """Rows, numbered in the order in which they are added, and a search for near-duplicates among them."""

    def __init__(self, min_similarity: float = MIN_SIMILARITY) -> None:
        self.min_similarity = min_similarity
        self._rows_per_band = compute_rows_per_band(min_similarity)
        self._keys = array("I")
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the object
        self._pending: list[Record] = []

    def add(self, leaves: Leaves) -> None:
        """Add a row."""
        record = make_record(leaves)
        self._pending.append(record)
        length = 0
        if record.shingles:
            header = [record.fixed & 0xFFFFFFFF, record.fixed >> 32, *map(len, record.shingles)]
            header.insert(2, len(record.shingles))
            for part in (np.array(header, np.uint32), *record.shingles):
                self._file.write(part.tobytes())
                length += len(part)
        self._ends.append(self._ends[-1] + length)
        if len(self._pending) >= BLOCK:
            self._flush()

    def find(self, leaves: Leaves) -> NearDuplicate | None:
        """Return the first added row that this row is a near-duplicate of."""
        record = make_record(leaves)
        if not record.shingles:
            return None
        self._flush()
        keys = np.frombuffer(self._keys, np.uint32).reshape(-1, BANDS)
        same_bucket = (keys == self._compute_keys([record])).any(axis=1)
        for index in np.flatnonzero(same_bucket).tolist():
            similarity = record.similarity(self._record_at(index))
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
                similarity = self._record_at(later).similarity(self._record_at(earlier))
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

    def _compute_keys(self, records: list[Record]) -> Any:
        """Return the band keys of rows, shape (rows, BANDS). Rows with different fixed parts share no key."""
        from rensa import RMinHash

        texts = [np.concatenate([np.zeros(0, np.uint32), *record.shingles]) for record in records]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.uint64)
        hashes = np.concatenate(texts).astype(np.uint64)
        width = BANDS * self._rows_per_band
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, width, 1).to_rows()
        bands = np.array(matrix, np.uint64).reshape(len(texts), BANDS, self._rows_per_band)
        sums = (bands * _ODD[: self._rows_per_band]).sum(axis=2, dtype=np.uint64)
        fixed = np.array([record.fixed & 0xFFFFFFFF for record in records], np.uint32)
        return (sums >> np.uint64(32)).astype(np.uint32) ^ fixed[:, None]

    def _record_at(self, index: int) -> Record:
        start, end = self._ends[index], self._ends[index + 1]
        values = np.frombuffer(os.pread(self._file.fileno(), 4 * (end - start), 4 * start), np.uint32)
        if not len(values):
            return Record(0, [])
        low, high, count = map(int, values[:3])
        lengths = values[3 : 3 + count].astype(np.int64)
        return Record(high << 32 | low, np.split(values[3 + count :], np.cumsum(lengths)[:-1]))


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
