"""How different rows are from one another, and how much of what the seeds hold they hold too."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from tunesmith.checks.text import strings
from tunesmith.log import aligned

FEW = 50
"""A column whose seeds have at most so many values is one of a choice, of which rows should cover all."""


class Diversity(NamedTuple):
    """Figures of some rows.

    Attributes:
        rows: how many.
        distinct_1: share of words that are not the same as an earlier one.
        distinct_2: the same for pairs of words.
        words: shortest, middle and longest row, in words.
        coverage: column of a choice -> how many of the values that the seeds have there stand in these rows.
    """

    rows: int
    distinct_1: float
    distinct_2: float
    words: tuple[int, float, int]
    coverage: dict[str, int]


def diversity(rows: Sequence[dict[str, Any]], choices: dict[str, set[Any]]) -> Diversity:
    """Return the figures of rows."""
    singles, pairs = set[str](), set[tuple[str, str]]()
    lengths = []
    for values in rows:
        words = " ".join(strings(values)).casefold().split()
        singles.update(words)
        pairs.update(pairwise(words))
        lengths.append(len(words))
    total = sum(lengths)
    coverage = {
        name: len(wanted & {v for row in rows for v in _scalars(row.get(name))}) for name, wanted in choices.items()
    }
    spread = (min(lengths), median(lengths), max(lengths)) if lengths else (0, 0, 0)
    return Diversity(
        len(rows), len(singles) / max(total, 1), len(pairs) / max(total - len(lengths), 1), spread, coverage
    )


def choices_of(seeds: Sequence[dict[str, Any]]) -> dict[str, set[Any]]:
    """Return the columns in which the seeds have few values, fewer than half as many as rows, with these values."""
    names = dict.fromkeys(name for seed in seeds for name in seed)
    found = {name: {value for seed in seeds for value in _scalars(seed.get(name))} for name in names}
    return {name: values for name, values in found.items() if 1 < len(values) <= min(FEW, len(seeds) / 2)}


def _scalars(value: Any) -> Iterator[Any]:
    """Yield a value, or those of a list, if they are texts, numbers or truth values."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, (str, int, float)):
            yield item


def figures(seeds: Diversity, made: Diversity, choices: dict[str, set[Any]]) -> str:
    """Return the figures of seeds and of rows that were made, side by side."""
    lines = [["", "seeds", "made"]]
    lines.append(["rows", *(f"{part.rows:,}" for part in (seeds, made))])
    lines.append(["distinct-1", *(f"{part.distinct_1:.2f}" for part in (seeds, made))])
    lines.append(["distinct-2", *(f"{part.distinct_2:.2f}" for part in (seeds, made))])
    lines.append(["words: least, median, most", *("{:g}/{:g}/{:g}".format(*part.words) for part in (seeds, made))])
    for name, values in choices.items():
        lines.append([f"values of {name}", str(len(values)), str(made.coverage[name])])
    return aligned(lines)
