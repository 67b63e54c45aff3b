"""Every finding of the data doctor: its code, how bad it is, what it means, and what to do; and how rows are counted.

A new finding is a line of `findings.tsv` and the check that reports it. `python -m tunesmith.checks.catalogue` prints
the tables of `docs/check.md`.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple, cast

from tunesmith.checks.report import Finding, Hit, Severity
from tunesmith.checks.text import mask_secrets

HITS = 20
"""Rows kept of each finding."""


class Known(NamedTuple):
    """What is known of a finding before it is found.

    Attributes:
        severity: an error is a certain fault; a warning most likely one; an info only something to know.
        title: what is wrong; details may follow it.
        cure: what to do.
    """

    severity: Severity
    title: str
    cure: str


@cache
def _lines() -> list[list[str]]:
    """Return the table of findings: what each is about, its code, severity, title and cure."""
    text = files("tunesmith.checks").joinpath("findings.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


@cache
def known_findings() -> dict[str, Known]:
    """Return what is known of each finding, by its code."""
    return {code: Known(cast(Severity, severity), title, cure) for _, code, severity, title, cure in _lines()}


def finding(
    code: str, detail: str = "", *, severity: Severity | None = None, count: int = 0, hits: Sequence[Hit] = ()
) -> Finding:
    """Return the finding of a code, with what is special about it this time."""
    entry = known_findings()[code]
    title = f"{entry.title}: {mask_secrets(detail)}" if detail else entry.title
    return Finding(code, severity or entry.severity, title, entry.cure, count, tuple(hits))


class Tally:
    """Counts the rows of each finding and keeps the first of them, so that memory does not grow with the data."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.hits: dict[str, list[Hit]] = {}
        self.file, self.row = "", 0
        self.codes: list[str] = []
        """What was found in the current row."""

    def begin(self, file: str, row: int) -> None:
        """Go on to a row."""
        self.file, self.row, self.codes = file, row, []

    def add(self, code: str, detail: str = "") -> None:
        """Count a finding for the current row, once."""
        if code not in self.codes:
            self.codes.append(code)
            self.put(code, Hit(self.file, self.row, mask_secrets(detail)))

    def put(self, code: str, hit: Hit) -> None:
        """Count a finding for any row."""
        self.counts[code] += 1
        hits = self.hits.setdefault(code, [])
        if len(hits) < HITS:
            hits.append(hit)


def table() -> str:
    """Return the findings as the tables of the documentation."""
    parts = []
    for subject in dict.fromkeys(row[0] for row in _lines()):
        lines = [f"| `{code}` | {' | '.join(columns)} |" for group, code, *columns in _lines() if group == subject]
        parts.append(
            "\n".join([f"### {subject}\n", "| code | severity | finding | fix |", "|---|---|---|---|", *lines])
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(table())
