"""Filters: rows to which a user's assertions say no are left out, with the reasons, before anything is tokenised."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tunesmith.assertions import AssertionRunner, Case, open_assertions
from tunesmith.data.formats import find_format
from tunesmith.data.formats.detect import with_types
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.question import reference_answer
from tunesmith.data.source import read_rows
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import ConfigError, DataError
from tunesmith.log import aligned, note
from tunesmith.sections import Dataset


class Dropped(NamedTuple):
    """A row that was left out: assertion -> why."""

    row: Row
    reasons: dict[str, str]


@dataclass
class Tally:
    """How many rows an assertion left out, and the first of them with its reason."""

    name: str
    rows: int
    place: str
    reason: str


def spec_of_file(file: str, kind: str | None, filters: Sequence[str] = ()) -> FormatSpec:
    """Return the settings of a data file without a config; where its columns tell no layout, its rows have no answer.

    Raises:
        ConfigError: `kind` is no known type.
        DataError: there is no such file.
    """
    dataset = Dataset(path=file, type=kind, filters=list(filters))
    if kind:
        find_format(kind, file)
        return FormatSpec(dataset, source=file)
    try:
        return FormatSpec(with_types([dataset], file)[0], source=file)
    except ConfigError:
        note(f"{file}: its columns tell no layout, so that `answer` is empty; a type names one")
        return FormatSpec(dataset.model_copy(update={"type": "pretokenized"}), source=file)


def filtered_rows(spec: FormatSpec, limit: int | None, seconds: float) -> Iterator[Row | BadRow | Dropped]:
    """Yield the first `limit` rows of a dataset, in their order; one that its `filters` leave out as `Dropped`.

    What is judged as `answer` is the row's own answer, as `evaluate` would ask for it.

    Raises:
        ConfigError: an assertion is at fault.
    """
    rows = islice(read_rows(spec.dataset, spec.source), limit)
    if not spec.dataset.filters:
        yield from rows
        return
    with open_assertions(spec.dataset.filters, spec.source, seconds) as runner:
        yield from judged_rows(rows, lambda values: reference_answer(values, spec), runner)


def judged_rows(
    rows: Iterable[Row | BadRow], answer: Callable[[dict[str, Any]], str], runner: AssertionRunner
) -> Iterator[Row | BadRow | Dropped]:
    """Yield the rows in their order, judged; one that has no answer, since it does not fit its type, as a `BadRow`."""
    waiting: deque[Row | BadRow] = deque()

    def cases() -> Iterator[Case]:
        for row in rows:
            if isinstance(row, Row):
                try:
                    text = answer(row.values)
                except DataError as error:
                    row = BadRow(row.file, row.number, str(error))
            waiting.append(row)
            if isinstance(row, Row):
                yield Case(row.values, text, text, f"{row.file}:{row.number}")

    for verdicts in runner(cases()):
        while isinstance(waiting[0], BadRow):
            yield waiting.popleft()
        row = waiting.popleft()
        reasons = {verdict.name: verdict.reason for verdict in verdicts if not verdict.ok}
        yield Dropped(row, reasons) if reasons and isinstance(row, Row) else row
    yield from waiting


@dataclass
class Filtered:
    """What became of the rows of a dataset: how many were read and left out, and why."""

    rows: int = 0
    dropped: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)


def write_filtered(
    rows: Iterable[Row | BadRow | Dropped], kept: Path, dropped: Path, advance: Callable[[int], object]
) -> Filtered:
    """Write the rows that are kept and those that are not as JSON lines; the files appear when both are whole."""
    found = Filtered()
    kept.parent.mkdir(parents=True, exist_ok=True)
    parts = [file.with_name(f".{file.name}.part") for file in (kept, dropped)]
    try:
        with _writable(parts[0]) as good, _writable(parts[1]) as bad:
            for row in rows:
                if isinstance(row, BadRow):
                    row = Dropped(Row(row.file, row.number, {}), {"(cannot be used)": row.reason})
                if isinstance(row, Row):
                    good.write(json_line(row.values))
                else:
                    note_dropped(row, bad, found.tallies)
                    found.dropped += 1
                found.rows += 1
                advance(1)
        for part, file in zip(parts, (kept, dropped), strict=True):
            part.replace(file)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return found


def _writable(file: Path) -> TextIO:
    """Open a file to write to; a reason may hold half a character, which UTF-8 has not."""
    return file.open("w", encoding="utf-8", errors="backslashreplace")


def note_dropped(item: Dropped, stream: TextIO, tallies: dict[str, Tally]) -> None:
    """Write a row that was left out as a JSON line, its columns with `place` and `reasons`, and count it."""
    place = f"{item.row.file}:{item.row.number}"
    stream.write(json_line({**item.row.values, "place": place, "reasons": item.reasons}))
    for name, reason in item.reasons.items():
        tallies.setdefault(name, Tally(name, 0, place, reason)).rows += 1


def json_line(values: dict[str, Any]) -> str:
    """Return a row as a line of JSON; a date or the like as text."""
    return json.dumps(values, ensure_ascii=False, default=str) + "\n"


def dropped_lines(dropped: int, rows: int, tallies: Iterable[Tally], file: Path) -> list[str]:
    """Return lines that say how many rows were left out, where they are, and why."""
    share = 100 * dropped / max(rows, 1)
    head = f"  {dropped:,} of {rows:,} rows left out by filters ({share:.1f}%), all in {file}:"
    return [head, *(f"    {line}" for line in reasons_table(tallies, rows))]


def reasons_table(tallies: Iterable[Tally], rows: int) -> list[str]:
    """Return aligned lines: the assertions that left rows out, the most first, with an example of each."""
    lines: list[Sequence[str]] = [("assertion", "rows", "share", "first at", "because")]
    for tally in sorted(tallies, key=lambda tally: -tally.rows):
        share = f"{100 * tally.rows / max(rows, 1):.1f}%"
        lines.append((tally.name, f"{tally.rows:,}", share, tally.place, " ".join(tally.reason.split())[:100]))
    return aligned(lines, left=(0, 3, 4)).splitlines()
