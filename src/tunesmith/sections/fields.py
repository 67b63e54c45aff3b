"""Markers of a field, for `Annotated[str, FilePath()]`: what a key is, and how it depends on other keys.

What follows from them is read by one walk over the sections: what a config from the web may not do, which keys are
ignored, which keys need or exclude others, and what `explain`, the schema and the page of keys say about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel

SET: Any = ...
"""A value of a condition: the file has the key, whatever its value, so that 0 counts too."""


@dataclass(frozen=True)
class FilePath:
    """A file that is opened, from the working folder or beside the config; a Hub name may be fine too.

    Attributes:
        inline: characters by which a value is known as the content itself, not as a file.
    """

    inline: str = ""


@dataclass(frozen=True)
class ModelPath:
    """A folder of weights, a checkpoint or a tokenizer, or a name on the Hub."""


@dataclass(frozen=True)
class OutputPath:
    """A file or folder that is written, or that lies inside another one."""


@dataclass(frozen=True)
class CodePath:
    """Python code of the user: `file.py:function`, or `file.py` where the key is a `FilePath` too."""


@dataclass(frozen=True)
class RunsCode:
    """A key that lets code of a repository run."""


@dataclass(frozen=True)
class EnvironmentName:
    """The name of an environment variable whose value is sent to a server."""


@dataclass(frozen=True)
class Secret:
    """A value that is not written down."""


PATHS = (FilePath, ModelPath, OutputPath, CodePath, RunsCode, EnvironmentName)
"""What a config from the web may not use for things of this machine."""


class Condition:
    """What a key says about others: any of `keys` has its value. Keys of the same block come first.

    Args:
        values: the values of the key itself for which this counts; without any, whenever it isn't empty.
        reason: what to say in place of the condition (if ignored) or after it (if it is an error).
        keys: key -> a value, a tuple of values, True for any that isn't empty (in a tuple: true itself), or `SET`. A
            text may have `*` in it; a list has a value if one of its entries does.
    """

    verb = ""
    """How the condition is told in the description of a key."""

    def __init__(self, *values: Any, reason: str = "", **keys: Any) -> None:
        self.value = (values if len(values) > 1 else values[0]) if values else True
        self.reason, self.keys = reason, keys


class OnlyFor(Condition):
    """The key is ignored unless the condition holds."""

    verb = "only with"


class IgnoredIf(Condition):
    """The key is ignored if the condition holds."""

    verb = "ignored with"


class Requires(Condition):
    """The key is an error unless the condition holds."""

    verb = "needs"


class Conflicts(Condition):
    """The key is an error if the condition holds."""

    verb = "not with"


EVALUATED = OnlyFor(
    val_set_size=True,
    test_datasets=True,
    reason="there are no rows to evaluate on; `val_set_size: 0.05` takes some from the training data",
)


def has_value(block: BaseModel, key: str, expected: Any) -> bool:
    """Return whether a key of a block has a value, as a `Condition` describes it."""
    value = getattr(block, key)
    if expected is SET:
        return key in block.model_fields_set and value is not None
    if expected is True:
        return bool(value)
    return any(_matches(value, item) for item in (expected if isinstance(expected, tuple) else (expected,)))


def _matches(value: Any, expected: Any) -> bool:
    if isinstance(expected, str):
        items = value if isinstance(value, list) else [value]
        return any(isinstance(item, str) and fnmatchcase(item, expected) for item in items)
    return type(value) is type(expected) and bool(value == expected)


def find_conditions(block: BaseModel, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, BaseModel, Condition]]:
    """Yield the path of each key with a condition, its block and the condition, also inside blocks and their lists."""
    for name, field in type(block).model_fields.items():
        yield from (((*path, name), block, item) for item in field.metadata if isinstance(item, Condition))
        value = getattr(block, name)
        if isinstance(value, BaseModel):
            yield from find_conditions(value, (*path, name))
        for index, entry in enumerate(value if isinstance(value, list) else []):
            if isinstance(entry, BaseModel):
                yield from find_conditions(entry, (*path, name, index))
