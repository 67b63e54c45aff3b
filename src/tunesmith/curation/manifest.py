"""The manifest of a curation: what was found about each row, and which rows therefore stay.

Finding is slow and done once; deciding is quick and follows the settings of the day. So a rule can be undone, or a
bound moved, without looking at the rows again.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.sections import Curate

UNREADABLE, LENGTH, COMPLEXITY = "unreadable", "length", "complexity"
LEAK, DUPLICATE, NEAR, MEANING = "leak", "duplicate", "near-duplicate", "same-meaning"
ASSERTION = "assertion"
RULES = (UNREADABLE, ASSERTION, LEAK, LENGTH, COMPLEXITY, DUPLICATE, NEAR, MEANING)
"""The rules in the order in which they name a row; after a colon may follow which assertion, or which columns."""


class Finding(NamedTuple):
    """What a rule has against a row.

    Attributes:
        rule: its name.
        reason: what is the matter; of a twin, what the place of the other row follows.
        twin: number of the first row of the kind. The finding counts only while a row of that kind stays before it.
    """

    rule: str
    reason: str
    twin: int | None = None


class Entry(NamedTuple):
    """A row of the manifest: its place, its measures and all that was found about it."""

    file: str
    row: int
    chars: int = 0
    complexity: float = 0
    tokens: int | None = None
    found: tuple[Finding, ...] = ()


class Decision(NamedTuple):
    """An entry and the finding for which the row is left out, its reason complete; None if it stays."""

    entry: Entry
    left_out: Finding | None

    def as_line(self) -> str:
        """Return the line of the manifest."""
        entry, left_out = self.entry, self.left_out
        verdict = {"rule": left_out.rule, "reason": left_out.reason} if left_out else {}
        values = {"file": entry.file, "row": entry.row, "kept": left_out is None, **verdict}
        measures = {"chars": entry.chars, "complexity": entry.complexity, "tokens": entry.tokens}
        found = {"found": entry.found} if entry.found else {}
        return json.dumps({**values, **measures, **found}, ensure_ascii=False)


def read_manifest(file: Path) -> Iterator[Entry]:
    """Yield the entries of a manifest, without the decisions of then."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            values: dict[str, Any] = json.loads(line)
            found = tuple(Finding(*item) for item in values.get("found", ()))
            yield Entry(values["file"], values["row"], values["chars"], values["complexity"], values["tokens"], found)


def decide(entries: Iterable[Entry], section: Curate) -> Iterator[Decision]:
    """Yield for each entry whether it stays: rows are left out in their order, for the first rule that they break.

    Of rows of a kind the first stays that no other rule leaves out.
    """
    files: dict[str, int] = {}
    places = array("Q")
    heirs = array("q")  # of each row: itself if it stays, else the twin that stands for it, or -1
    standing: dict[tuple[str, int], int] = {}
    for number, entry in enumerate(entries):
        places.append(files.setdefault(entry.file, len(files)) << 40 | entry.row)
        findings = [item for item in (*_bounds(entry, section), *entry.found) if not is_kept(item.rule, section.keep)]
        findings.sort(key=lambda item: RULES.index(item.rule.partition(":")[0]))
        left_out, heir = None, number
        for item in findings:
            first = item.twin
            other = -1 if first is None else heirs[standing.get((item.rule, first), first)]
            if first is not None and other < 0:
                continue
            reason = item.reason if first is None else _about_twin(item.reason, first, other, list(files), places)
            left_out, heir = Finding(item.rule, reason, first), other
            break
        else:
            standing |= {(item.rule, item.twin): number for item in findings if item.twin is not None}
        heirs.append(heir)
        yield Decision(entry, left_out)


def is_kept(rule: str, keep: Iterable[str]) -> bool:
    """Whether a rule is among those that leave out nothing: by its name, or by the part before the colon."""
    return rule in keep or rule.partition(":")[0] in keep


def _about_twin(reason: str, first: int, stays: int, files: list[str], places: "array[int]") -> str:
    one, other = (f"{files[places[index] >> 40]}:{places[index] & (1 << 40) - 1}" for index in (first, stays))
    return f"{reason} {one}" if one == other else f"{reason} {one}, for which {other} stays"


def _bounds(entry: Entry, section: Curate) -> Iterator[Finding]:
    """Yield what is out of bounds."""
    measures = [
        (LENGTH, "characters", "chars", entry.chars, section.min_chars, section.max_chars),
        (LENGTH, "tokens", "tokens", entry.tokens, section.min_tokens, section.max_tokens),
        (COMPLEXITY, "complexity", "complexity", entry.complexity, section.min_complexity, section.max_complexity),
    ]
    if any(item.rule == UNREADABLE for item in entry.found):
        return
    for rule, unit, key, value, least, most in measures:
        if value is not None and least is not None and value < least:
            yield Finding(rule, f"{value:,} {unit}, `min_{key}` is {least:,}")
        if value is not None and most is not None and value > most:
            yield Finding(rule, f"{value:,} {unit}, `max_{key}` is {most:,}")
