"""The slow half of a curation: every row is read once, and what is found about it goes into a file.

Rows stream. What is kept of a row are hashes in flat arrays (`data.twins`), since twins and leaks show at the end.
"""

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunesmith.assertions import Case, Jury
from tunesmith.checks.parts import ANSWERED, ASKED, joined, prompt_and_answer
from tunesmith.curation.manifest import ASSERTION, DUPLICATE, LEAK, MEANING, NEAR, UNREADABLE, Entry, Finding
from tunesmith.data.source import read_rows
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.twins import NearTexts, exact_hash, repeats, text_hash
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.log import progress
from tunesmith.references import resolve
from tunesmith.sections import Config, Curate, Dataset

BATCH = 1000

Place = tuple[str, int]
"""File and row."""


class Sourced(NamedTuple):
    """A row, the number of its entry in `datasets`, and whether it is held out for evaluation."""

    item: Row | BadRow
    dataset: int
    held_out: bool


def sourced_rows(config: Config, held_out: set[Place]) -> Iterator[Sourced]:
    """Yield the rows of `datasets` in their order."""
    for number, dataset in enumerate(config.data.datasets):
        for item in read_rows(dataset, config.source):
            yield Sourced(item, number, (item.file, item.number) in held_out)


class Keys:
    """Hashes of the same columns of many rows: as they stand, and but for case and whitespace."""

    def __init__(self) -> None:
        self.exact, self.plain = array("Q"), array("Q")

    def add(self, text: str) -> None:
        """Add a row; one without text is like no other."""
        self.exact.append(exact_hash(text) if text else 0)
        self.plain.append(text_hash(text) if text else 0)

    def twins(self) -> dict[int, Finding]:
        """Return what is found about each row that says what an earlier one says."""
        pairs = repeats(np.frombuffer(self.plain, np.uint64)) if len(self.plain) else []
        return {later: Finding("", self.how(later, earlier), earlier) for later, earlier in pairs if self.plain[later]}

    def how(self, later: int, earlier: int) -> str:
        """Say in which way two rows are the same."""
        same = self.exact[later] == self.exact[earlier]
        return "the same as" if same else "the same, but for case and whitespace, as"


