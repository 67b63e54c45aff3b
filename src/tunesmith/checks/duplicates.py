"""Duplicate and near-duplicate rows, and prompts that are both in the training data and in the eval data.

A row is kept as hashes, about a hundred bytes, in flat arrays. Equal ones are found by sorting at the end.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tunesmith.checks.report import Hit
from tunesmith.data.near_duplicates import NearDuplicateIndex, find_repeats, hash_normalized


class Fingerprints:
    """Hashes of rows and of the prompts of samples, with their locations."""

    def __init__(self, *, near: bool) -> None:
        self.near = NearDuplicateIndex() if near else None
        self.files: list[str] = []
        self.rows = {name: array(code) for name, code in (("file", "H"), ("row", "Q"), ("text", "Q"))}
        self.samples = {name: array(code) for name, code in (("row", "Q"), ("prompt", "Q"))}

    def add(self, file: str, row: int, text: str, content: str) -> None:
        """Add a row: its complete text, and its content without what all rows share."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        for name, value in (("file", len(self.files) - 1), ("row", row), ("text", hash_normalized(text))):
            self.rows[name].append(value)
        if self.near is not None:
            self.near.add(content)

    def add_sample(self, prompt: str) -> None:
        """Add a sample of the last row."""
        self.samples["row"].append(len(self.rows["row"]) - 1)
        self.samples["prompt"].append(hash_normalized(prompt))

    def location(self, index: int) -> tuple[str, int]:
        """Return file and row number."""
        return self.files[self.rows["file"][index]], self.rows["row"][index]

    def hits(self, pairs: Iterable[tuple[int, int]], relation: str) -> Iterator[Hit]:
        """Yield a hit for each later row of the pairs."""
        for later, earlier in pairs:
            yield Hit(*self.location(later), f"{relation} {':'.join(map(str, self.location(earlier)))}")

    def exact_duplicates(self) -> list[tuple[int, int]]:
        """Return (row, earlier row) for each row whose normalized text an earlier row has."""
        return find_repeats(np.frombuffer(self.rows["text"], np.uint64))

    def near_duplicates(self) -> list[tuple[int, int]]:
        """Return (row, earlier row) for each near-duplicate that is no exact duplicate."""
        if self.near is None:
            return []
        duplicates = self.near.near_duplicates(without=[later for later, _ in self.exact_duplicates()])
        return [(later, duplicate.earlier) for later, duplicate in duplicates.items()]

    def leaked_prompts(self, eval_samples: Sequence[int]) -> list[tuple[int, int]]:
        """Return (eval row, training row) for each eval row with a prompt that a training row has too."""
        prompts, rows = (np.frombuffer(self.samples[name], np.uint64) for name in ("prompt", "row"))
        is_eval = np.zeros(len(prompts), bool)
        is_eval[list(eval_samples)] = True
        train_rows = dict(zip(prompts[~is_eval][::-1].tolist(), rows[~is_eval][::-1].tolist(), strict=True))
        pairs = zip(rows[is_eval].tolist(), prompts[is_eval].tolist(), strict=True)
        return sorted({row: train_rows[prompt] for row, prompt in pairs if prompt in train_rows}.items())
