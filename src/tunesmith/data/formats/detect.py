"""The type of rows that name none: their columns decide."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

from tunesmith.data import source as data_source
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import Columns
from tunesmith.data.types import Row
from tunesmith.errors import ConfigError
from tunesmith.log import note
from tunesmith.sections import Dataset

PREFERENCES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("chosen", "rejected"), "set `rl: dpo`"),
    (("prompt", "completion", "label"), "set `rl: kto`, or `type: prompt_completion` to train on every completion"),
)
"""Columns of preference data -> what to do about them."""


def known_columns() -> list[tuple[Columns, str]]:
    """Return sets of columns, each with the type that they tell, in the order in which they count."""
    known = ((columns, record.name) for record in FORMATS.values() for columns in record.columns)
    return sorted(known, key=lambda item: item[0].order)


def detected(values: Mapping[str, Any], given: Collection[str] = ()) -> dict[str, Any]:
    """Return the settings that the columns of a row stand for, but for those that are `given`.

    Raises:
        ConfigError: they are known for nothing.
    """
    found = {name for name, value in values.items() if value is not None}
    for names, fix in PREFERENCES:
        if found >= set(names):
            raise ConfigError(f"the columns {', '.join(names)} hold preference data: {fix}")
    for columns, name in known_columns():
        if found >= set(columns.names):
            settings = {"type": name, **columns.keys, **_message_keys(values, columns.names[0])}
            return {key: value for key, value in settings.items() if key not in given}
    known = "; ".join(" + ".join(columns.names) for columns, _ in known_columns())
    raise ConfigError(
        f"`datasets.type` is missing, and the columns do not tell it: found {', '.join(found) or 'none'}; known are "
        f"{known}. Set `type`"
    )


def _message_keys(values: Mapping[str, Any], column: str) -> dict[str, Any]:
    """Return the names of role and content in a column of messages that have other ones than templates know."""
    items = values[column]
    first = items[0] if isinstance(items, list) and items else None
    other = isinstance(first, dict) and {"from", "value"} <= first.keys() and "role" not in first
    return {"message_property_mappings": {"role": "from", "content": "value"}} if other else {}


def with_types(datasets: Sequence[Dataset], source: str, *, quiet: bool = False) -> list[Dataset]:
    """Return the datasets, each with a type: its own, or what the columns of its first rows stand for (printed)."""
    return [dataset if dataset.type is not None else _with_type(dataset, source, quiet) for dataset in datasets]


def _with_type(dataset: Dataset, source: str, quiet: bool) -> Dataset:
    for row in islice(data_source.read_rows(dataset, source), 100):
        if isinstance(row, Row):
            settings = detected(row.values, dataset.model_fields_set - {"type"})
            keys = ", ".join(f"{key}: {value}" for key, value in settings.items())
            if not quiet:
                note(f"{dataset.path}: no `type`; its columns {', '.join(row.values)} are read as {keys}")
            return dataset.model_copy(update=settings)
    return dataset.model_copy(update={"type": "completion"})  # the reader says what is wrong with its rows
