"""A row that records which of its columns are asked for, so that what nobody reads can be named."""

from collections.abc import Mapping
from typing import Any


class TrackedRow(dict[str, Any]):
    """The columns of a row; it records those that are asked for, and the keys of messages that are not."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()
        self.rest: list[tuple[str, TrackedRow | Mapping[str, Any]]] = []

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a column, or `default` if the row lacks it."""
        self.read.add(key)
        return super().get(key, default)

    def unread(self) -> dict[str, Any]:
        """Return what was not asked for and is not empty."""
        return {name: value for name, value in self.items() if name not in self.read and not is_empty(value)}


def with_values(row: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return other values of a row, whose columns are recorded as those of the row if its are."""
    if not isinstance(row, TrackedRow):
        return dict(values)
    tracked = TrackedRow(values)
    tracked.read, tracked.rest = row.read, row.rest
    return tracked


def track_messages(values: dict[str, Any], column: str, items: list[Any]) -> list[Any]:
    """Return messages that record which of their keys are asked for, if the row they are in does."""
    if not isinstance(values, TrackedRow):
        return items
    tracked = [TrackedRow(item) if isinstance(item, dict) else item for item in items]
    values.rest += [(column, item) for item in tracked if isinstance(item, TrackedRow)]
    return tracked


def left_to_template(values: dict[str, Any], column: str, fields: Mapping[str, Any]) -> None:
    """Record keys of a message that only the chat template may read."""
    if isinstance(values, TrackedRow) and fields:
        values.rest.append((column, fields))


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: null, a blank text, or an empty list or mapping."""
    return value is None or (isinstance(value, str) and not value.strip()) or (value in ([], {}))