class Scan:
    """One reading of the rows; `judge` runs the assertions that they must pass."""

    def __init__(self, config: Config, tokenizer: Tokenizer | None, judge: Jury | None) -> None:
        self.config, self.tokenizer, self.judge = config, tokenizer, judge
        self.section: Curate = config.synthesis.curate
        self.complexity = _complexity(self.section, config.source)
        self.groups = [Keys() for _ in self.section.dedup_keys]
        self.near = NearTexts(self.section.near_duplicates) if self.section.near_duplicates else None
        self.meanings = None
        if self.section.embedding_model:
            from tunesmith.curation.meaning import Meanings  # torch is needed for nothing else here

            self.meanings = Meanings(self.section.embedding_model, self.section.embedding_likeness)
        self.asked, self.near_asked = Keys(), NearTexts(self.section.near_duplicates or 1)
        self.held_out: list[Place] = []
        self.columns: set[str] = {ASKED, ANSWERED}

    def entries(self, held_out: set[Place], file: Path) -> Iterator[Entry]:
        """Yield the entry of each row to train on, all that is found about it included; `file` is needed meanwhile.

        Raises:
            ConfigError: a named column is in no row.
        """
        for row, dataset in self._to_evaluate(held_out):
            self.held_out.append((row.file, row.number))
            self._add_asked(row, dataset)
        rows = (sourced for sourced in sourced_rows(self.config, held_out) if not sourced.held_out)
        with file.open("w", encoding="utf-8") as lines, progress("reading", unit="rows") as advance:
            while batch := list(islice(rows, BATCH if self.meanings is None else BATCH // 10)):
                lines.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self._read(batch))
                advance(len(batch))
        self._require_columns()
        twins = self._twins()
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                *known, found = json.loads(line)
                late = [at[number] for at in twins if number in at]
                yield Entry(*known)._replace(found=(*(Finding(*item) for item in found), *late))

    def _to_evaluate(self, held_out: set[Place]) -> Iterator[tuple[Row, Dataset]]:
        """Yield the rows of `test_datasets`, and those of `datasets` that `val_set_size` holds out."""
        if not self.section.leak_columns:
            return
        for dataset in self.config.data.test_datasets:
            for item in read_rows(dataset, self.config.source):
                if isinstance(item, Row):
                    yield item, dataset
        for sourced in sourced_rows(self.config, held_out) if held_out else ():
            if sourced.held_out and isinstance(sourced.item, Row):
                yield sourced.item, self.config.data.datasets[sourced.dataset]

    def _add_asked(self, row: Row | None, dataset: Dataset) -> None:
        text = joined(row.values, self.section.leak_columns, prompt_and_answer(row.values, dataset)) if row else ""
        self.asked.add(text)
        self.near_asked.add(text if self.near is not None else "")

    def _read(self, batch: Sequence[Sourced]) -> Iterator[Entry]:
        """Yield the entries of some rows with what can be said of each alone, and keep their hashes."""
        texts, cases = [], []
        for item, number, _ in batch:
            dataset = self.config.data.datasets[number]
            values = item.values if isinstance(item, Row) else {}
            self.columns.update(values)
            parts = prompt_and_answer(values, dataset)
            for keys, columns in zip(self.groups, self.section.dedup_keys, strict=True):
                keys.add(joined(values, columns, parts))
            texts.append(joined(values, self.section.columns, parts))
            if self.near is not None:
                self.near.add(texts[-1])
            if self.held_out:
                self._add_asked(item if isinstance(item, Row) else None, dataset)
            if isinstance(item, Row):
                cases.append(Case(values, parts[1], parts[1], f"{item.file}:{item.number}"))
        if self.meanings is not None:
            self.meanings.add(texts)
        verdicts = self.judge(cases) if self.judge else repeat([])
        for (item, *_), text, count in zip(batch, texts, self._tokens(texts), strict=True):
            if isinstance(item, BadRow):
                yield Entry(item.file, item.number, found=(Finding(UNREADABLE, item.reason),))
                continue
            failed = tuple(Finding(f"{ASSERTION}:{name}", reason) for name, ok, reason in next(verdicts) if not ok)
            yield Entry(item.file, item.number, len(text), self.complexity(item, text), count, failed)

    def _tokens(self, texts: Sequence[str]) -> Sequence[int | None]:
        if self.tokenizer is None:
            return [None] * len(texts)
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    def _require_columns(self) -> None:
        named = {
            "dedup_keys": [column for group in self.section.dedup_keys for column in group],
            "columns": self.section.columns,
            "leak_columns": self.section.leak_columns,
        }
        for key, columns in named.items():
            for column in columns:
                if column not in self.columns:
                    near = did_you_mean(column, self.columns) or f"; there are {', '.join(sorted(self.columns))}"
                    raise ConfigError(f"`curate.{key}`: no row has a column `{column}`{near}")

    def _twins(self) -> list[dict[int, Finding]]:
        """Return what the hashes tell, for each rule by the number of the row."""
        found: list[dict[int, Finding]] = [self._leaks()] if self.held_out else []
        equal: set[int] = set()
        for keys, columns in zip(self.groups, self.section.dedup_keys, strict=True):
            rule, twins = f"{DUPLICATE}:{'+'.join(columns)}", keys.twins()
            equal |= twins.keys()
            found.append({number: item._replace(rule=rule) for number, item in twins.items()})
        stores = (
            (NEAR, "{:.2f} of the runs of words are those of", self.near),
            (MEANING, "its meaning has a likeness of {:.3f} to", self.meanings),
        )
        for rule, how, texts in stores:
            if texts is not None:
                alike = texts.twins(without=sorted(equal))
                equal |= alike.keys()
                found.append(
                    {later: Finding(rule, how.format(twin.share), twin.earlier) for later, twin in alike.items()}
                )
        return found

    def _leaks(self) -> dict[int, Finding]:
        """Return what is found about each row that asks what a row to evaluate on asks."""
        border = len(self.held_out)
        tests: dict[int, int] = {}
        for number in range(border):
            tests.setdefault(self.asked.plain[number], number)
        tests.pop(0, None)
        found = {}
        for number, twin in self.near_asked.twins(border=border).items():
            how = f"{twin.share:.2f} of the runs of words of what is asked are those of"
            found[number - border] = how, twin.earlier
        for number in range(border, len(self.asked.plain)):
            if (test := tests.get(self.asked.plain[number])) is not None:
                found[number - border] = f"what is asked is {self.asked.how(number, test)}", test
        return {
            number: Finding(LEAK, f"{how} {':'.join(map(str, self.held_out[test]))}, to evaluate on")
            for number, (how, test) in found.items()
        }


def _complexity(section: Curate, source: str) -> Callable[[Row, str], float]:
    """Return the measure of complexity of a row and its text."""
    name = section.complexity
    if name is None:
        return lambda row, text: len(set(text.casefold().split()))
    function = resolve(name, source)

    def measure(row: Row, text: str) -> float:
        try:
            return float(function(row.values))
        except Exception as error:  # it is the user's own code: it may raise anything
            where = f"{row.file}:{row.number}"
            raise ConfigError(
                f"`curate.complexity: {name}` fails on {where}: {type(error).__name__}: {error}"
            ) from error

    return measure
