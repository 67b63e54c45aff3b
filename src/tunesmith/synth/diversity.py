"""Diversity of rows: distinct words and pairs of words, lengths, and coverage of the values that the seeds have."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from tunesmith.checks.text import iterate_strings
from tunesmith.log import aligned

Scalar = str | int | float  # also a boolean, which is an integer

MAX_CHOICES = 50
"""A column whose seeds have at most so many values is categorical; rows should cover all its values."""


class Diversity(NamedTuple):
    """Diversity of some rows.

    Attributes:
        rows: their number.
        distinct_1: distinct words divided by all words.
        distinct_2: the same for pairs of words.
        words: words of the shortest, median and longest row.
        coverage: categorical column -> how many of the seeds' values occur in these rows.
    """

    rows: int
    distinct_1: float
    distinct_2: float
    words: tuple[int, float, int]
    coverage: dict[str, int]


def measure_diversity(rows: Sequence[dict[str, Any]], choices: dict[str, set[Scalar]]) -> Diversity:
    """Return the diversity of rows; `choices` are the categorical columns and their values."""
    singles, pairs = set[str](), set[tuple[str, str]]()
    lengths = []
    for values in rows:
        words = " ".join(iterate_strings(values)).casefold().split()
        singles.update(words)
        pairs.update(pairwise(words))
        lengths.append(len(words))
    num_words = sum(lengths)
    return Diversity(
        rows=len(rows),
        distinct_1=len(singles) / max(num_words, 1),
        distinct_2=len(pairs) / max(num_words - len(lengths), 1),
        words=(min(lengths), median(lengths), max(lengths)) if lengths else (0, 0, 0),
        coverage={name: len(values & _column_values(rows, name)) for name, values in choices.items()},
    )


def find_choices(seeds: Sequence[dict[str, Any]]) -> dict[str, set[Scalar]]:
    """Return the categorical columns with their values: 2 to `MAX_CHOICES`, and at most half as many as seeds."""
    names = dict.fromkeys(name for seed in seeds for name in seed)
    columns = {name: _column_values(seeds, name) for name in names}
    return {name: values for name, values in columns.items() if 1 < len(values) <= min(MAX_CHOICES, len(seeds) / 2)}


def _column_values(rows: Sequence[dict[str, Any]], name: str) -> set[Scalar]:
    return {value for row in rows for value in _scalars(row.get(name))}


def _scalars(value: object) -> Iterator[Scalar]:
    """Yield a value, or those of a list, if they are strings, numbers or booleans."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, (str, int, float)):
            yield item


def format_diversity(seeds: Diversity, accepted: Diversity, choices: dict[str, set[Scalar]]) -> str:
    """Return the diversity of seeds and of accepted rows, side by side."""
    columns = (seeds, accepted)
    lines = [
        ["", "seeds", "made"],
        ["rows", *(f"{column.rows:,}" for column in columns)],
        ["distinct-1", *(f"{column.distinct_1:.2f}" for column in columns)],
        ["distinct-2", *(f"{column.distinct_2:.2f}" for column in columns)],
        ["words: least, median, most", *("{:g}/{:g}/{:g}".format(*column.words) for column in columns)],
    ]
    for name, values in choices.items():
        lines.append([f"values of {name}", str(len(values)), str(accepted.coverage[name])])
    return aligned(lines)
