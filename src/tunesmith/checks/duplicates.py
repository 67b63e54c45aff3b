"""Rows that say the same twice, nearly the same, or ask the same in training and in evaluation.

A row is kept as hashes, about a hundred bytes, in flat arrays; what is equal is found by sorting at the end.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tunesmith.checks.report import Hit
from tunesmith.data.twins import NearTexts, repeats, text_hash


class Fingerprints:
    """Hashes of rows, of prompts of samples, and where they come from."""

    def __init__(self, *, near: bool) -> None:
        self.near = NearTexts() if near else None
        self.files: list[str] = []
        self.rows = {name: array(kind) for name, kind in (("file", "H"), ("row", "Q"), ("text", "Q"))}
        self.samples = {name: array(kind) for name, kind in (("row", "Q"), ("prompt", "Q"))}

    def add(self, file: str, row: int, text: str, content: str) -> None:
        """Add a row: its whole text, and what it says itself, without what all rows share."""
        if not self.files or self.files[-1] != file:
            self.files.append(file)
        for name, value in (("file", len(self.files) - 1), ("row", row), ("text", text_hash(text))):
            self.rows[name].append(value)
        if self.near is not None:
            self.near.add(content)

    def add_sample(self, prompt: str) -> None:
        """Add a sample of the last row."""
        self.samples["row"].append(len(self.rows["row"]) - 1)
        self.samples["prompt"].append(text_hash(prompt))

    def place(self, index: int) -> tuple[str, int]:
        """Return file and row."""
        return self.files[self.rows["file"][index]], self.rows["row"][index]

    def hits(self, pairs: Iterable[tuple[int, int]], what: str) -> Iterator[Hit]:
        """Return a hit for each row of which there is an earlier one."""
        for later, earlier in pairs:
            yield Hit(*self.place(later), f"{what} {':'.join(map(str, self.place(earlier)))}")

    def equal(self) -> list[tuple[int, int]]:
        """Return each row whose text an earlier row has, with that row."""
        return repeats(np.frombuffer(self.rows["text"], np.uint64))

    def alike(self) -> list[tuple[int, int]]:
        """Return each row that is nearly, but not quite, like an earlier one, with that row."""
        if self.near is None:
            return []
        twins = self.near.twins(without=[later for later, _ in self.equal()])
        return [(later, twin.earlier) for later, twin in twins.items()]

    def leaked(self, held_out: Sequence[int]) -> list[tuple[int, int]]:
        """Return each row of which a sample is held out whose prompt a training row has too, with that row."""
        prompts, rows = (np.frombuffer(self.samples[name], np.uint64) for name in ("prompt", "row"))
        is_test = np.zeros(len(prompts), bool)
        is_test[list(held_out)] = True
        trained = dict(zip(prompts[~is_test][::-1].tolist(), rows[~is_test][::-1].tolist(), strict=True))
        pairs = zip(rows[is_test].tolist(), prompts[is_test].tolist(), strict=True)
        return sorted({row: trained[prompt] for row, prompt in pairs if prompt in trained}.items())
