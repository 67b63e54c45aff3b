"""Answers to judge or label, from an evaluation or from a file of rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.data import source as data_source
from tunesmith.data.types import BadRow
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

VARIANTS = ("answer", "base", "tuned")
"""Columns that hold answers: `tunesmith inference --prompt-file` writes one for each model."""

REPORTS = ("evaluation/report.json", "run/evaluation.json")
"""The report of `tunesmith evaluate` in `output_dir`, and that of earlier versions."""


class Item(NamedTuple):
    """An answer.

    Attributes:
        id: its location, as `eval.jsonl:7`, or the column `id`; with several variants, also the variant's name.
        variant: base, tuned, or just `answer`.
        question: the prompt.
        answer: the text.
    """

    id: str
    variant: str
    question: str
    answer: str


def find_report(output_dir: str) -> str:
    """Return the file of a run's report; the default one if there is none."""
    files = [Path(output_dir) / name for name in REPORTS]
    return str(next((file for file in files if file.exists()), files[0]))


def read_items(file: str) -> list[Item]:
    """Return the answers in a report of `tunesmith evaluate`, or in rows with the columns question and answer.

    Raises:
        DataError: the file is missing, has no answers, or has an invalid row.
    """
    if not Path(file).is_file():
        raise DataError(
            f"{file}: no such file; `tunesmith evaluate` writes the answers of a model, --answers names them"
        )
    report = _read_report(Path(file))
    items = list(_items_of_report(report, file) if report is not None else _items_of_rows(file))
    if not items:
        raise DataError(f"{file} has no answers")
    return items


def read_texts(file: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the location and the columns of each row of a file, with values as text.

    Raises:
        DataError: a row is invalid.
    """
    if not Path(file).is_file():
        raise DataError(f"{file}: no such file")
    for row in data_source.read_rows(Dataset(path=file), file):
        if isinstance(row, BadRow):
            raise DataError(f"{row.file}:{row.number}: {row.reason}")
        yield f"{file}:{row.number}", {key: _as_text(value) for key, value in row.values.items()}


def _as_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


def _read_report(file: Path) -> dict[str, Any] | None:
    """Return the report of `tunesmith evaluate`, or None for a file of rows."""
    if file.suffix != ".json":
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None  # the reader of rows reports the error
    return content if isinstance(content, dict) and "rows" in content and "summary" in content else None


def _items_of_report(report: dict[str, Any], file: str) -> Iterator[Item]:
    try:
        for row in report["rows"]:
            for variant, answer in row["answers"].items():
                yield Item(f"{row['file']}:{row['row']}:{variant}", variant, row["question"], answer["text"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} is no report of this version of `tunesmith evaluate`; evaluate again") from error


def _items_of_rows(file: str) -> Iterator[Item]:
    for location, texts in read_texts(file):
        question = texts.get("question", texts.get("prompt"))
        variants = [variant for variant in VARIANTS if variant in texts]
        if question is None or not variants:
            raise DataError(f"{location}: expected the columns question and answer, found {', '.join(texts)}")
        for variant in variants:
            name = texts.get("id") or location
            yield Item(name if len(variants) == 1 else f"{name}:{variant}", variant, question, texts[variant])
