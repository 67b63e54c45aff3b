"""Every supported key, also inside blocks, with its field: the one walk over the sections."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tunesmith.sections import SECTIONS
from tunesmith.sections.locations import KeyPath


class Key(NamedTuple):
    """A supported key: its name (`datasets[].path` inside a list), its section, its field and its block."""

    name: str
    section: str
    field: FieldInfo
    block: type[BaseModel]


@cache
def supported() -> dict[str, Key]:
    """Return every supported key by name, also those inside blocks."""
    return {key.name: key for name, model in SECTIONS.items() for key in _keys(model, name, "")}


def _keys(model: type[BaseModel], section: str, prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        yield Key(prefix + name, section, field, model)
        for suffix, block in blocks(field.annotation):
            yield from _keys(block, section, f"{prefix}{name}{suffix}.")


def blocks(annotation: Any, suffix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the sections inside a type; `[]` stands for entries of a list."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield suffix, annotation
    for item in get_args(annotation):
        yield from blocks(item, suffix + "[]" if get_origin(annotation) is list else suffix)


def find_field(path: KeyPath) -> FieldInfo | None:
    """Return the field of a key, or of the mapping or list around it: ("datasets", 0, "path") is datasets[].path."""
    while path:
        name = "".join("[]" if isinstance(part, int) else f".{part}" for part in path)[1:]
        if name in supported():
            return supported()[name].field
        path = path[:-1]
    return None
