"""The key reference, made of the texts under the fields: `python -m tunesmith.config.reference > docs/keys.md`."""

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tunesmith.config.keys import NO_EFFECT, REFUSED
from tunesmith.config.sections import SECTIONS, Dataset, Evaluation, Section, SpecialTokens

BLOCKS: dict[str, type[Section]] = {"datasets": Dataset, "special_tokens": SpecialTokens, "evaluation": Evaluation}
"""Key of a block -> its section."""


def reference() -> str:
    """Return the reference page in Markdown."""
    parts = ["# Every key", "Made by `python -m tunesmith.config.reference`. Any key can be set on the command line."]
    for name, section in SECTIONS.items():
        parts += [f"## {name.capitalize()}", section.__doc__ or "", _table(section)]
    for name, section in BLOCKS.items():
        parts += [f"## Inside `{name}`", section.__doc__ or "", _table(section)]
    parts += ["## Accepted without effect", "Printed as a note when set.", _reasons(NO_EFFECT)]
    parts += ["## Refused", "An error, with this reason.", _reasons(REFUSED)]
    return "\n\n".join(parts) + "\n"


def _table(section: type[BaseModel]) -> str:
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | {_default(field)} | {field.description} |" for key, field in section.model_fields.items()]
    return "\n".join(lines)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None or isinstance(field.default, BaseModel) or field.default in ({}, []):
        return ""
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _reasons(table: dict[str, str]) -> str:
    return "\n".join(["| key | why |", "|---|---|", *(f"| `{key}` | {why} |" for key, why in sorted(table.items()))])


if __name__ == "__main__":
    print(reference(), end="")
