"""What there is to say about each key, made of the fields of the sections and the texts under them.

`python -m tunesmith.config.reference > docs/keys.md` writes the reference page.
"""

from collections.abc import Iterator
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tunesmith.config.fates import reasons
from tunesmith.config.keys import RENAMED
from tunesmith.config.yaml_source import flow
from tunesmith.sections import SECTIONS

_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    dict: "mapping",
    list: "list",
    Any: "any value",
}
_LIMITS = [("ge", "at least {:g}"), ("gt", "above {:g}"), ("le", "at most {:g}"), ("lt", "below {:g}")]


class Key(NamedTuple):
    """A supported key: its name (`datasets[].path` inside the entries of a list), its section and its field."""

    name: str
    section: str
    field: FieldInfo


@cache
def supported() -> dict[str, Key]:
    """Return every supported key by name, also those inside blocks."""
    return {key.name: key for name, model in SECTIONS.items() for key in _keys(model, name, "")}


def _keys(model: type[BaseModel], section: str, prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        yield Key(prefix + name, section, field)
        for suffix, block in blocks(field.annotation):
            yield from _keys(block, section, f"{prefix}{name}{suffix}.")


def blocks(annotation: Any, suffix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the sections inside a type; `[]` stands for entries of a list."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield suffix, annotation
    for item in get_args(annotation):
        yield from blocks(item, suffix + "[]" if get_origin(annotation) is list else suffix)


def kind(annotation: Any, limits: Any = ()) -> str:
    """Return in words what a key takes: `whole number, at least 1`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(inner[0], [limit for item in inner[1:] if isinstance(item, FieldInfo) for limit in item.metadata])
    if origin is Literal:
        return ("one of " if len(inner) > 1 else "") + ", ".join(map(str, inner))
    if origin is list:
        return f"list ({kind(inner[0])})"
    if origin is dict or origin is None:
        ranges = [
            text.format(getattr(limit, name)) for limit in limits for name, text in _LIMITS if hasattr(limit, name)
        ]
        return ", ".join([_KINDS.get(origin or annotation, "block"), *ranges])
    return ", or ".join(dict.fromkeys(kind(item, limits) for item in inner if item is not NoneType))


def default(field: FieldInfo) -> str:
    """Return the default as YAML has it, `required`, or nothing."""
    if field.is_required():
        return "required"
    if field.default is None or isinstance(field.default, BaseModel) or field.default in ({}, []):
        return ""
    return flow(field.default)


@cache
def old_names() -> dict[str, list[str]]:
    """Return for each key the old names that stand for it."""
    found: dict[str, list[str]] = {}
    for old, stands_for in RENAMED.items():
        for name in stands_for(True):
            found.setdefault(name, []).append(old)
    return found


def reference() -> str:
    """Return the reference page in Markdown."""
    parts = ["# Every key", "Made by `python -m tunesmith.config.reference`. Any key can be set on the command line."]
    inside: dict[type[BaseModel], list[str]] = {}
    for name, section in SECTIONS.items():
        parts += [f"## {name.capitalize()}", section.__doc__ or "", _table(section)]
    for key in supported().values():
        for suffix, block in blocks(key.field.annotation):
            inside.setdefault(block, []).append(f"`{key.name}{suffix}`")
    for block, names in inside.items():
        parts += [f"## Inside {', '.join(names)}", block.__doc__ or "", _table(block)]
    renamed = [f"| `{old}` | `{name}` |" for name, olds in sorted(old_names().items()) for old in olds]
    parts += ["## Old names", "\n".join(["| old | is taken as |", "|---|---|", *sorted(renamed)])]
    parts += ["## Accepted without effect", "Printed as a note when set.", _reasons("idle")]
    parts += ["## Refused", "An error, with this reason, unless the value is off.", _reasons("refused")]
    return "\n\n".join(parts) + "\n"


def _table(section: type[BaseModel]) -> str:
    rows = []
    for key, field in section.model_fields.items():
        value = default(field)
        rows.append(f"| `{key}` | {f'`{value}`' if value not in ('', 'required') else value} | {field.description} |")
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _reasons(fate: str) -> str:
    rows = [f"| `{key}` | {why.text} |" for key, why in sorted(reasons().items()) if why.fate == fate]
    return "\n".join(["| key | why |", "|---|---|", *rows])


if __name__ == "__main__":
    print(reference(), end="")
