"""The slow step of a curation: every row is read once, and what the rules find about it is written to a file.

Rows stream. Only hashes of a row are kept in memory (`data.near_duplicates`), because duplicates and contamination are
known only at the end.
"""

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunesmith.assertions import AssertionRunner, Case
from tunesmith.checks.parts import prompt_and_answer
from tunesmith.curation.manifest import ASSERTION, DUPLICATE, LEAK, NEAR, SEMANTIC, UNREADABLE, Entry, Exclusion
from tunesmith.data.comparison import ANSWER, PROMPT, Parts, RowComparison, joined_text, without_columns
from tunesmith.data.near_duplicates import Leaves, NearDuplicateIndex, find_repeats, hash_exact, hash_leaves
from tunesmith.data.source import read_rows
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow, Row
from tunesmith.data.unread import BOOKKEEPING, is_bookkeeping
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.log import note, progress
from tunesmith.references import resolve
from tunesmith.sections import Config, Curate

BATCH = 1000

Location = tuple[str, int]
"""File and row."""


class SourceRow(NamedTuple):
    """A row, the number of its entry in `datasets`, and whether it is an eval row."""

    item: Row | BadRow
    dataset: int
    is_eval: bool


def read_source_rows(config: Config, eval_rows: set[Location]) -> Iterator[SourceRow]:
    """Yield the rows of `datasets` in their order."""
    for number, dataset in enumerate(config.data.datasets):
        for item in read_rows(dataset, config.source):
            yield SourceRow(item, number, (item.file, item.number) in eval_rows)


class HashedRows:
    """Two hashes of each of many rows: exact, and of what is compared."""

    def __init__(self) -> None:
        self.exact, self.normalized = array("Q"), array("Q")

    def add(self, leaves: Leaves) -> None:
        """Add a row; one that says nothing is no duplicate."""
        self.exact.append(hash_exact(leaves))
        self.normalized.append(hash_leaves(leaves))

    def duplicates(self, rule: str) -> dict[int, Exclusion]:
        """Return an exclusion for each row that equals an earlier one."""
        pairs = find_repeats(np.frombuffer(self.normalized, np.uint64)) if len(self.normalized) else []
        return {
            later: Exclusion(rule, self.relation(later, earlier), earlier)
            for later, earlier in pairs
            if self.normalized[later]
        }

    def relation(self, later: int, earlier: int) -> str:
        """Return in which way two equal rows are the same."""
        is_exact = self.exact[later] == self.exact[earlier]
        return "the same as" if is_exact else "the same, except for case and whitespace, as"


