"""What of a row is compared with other rows, for `check`, `curate` and `generate`.

Everything that a row says counts: columns, numbers, flags, roles, the order of messages, tools. Columns that hold only
bookkeeping do not, unless the dataset type reads them. Which columns it reads is recorded by a `TrackedRow`.
`data.near_duplicates` decides which rows are equal or alike.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tunesmith.data.formats import is_custom
from tunesmith.data.formats.detect import with_types
from tunesmith.data.formats.format import FormatSpec, Preferences
from tunesmith.data.masks import format_of
from tunesmith.data.row_access import TrackedRow, is_empty
from tunesmith.data.unread import ignored_names, is_bookkeeping
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Config, Dataset

ANSWERS = ("output", "response", "answer", "completion", "chosen", "rejected", "summary", "label")
"""Columns of answers in rows that are no conversation; any other column is part of the prompt."""
PROMPT, ANSWER = "prompt", "answer"
"""Names of the two parts of a row, in the place of columns."""


class Leaf(NamedTuple):
    """A value of a row.

    Attributes:
        place: where it is, such as `question` or `messages 2 assistant`.
        text: the value as text.
        role: who says it; empty for the user and in rows without messages.
    """

    place: str
    text: str
    role: str = ""


class Parts(NamedTuple):
    """The compared values of a row: the last message of the assistant or the answer columns, and all others."""

    prompt: list[Leaf]
    answer: list[Leaf]

    def select(self, values: Mapping[str, Any], columns: Sequence[str]) -> list[Leaf]:
        """Return the values in some columns, where `prompt` and `answer` are the two parts."""
        parts = {PROMPT: self.prompt, ANSWER: self.answer}
        return [
            leaf
            for column in columns
            for leaf in (parts[column] if column in parts else _leaves(column, values.get(column)))
        ]


def without_columns(leaves: Sequence[Leaf]) -> list[Leaf]:
    """Return values without the names of their columns, to compare the prompts of datasets of different types."""
    return [leaf._replace(place=leaf.role) for leaf in leaves]


def joined_text(leaves: Sequence[Leaf]) -> str:
    """Return values as one text."""
    return "\n".join(leaf.text for leaf in leaves if leaf.text)


class RowComparison:
    """Selects the compared values of the rows of one dataset.

    Attributes:
        left_out: columns and keys of messages that are not compared, with the number of rows that have them.
    """

    def __init__(self, dataset: Dataset, config: Config | None = None) -> None:
        self.left_out = Counter[str]()
        self._spec = None if config is None else _reading_spec(dataset, config)
        self._dataset = self._spec.dataset if self._spec else dataset
        mapping = self._dataset.type if isinstance(self._dataset.type, dict) else {}
        self._answers = {*ANSWERS, self._dataset.field_output, mapping.get("field_output")}
        self._excluded: dict[frozenset[str], frozenset[str]] = {}

    @property
    def compares_all(self) -> bool:
        """Whether bookkeeping is compared too, because nothing tells which columns the type reads."""
        return self._spec is None

    def parts(self, values: Mapping[str, Any]) -> Parts:
        """Return the compared values of a row; `left_out` counts the others."""
        excluded = self._excluded_names(values)
        self.left_out.update(excluded)
        parts = Parts([], [])
        for column in sorted(values):
            value = values[column]
            if column.startswith("_") or column in excluded:
                continue
            turns = list(_turns(column, value, self._dataset, excluded))
            if turns:
                answers = [index for index, (role, _) in enumerate(turns) if role == "assistant"]
                index = answers[-1] if answers else len(turns)
                parts.prompt.extend(leaf for _, leaves in turns[:index] for leaf in leaves)
                parts.answer.extend(leaf for _, leaves in turns[index:] for leaf in leaves)
            else:
                part = parts.answer if column in self._answers else parts.prompt
                part.extend(_leaves(column, value))
        return parts

    def _excluded_names(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Return the columns, and the keys of messages as `column.key`, that hold bookkeeping which the type ignores.

        The same columns are read in the same way, so the answer is kept for each set of them.
        """
        if self._spec is None:
            return frozenset()
        names = frozenset(_names(values))
        if names not in self._excluded:
            ignored = ignored_names(self._spec.dataset)
            bookkeeping = {name for name in names if is_bookkeeping(name, ignored)}
            self._excluded[names] = frozenset(bookkeeping - _read_names(values, self._spec) if bookkeeping else ())
        return self._excluded[names]


def _reading_spec(dataset: Dataset, config: Config) -> FormatSpec | None:
    """Return the settings with which rows are read for their columns; None if the type is unknown or custom."""
    data = config.data
    if not data.rl:
        try:
            (dataset,) = with_types([dataset], config.source, quiet=True)
        except ConfigError:
            return None
    if is_custom(dataset.kind):
        return None
    preferences = Preferences(data.rl, config.model, ()) if data.rl else None
    spec = FormatSpec(dataset, mask=dataset.mask or data.mask, preferences=preferences, source=config.source)
    try:
        format_of(spec)
    except ConfigError:
        return None
    return spec


def _names(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the columns of a row that hold something, and the keys of its messages as `column.key`."""
    for column, value in values.items():
        if is_empty(value):
            continue
        yield column
        if isinstance(value, list):
            yield from {f"{column}.{key}" for item in value if isinstance(item, dict) for key in item}


def _read_names(values: Mapping[str, Any], spec: FormatSpec) -> set[str]:
    """Return the columns, and keys of messages, that the type asks for."""
    row = TrackedRow(values)
    # What it asked for until then is recorded. A type that needs a tokenizer, which is not here, has read its columns.
    with suppress(DataError, AssertionError):
        format_of(spec).read(row, spec)
    keys = {
        f"{column}.{key}" for column, message in row.rest if isinstance(message, TrackedRow) for key in message.read
    }
    return row.read | keys


def _leaves(place: str, value: Any, role: str = "") -> Iterator[Leaf]:
    """Yield the values inside of a value; what is missing or empty says nothing."""
    if is_empty(value) or value != value:
        return
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _leaves(f"{place}.{key}", value[key], role)
    elif isinstance(value, (list, tuple)):
        if all(type(item) in (int, float) for item in value):  # also token ids, which may be thousands
            yield Leaf(place, " ".join(map(_as_text, value)), role)
            return
        for index, item in enumerate(value):
            yield from _leaves(f"{place}[{index}]", item, role)
    else:
        yield Leaf(place, _as_text(value), role)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _turns(column: str, messages: Any, dataset: Dataset, excluded: frozenset[str]) -> Iterator[tuple[str, list[Leaf]]]:
    """Yield role and values of each message; nothing for a value that is no conversation."""
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        return
    names = dataset.message_property_mappings
    role_keys, content_keys = (
        (names.get("role", "role"), "role", "from"),
        (names.get("content", ""), "content", "value"),
    )
    turns = []
    for index, item in enumerate(messages):
        role_key = next((key for key in role_keys if key in item), None)
        if role_key is None or not isinstance(item[role_key], str):
            return
        content_key = next((key for key in content_keys if key in item), "")
        role = dataset.common_role(item[role_key])
        place, speaker = f"{column} {index} {role}", "" if role == "user" else role
        leaves = list(_leaves(place, item.get(content_key), speaker)) or [Leaf(place, "", speaker)]
        for key in sorted(item.keys() - {role_key, content_key}):
            if f"{column}.{key}" not in excluded:
                leaves.extend(_leaves(f"{place}.{key}", item[key], f"{speaker}.{key}"))
        turns.append((role, leaves))
    yield from turns
