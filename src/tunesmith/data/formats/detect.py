"""The type of rows that name none: their columns decide."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from tunesmith.config.sections import Dataset
from tunesmith.data import source as data_source
from tunesmith.data.types import Row
from tunesmith.errors import ConfigError
from tunesmith.log import note

COLUMNS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("input_ids", "labels"), {"type": "pretokenized"}),
    (("messages",), {"type": "chat_template"}),
    (("conversations",), {"type": "chat_template", "field_messages": "conversations"}),
    (("prompt", "completions", "labels"), {"type": "stepwise_supervised"}),
    (("prompt", "completion"), {"type": "prompt_completion"}),
    (("segments",), {"type": "input_output"}),
    (("instruction", "output"), {"type": "alpaca"}),
    (("text",), {"type": "completion"}),
)
"""Columns of a row -> the settings that they stand for. The first that fits counts."""


def detected(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the columns of a row stand for.

    Raises:
        ConfigError: they are known for nothing.
    """
    found = {name for name, value in values.items() if value is not None}
    for columns, settings in COLUMNS:
        if found >= set(columns):
            return settings
    known = "; ".join(" + ".join(columns) for columns, _ in COLUMNS)
    raise ConfigError(
        f"`datasets.type` is missing, and the columns do not tell it: found {', '.join(found) or 'none'}; known are "
        f"{known}. Set `type`"
    )


def with_types(datasets: Sequence[Dataset], source: str, *, quiet: bool = False) -> list[Dataset]:
    """Return the datasets, each with a type: its own, or what the columns of its first rows stand for (printed)."""
    return [dataset if dataset.type is not None else _with_type(dataset, source, quiet) for dataset in datasets]


def _with_type(dataset: Dataset, source: str, quiet: bool) -> Dataset:
    for row in islice(data_source.read_rows(dataset, source), 100):
        if isinstance(row, Row):
            settings = detected(row.values)
            keys = ", ".join(f"{key}: {value}" for key, value in settings.items())
            if not quiet:
                note(f"{dataset.path}: no `type`; its columns {', '.join(row.values)} are read as {keys}")
            return dataset.model_copy(update=settings)
    return dataset.model_copy(update={"type": "completion"})  # the reader says what is wrong with its rows