class Scan:
    """One pass over the rows; `runner` runs the assertions that they must pass."""

    def __init__(self, config: Config, tokenizer: Tokenizer | None, runner: AssertionRunner | None) -> None:
        self.config, self.tokenizer, self.runner = config, tokenizer, runner
        self.section: Curate = config.synthesis.curate
        self.complexity = _load_complexity(self.section, config.source)
        self.groups = [HashedRows() for _ in self.section.dedup_keys]
        min_similarity = self.section.near_duplicates
        self.near = NearDuplicateIndex(min_similarity) if min_similarity else None
        self.semantic = None
        if self.section.embedding_model:
            from tunesmith.curation.semantic import SemanticIndex  # torch is needed for nothing else here

            self.semantic = SemanticIndex(self.section.embedding_model, self.section.embedding_likeness)
        self.prompts, self.near_prompts = HashedRows(), NearDuplicateIndex(min_similarity or 1)
        self.eval_rows: list[Location] = []
        self.columns: set[str] = {PROMPT, ANSWER}
        self.train_comparisons, self.eval_comparisons = (
            [RowComparison(dataset, config) for dataset in side]
            for side in (config.data.datasets, config.data.test_datasets)
        )

    @property
    def not_compared(self) -> dict[str, int]:
        """The columns that are left out of the comparison, with the number of rows that have them."""
        return dict(sum((item.left_out for item in self.train_comparisons), Counter()).most_common())

    def entries(self, eval_rows: set[Location], file: Path) -> Iterator[Entry]:
        """Yield the entry of each training row with all its exclusions; `file` is a temporary file.

        Raises:
            ConfigError: a named column is in no row.
        """
        for row, comparison in self._read_eval_rows(eval_rows):
            self.eval_rows.append((row.file, row.number))
            self._add_prompt(row, comparison.parts(row.values))
        rows = (row for row in read_source_rows(self.config, eval_rows) if not row.is_eval)
        with file.open("w", encoding="utf-8") as lines, progress("reading", unit="rows") as advance:
            while batch := list(islice(rows, BATCH if self.semantic is None else BATCH // 10)):
                lines.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self._scan_batch(batch))
                advance(len(batch))
        self._require_columns()
        self._report_unknown_types()
        by_rule = self._find_duplicates()
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                *fields, exclusions = json.loads(line)
                duplicates = [by_row[number] for by_row in by_rule if number in by_row]
                row_exclusions = (*(Exclusion(*item) for item in exclusions), *duplicates)
                yield Entry(*fields)._replace(found=row_exclusions)

    def _read_eval_rows(self, eval_rows: set[Location]) -> Iterator[tuple[Row, RowComparison]]:
        """Yield the rows of `test_datasets`, and the eval rows of `val_set_size`."""
        if not self.section.leak_columns:
            return
        for dataset, comparison in zip(self.config.data.test_datasets, self.eval_comparisons, strict=True):
            for item in read_rows(dataset, self.config.source):
                if isinstance(item, Row):
                    yield item, comparison
        for row in read_source_rows(self.config, eval_rows) if eval_rows else ():
            if row.is_eval and isinstance(row.item, Row):
                yield row.item, self.train_comparisons[row.dataset]

    def _add_prompt(self, row: Row | None, parts: Parts) -> None:
        leaves = without_columns(parts.select(row.values, self.section.leak_columns)) if row else []
        self.prompts.add(leaves)
        self.near_prompts.add(leaves if self.near is not None else [])

    def _scan_batch(self, batch: Sequence[SourceRow]) -> Iterator[Entry]:
        """Yield the entries of some rows with the exclusions that need no other row; keep the rows' hashes."""
        texts, cases = [], []
        for item, number, _ in batch:
            values = item.values if isinstance(item, Row) else {}
            self.columns.update(values)
            parts = self.train_comparisons[number].parts(values)
            for group, columns in zip(self.groups, self.section.dedup_keys, strict=True):
                group.add(parts.select(values, columns))
            leaves = parts.select(values, self.section.columns)
            texts.append(joined_text(leaves))
            if self.near is not None:
                self.near.add(leaves)
            if self.eval_rows:
                self._add_prompt(item if isinstance(item, Row) else None, parts)
            if isinstance(item, Row) and self.runner:
                answer = prompt_and_answer(values, self.config.data.datasets[number])[1]
                cases.append(Case(values, answer, answer, f"{item.file}:{item.number}"))
        if self.semantic is not None:
            self.semantic.add(texts)
        results = self.runner(cases) if self.runner else repeat([])
        for (item, *_), text, num_tokens in zip(batch, texts, self._count_tokens(texts), strict=True):
            if isinstance(item, BadRow):
                yield Entry(item.file, item.number, found=(Exclusion(UNREADABLE, item.reason),))
                continue
            failures = tuple(Exclusion(f"{ASSERTION}:{name}", reason) for name, ok, reason in next(results) if not ok)
            yield Entry(item.file, item.number, len(text), self.complexity(item, text), num_tokens, failures)

    def _count_tokens(self, texts: Sequence[str]) -> Sequence[int | None]:
        if self.tokenizer is None:
            return [None] * len(texts)
        return [len(ids) for ids in self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]]

    def _require_columns(self) -> None:
        names = {
            "dedup_keys": [column for group in self.section.dedup_keys for column in group],
            "columns": self.section.columns,
            "leak_columns": self.section.leak_columns,
        }
        for key, columns in names.items():
            for column in columns:
                if column not in self.columns:
                    near = did_you_mean(column, self.columns) or f"; there are {', '.join(sorted(self.columns))}"
                    raise ConfigError(f"`curate.{key}`: no row has a column `{column}`{near}")

    def _report_unknown_types(self) -> None:
        names = sorted(name for name in self.columns if is_bookkeeping(name, BOOKKEEPING))
        for dataset, comparison in zip(self.config.data.datasets, self.train_comparisons, strict=True):
            if comparison.compares_all and names:
                note(
                    f"{dataset.path}: which columns its dataset type reads is not known, so all are compared, also "
                    f"{', '.join(names)}; set `type`, or the columns of `curate.dedup_keys` and `curate.columns`"
                )

    def _find_duplicates(self) -> list[dict[int, Exclusion]]:
        """Return for each rule that compares rows the exclusions by row number."""
        by_rule: list[dict[int, Exclusion]] = [self._find_leaks()] if self.eval_rows else []
        excluded_rows: set[int] = set()
        for group, columns in zip(self.groups, self.section.dedup_keys, strict=True):
            duplicates = group.duplicates(f"{DUPLICATE}:{'+'.join(columns)}")
            excluded_rows |= duplicates.keys()
            by_rule.append(duplicates)
        indexes = (
            (NEAR, "a near-duplicate (similarity {:.2f}) of", self.near),
            (SEMANTIC, "a semantic duplicate (cosine similarity {:.3f}) of", self.semantic),
        )
        for rule, relation, index in indexes:
            if index is not None:
                matches = index.near_duplicates(without=sorted(excluded_rows))
                excluded_rows |= matches.keys()
                by_rule.append(
                    {
                        row: Exclusion(rule, relation.format(match.similarity), match.earlier)
                        for row, match in matches.items()
                    }
                )
        return by_rule

    def _find_leaks(self) -> dict[int, Exclusion]:
        """Return an exclusion for each training row whose prompt is in the eval rows too."""
        split_index = len(self.eval_rows)
        hashes = self.prompts.normalized
        first_eval_row: dict[int, int] = {}
        for number in range(split_index):
            first_eval_row.setdefault(hashes[number], number)
        first_eval_row.pop(0, None)
        leaks: dict[int, tuple[str, int]] = {}
        for number, match in self.near_prompts.near_duplicates(split_index=split_index).items():
            relation = f"a near-duplicate (similarity {match.similarity:.2f}) of the prompt of"
            leaks[number - split_index] = relation, match.earlier
        for number in range(split_index, len(hashes)):
            eval_row = first_eval_row.get(hashes[number])
            if eval_row is not None:
                relation = f"{self.prompts.relation(number, eval_row)} the prompt of"
                leaks[number - split_index] = relation, eval_row
        return {
            number: Exclusion(LEAK, f"its prompt is {relation} the eval row {':'.join(map(str, self.eval_rows[row]))}")
            for number, (relation, row) in leaks.items()
        }


def _load_complexity(section: Curate, source: str) -> Callable[[Row, str], float]:
    """Return the function that measures the complexity of a row and its text."""
    name = section.complexity
    if name is None:
        return lambda row, text: len(set(text.casefold().split()))
    function = resolve(name, source)

    def measure(row: Row, text: str) -> float:
        try:
            return float(function(row.values))
        except Exception as error:  # the user's code may raise anything
            location = f"{row.file}:{row.number}"
            raise ConfigError(
                f"`curate.complexity: {name}` fails on {location}: {type(error).__name__}: {error}"
            ) from error

    return measure
