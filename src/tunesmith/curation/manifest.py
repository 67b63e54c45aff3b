"""The manifest of a curation: the exclusions and measures of each row, and the decision which rows are kept.

Scanning is slow and done once. Deciding is fast and follows the current settings. So a rule can be undone, or a bound
moved, without another scan.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.sections import Curate

UNREADABLE, LENGTH, COMPLEXITY = "unreadable", "length", "complexity"
LEAK, DUPLICATE, NEAR, SEMANTIC = "leak", "duplicate", "near-duplicate", "same-meaning"
ASSERTION = "assertion"
RULES = (UNREADABLE, ASSERTION, LEAK, LENGTH, COMPLEXITY, DUPLICATE, NEAR, SEMANTIC)
"""The rules in the order in which they exclude a row. After a colon may follow the assertion, or the columns."""
LOCATION_BITS = 40
"""Bits of the row number in a location that is packed into 64 bits; the others are the number of the file."""


class Exclusion(NamedTuple):
    """A rule that a row breaks.

    Attributes:
        rule: its name.
        reason: what is wrong; of a duplicate, the text before the location of the other row.
        duplicate_of: number of the first row of the cluster. The exclusion applies only while an earlier row of the
            cluster is kept.
    """

    rule: str
    reason: str
    duplicate_of: int | None = None


class Entry(NamedTuple):
    """A row of the manifest: its location, its measures and all exclusions."""

    file: str
    row: int
    chars: int = 0
    complexity: float = 0
    tokens: int | None = None
    found: tuple[Exclusion, ...] = ()


class Decision(NamedTuple):
    """An entry, and what is decided on it.

    Attributes:
        entry: the entry.
        exclusion: the exclusion that applies, with its complete reason; None if the row is kept.
        twin: file and row of the kept row that it duplicates, if it is excluded for that.
    """

    entry: Entry
    exclusion: Exclusion | None
    twin: tuple[str, int] | None = None

    def as_line(self) -> str:
        """Return the line of the manifest."""
        entry, exclusion = self.entry, self.exclusion
        values: dict[str, Any] = {"file": entry.file, "row": entry.row, "kept": exclusion is None}
        if exclusion:
            values |= {"rule": exclusion.rule, "reason": exclusion.reason}
        values |= {"chars": entry.chars, "complexity": entry.complexity, "tokens": entry.tokens}
        if entry.found:
            values["found"] = entry.found
        return json.dumps(values, ensure_ascii=False)


def read_manifest(file: Path) -> Iterator[Entry]:
    """Yield the entries of a manifest, without its decisions."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            values: dict[str, Any] = json.loads(line)
            exclusions = tuple(Exclusion(*item) for item in values.get("found", ()))
            yield Entry(
                values["file"], values["row"], values["chars"], values["complexity"], values["tokens"], exclusions
            )


def decide(entries: Iterable[Entry], section: Curate) -> Iterator[Decision]:
    """Yield the decision on each entry: a row is excluded by the first rule in the order of `RULES` that applies.

    Of a cluster of duplicates the first row is kept that no other rule excludes.
    """
    files: dict[str, int] = {}
    locations = array("Q")
    representatives = array("q")  # of each row: itself if it is kept, else the kept row that it duplicates, or -1
    kept_duplicates: dict[tuple[str, int], int] = {}  # (rule, first row of the cluster) -> the row that is kept
    for number, entry in enumerate(entries):
        locations.append(files.setdefault(entry.file, len(files)) << LOCATION_BITS | entry.row)
        exclusions = [
            item for item in (*_check_bounds(entry, section), *entry.found) if not is_kept(item.rule, section.keep)
        ]
        exclusions.sort(key=lambda item: RULES.index(item.rule.partition(":")[0]))
        exclusion, representative, twin = None, number, None
        for item in exclusions:
            first_row = item.duplicate_of
            if first_row is None:
                exclusion, representative = item, -1
                break
            kept_row = representatives[kept_duplicates.get((item.rule, first_row), first_row)]
            if kept_row >= 0:
                first, twin = (_location(index, list(files), locations) for index in (first_row, kept_row))
                reason = _complete_reason(item.reason, first, twin)
                exclusion, representative = Exclusion(item.rule, reason, first_row), kept_row
                break
        else:
            kept_duplicates |= {
                (item.rule, item.duplicate_of): number for item in exclusions if item.duplicate_of is not None
            }
        representatives.append(representative)
        yield Decision(entry, exclusion, twin)


def is_kept(rule: str, keep: Iterable[str]) -> bool:
    """Return whether a rule is in `keep` and excludes nothing: by its name, or by the part before the colon."""
    return rule in keep or rule.partition(":")[0] in keep


def _location(index: int, files: list[str], locations: "array[int]") -> tuple[str, int]:
    return files[locations[index] >> LOCATION_BITS], locations[index] & ((1 << LOCATION_BITS) - 1)


def _complete_reason(reason: str, first: tuple[str, int], kept: tuple[str, int]) -> str:
    first_name, kept_name = (f"{file}:{row}" for file, row in (first, kept))
    return f"{reason} {first_name}" if first == kept else f"{reason} {first_name}; kept: {kept_name}"


def _check_bounds(entry: Entry, section: Curate) -> Iterator[Exclusion]:
    """Yield an exclusion for each bound that the row violates."""
    measures = [
        (LENGTH, "characters", "chars", entry.chars, section.min_chars, section.max_chars),
        (LENGTH, "tokens", "tokens", entry.tokens, section.min_tokens, section.max_tokens),
        (COMPLEXITY, "complexity", "complexity", entry.complexity, section.min_complexity, section.max_complexity),
    ]
    if any(item.rule == UNREADABLE for item in entry.found):
        return
    for rule, unit, key, value, least, most in measures:
        if value is not None and least is not None and value < least:
            yield Exclusion(rule, f"{value:,} {unit}, `min_{key}` is {least:,}")
        if value is not None and most is not None and value > most:
            yield Exclusion(rule, f"{value:,} {unit}, `max_{key}` is {most:,}")
