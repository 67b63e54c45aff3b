"""Values as JSON has them: the same row is the same values, whichever kind of file it stands in."""

import json
from collections.abc import Callable, Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tunesmith.data.types import BadRow, Row

_SIMPLE = (str, int, bool, type(None))


def plain_row(row: Row | BadRow) -> Row | BadRow:
    """Return the row with plain values; as a `BadRow`, if one of them has no plain form."""
    if isinstance(row, BadRow):
        return row
    values = {}
    for name, value in row.values.items():
        try:
            values[name] = plain_value(value)
        except ValueError as error:
            return BadRow(row.file, row.number, f"column {name}: {error}")
    return Row(row.file, row.number, values)


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it: NaN is null, binary is text, dates are ISO text.

    Raises:
        ValueError: it has no such form.
    """
    if type(value) in _SIMPLE:
        return value
    if isinstance(value, dict):
        return {key: plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, float):
        return None if value != value else float(value)
    return _from_library(value)


def _from_library(value: Any) -> Any:
    if type(value).__module__ == "numpy":
        return plain_value(value.tolist())
    if isinstance(value, (Decimal, date)) and value != value:  # pandas' NaT is a date
        return None
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{len(value)} bytes that are not UTF-8 text; remove the column") from None
    raise ValueError(f"a {type(value).__name__} is neither text nor number, list or mapping")


Convert = Callable[[Any], Any]


def struct_converter(fields: Iterable[Any]) -> Convert:
    """Return what turns a row or struct of Arrow, with the keys of all rows, into the one that was written as JSON.

    A key that is null is absent there: it is in this row only because another row has it.
    """
    converters = {field.name: _arrow_converter(field.type) for field in fields}

    def convert(values: dict[str, Any]) -> dict[str, Any]:
        return {name: converters[name](value) for name, value in values.items() if value is not None}

    return convert


def _arrow_converter(kind: Any) -> Convert:
    """Return what converts values of an Arrow type that are not null.

    A map and the JSON type of `datasets` have only the keys that were written, so that their nulls stay.
    """
    import pyarrow.types as types

    if types.is_struct(kind):
        return struct_converter(kind)
    if types.is_map(kind):
        convert = _or_null(_arrow_converter(kind.item_type))
        return lambda value: {key: convert(item) for key, item in value}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        convert = _or_null(_arrow_converter(kind.value_type))
        return lambda value: [convert(item) for item in value]
    return json.loads if getattr(kind, "extension_name", "") == "arrow.json" else _same


def _or_null(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _same(value: Any) -> Any:
    return value
