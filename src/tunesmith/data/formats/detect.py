"""The type of rows that name none: their columns decide."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from tunesmith.data import source as data_source
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import Columns
from tunesmith.data.formats.history import HISTORY
from tunesmith.data.formats.instruct import SYSTEMS
from tunesmith.data.row_access import is_empty
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import ConfigError
from tunesmith.log import note
from tunesmith.sections import Dataset

SAMPLE = 100
"""Rows whose columns tell the type of a dataset."""

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

    Columns that hold something count first, so that an empty `history`, `system` or `messages` does not decide.

    Raises:
        ConfigError: they are known for nothing.
    """
    there = [name for name, value in values.items() if value is not None]
    for names, fix in PREFERENCES:
        if set(there) >= set(names):
            raise ConfigError(f"the columns {', '.join(names)} hold preference data: {fix}")
    filled = {name for name in there if not is_empty(values[name]) or name in ("input", "context")}
    for columns, name in (*_told_by(filled, values), *_told_by(set(there), values)):
        settings = {"type": name, **columns.keys, **_message_keys(values, columns.names[0])}
        return {key: value for key, value in settings.items() if key not in given}
    raise ConfigError(
        f"`datasets.type` is missing, and the columns do not tell it: found {', '.join(there) or 'none'}; known are "
        f"{'; '.join(text for text, _ in usual_columns())}. Set `type`"
    )


def _told_by(names: set[str], values: Mapping[str, Any]) -> Iterator[tuple[Columns, str]]:
    """Yield the sets of columns that a row has, each with the type that they tell, the first first."""
    for columns, name in known_columns():
        if names >= set(columns.names) and not (columns.text and isinstance(values[columns.names[-1]], list)):
            yield columns, name


def usual_columns() -> list[tuple[str, str]]:
    """Return the columns that tell a type, such as `instruction + output`, each with the type, for a message.

    Those with an optional column are left out.
    """
    optional = {"context", "tools", *SYSTEMS, *HISTORY}
    return [(" + ".join(columns.names), name) for columns, name in known_columns() if not optional & {*columns.names}]


def merged(rows: Iterable[Row | BadRow]) -> dict[str, Any]:
    """Return the columns of several rows, each with the first value that says something."""
    values: dict[str, Any] = {}
    for row in rows:
        for name, value in row.values.items() if isinstance(row, Row) else ():
            if is_empty(values.get(name)):
                values[name] = value
    return values


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
    values = merged(islice(data_source.read_rows(dataset, source), SAMPLE))
    if not values:
        return dataset.model_copy(update={"type": "completion"})  # the reader says what is wrong with its rows
    settings = detected(values, dataset.model_fields_set - {"type"})
    if not quiet:
        keys = ", ".join(f"{key}: {value}" for key, value in settings.items())
        note(f"{dataset.path}: no `type`; its columns {', '.join(values)} are read as {keys}")
    return dataset.model_copy(update=settings)
