"""What there is to say about each key, made of the fields of the sections and the texts under them.

`python -m tunesmith.config.reference > docs/keys.md` writes the reference page.
"""

from collections.abc import Sequence
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tunesmith.config.conditions import describe_conditions
from tunesmith.config.key_status import reasons
from tunesmith.config.key_table import blocks, supported
from tunesmith.config.keys import RENAMED
from tunesmith.config.yaml_source import flow
from tunesmith.objectives import OBJECTIVES
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


def kind(annotation: Any, limits: Sequence[object] = ()) -> str:
    """Return in words what a key takes: `whole number, at least 1`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind(
            arguments[0], [limit for item in arguments[1:] if isinstance(item, FieldInfo) for limit in item.metadata]
        )
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    if origin is list:
        return f"list ({kind(arguments[0])})"
    if origin is dict or origin is None:
        return ", ".join([_KINDS.get(origin or annotation, "block"), *_ranges(limits)])
    return ", or ".join(dict.fromkeys(kind(item, limits) for item in arguments if item is not NoneType))


def _ranges(limits: Sequence[object]) -> list[str]:
    """Return in words what a number must be: `at least 1`."""
    return [text.format(getattr(limit, name)) for limit in limits for name, text in _LIMITS if hasattr(limit, name)]


CHOICES = {"rl": tuple(OBJECTIVES)}
"""Key of the top level -> its values, where they are the names in a table of records."""


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
    names_by_key: dict[str, list[str]] = {}
    for old_name, stands_for in RENAMED.items():
        for name in stands_for(True):
            names_by_key.setdefault(name, []).append(old_name)
    return names_by_key


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
    rows = [f"| `{old_name}` | `{name}` |" for name, olds in sorted(old_names().items()) for old_name in olds]
    parts += ["## Old names", "\n".join(["| old | is taken as |", "|---|---|", *sorted(rows)])]
    parts += ["## Accepted and ignored", "Printed as a note when set.", _reasons("ignored")]
    parts += ["## Refused", "An error, with this reason, unless the value is off.", _reasons("refused")]
    return "\n\n".join(parts) + "\n"


def _table(section: type[BaseModel]) -> str:
    rows = []
    for key, field in section.model_fields.items():
        value, notes = default(field), describe_conditions(field, section)
        default_text = f"`{value}`" if value not in ("", "required") else value
        rows.append(f"| `{key}` | {default_text} | {f'{field.description} {notes}'.strip()} |")
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _reasons(status: str) -> str:
    rows = [f"| `{key}` | {reason.text} |" for key, reason in sorted(reasons().items()) if reason.status == status]
    return "\n".join(["| key | why |", "|---|---|", *rows])


if __name__ == "__main__":
    print(reference(), end="")
