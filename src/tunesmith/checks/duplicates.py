"""Duplicate and near-duplicate rows, and prompts that are both in the training data and in the eval data.

A row is kept as hashes, about a hundred bytes, in flat arrays. Equal ones are found by sorting at the end.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tunesmith.checks.report import Hit
from tunesmith.data.near_duplicates import Leaves, NearDuplicateIndex, find_repeats, hash_leaves


class Fingerprints:
    """Hashes of rows and of their prompts, with their locations; without near-duplicates if `min_similarity` is 0."""

    def __init__(self, min_similarity: float) -> None:
        self.near = NearDuplicateIndex(min_similarity) if min_similarity else None
        self.files: list[str] = []
        columns = (("file", "H"), ("row", "Q"), ("content", "Q"), ("prompt", "Q"))
        self.rows = {name: array(code) for name, code in columns}
        self.samples = array("Q")

    def add(self, file: str, row: int, content: Leaves, prompt: Leaves) -> None:
        """Add a row: what is compared of it, and of its prompt."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        hashes = hash_leaves(content), hash_leaves(prompt)
        for name, value in zip(self.rows, (len(self.files) - 1, row, *hashes), strict=True):
            self.rows[name].append(value)
        if self.near is not None:
            self.near.add(content)

    def add_sample(self) -> None:
        """Add a sample of the last row."""
        self.samples.append(len(self.rows["row"]) - 1)

    def location(self, index: int) -> tuple[str, int]:
        """Return file and row number."""
        return self.files[self.rows["file"][index]], self.rows["row"][index]

    def hits(self, pairs: Iterable[tuple[int, int]], relation: str, remark: str = "") -> Iterator[Hit]:
        """Yield a hit for each later row of the pairs; `remark` stands at its end."""
        for later, earlier in pairs:
            yield Hit(*self.location(later), f"{relation} {':'.join(map(str, self.location(earlier)))}{remark}")

    def exact_duplicates(self) -> list[tuple[int, int]]:
        """Return (row, earlier row) for each row that equals an earlier one."""
        hashes = self.rows["content"]
        return [pair for pair in find_repeats(np.frombuffer(hashes, np.uint64)) if hashes[pair[0]]]

    def near_duplicates(self) -> list[tuple[int, int]]:
        """Return (row, earlier row) for each near-duplicate that is no exact duplicate."""
        if self.near is None:
            return []
        duplicates = self.near.near_duplicates(without=[later for later, _ in self.exact_duplicates()])
        return [(later, duplicate.earlier) for later, duplicate in duplicates.items()]

    def leaked_prompts(self, eval_samples: Sequence[int]) -> list[tuple[int, int]]:
        """Return (eval row, training row) for each eval row with a prompt that a training row has too."""
        samples, prompts = np.frombuffer(self.samples, np.uint64), self.rows["prompt"]
        is_eval = np.zeros(len(samples), bool)
        is_eval[list(eval_samples)] = True
        eval_rows, train_rows = (np.unique(samples[side]).tolist() for side in (is_eval, ~is_eval))
        first_row = {prompts[row]: row for row in reversed(train_rows) if prompts[row]}
        pairs = ((row, first_row.get(prompts[row], row)) for row in eval_rows)
        return [(row, train_row) for row, train_row in pairs if train_row != row]
