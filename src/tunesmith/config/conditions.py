"""What the markers of the fields say about a config: keys that are ignored, that need others, or that exclude them."""

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tunesmith.config.problem import Problem
from tunesmith.config.yaml_source import shown
from tunesmith.sections import OWNER, SECTIONS, Config
from tunesmith.sections.fields import (
    SET,
    Condition,
    Conflicts,
    IgnoredIf,
    OnlyFor,
    Requires,
    find_conditions,
    has_value,
)
from tunesmith.sections.locations import KeyPath


def ignored_by_markers(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path of each key that is ignored in this run if it is set, and the reason."""
    for path, block, item in _conditions(config):
        if isinstance(item, OnlyFor | IgnoredIf) and isinstance(item, IgnoredIf) == bool(_met(config, block, item)):
            yield path, item.reason or _reason(item, type(block))


def problems_by_markers(config: Config) -> Iterator[Problem]:
    """Yield the keys that lack a key which they need, or that exclude each other."""
    for path, block, item in _conditions(config):
        key = str(path[-1])
        if key not in block.model_fields_set or not has_value(block, key, item.value):
            continue
        met_keys = _met(config, block, item)
        hint = f"; {item.reason}" if item.reason else ""
        if isinstance(item, Requires) and not met_keys:
            needed_keys = _alternatives(item, type(block)) + _instead(config, block, item)
            yield path, f"{key_and_value(block, key)} needs {needed_keys}{hint}"
        for other_key in met_keys if isinstance(item, Conflicts) else ():
            keys_and_values = (
                f"{key_and_value(block, key)} and {key_and_value(_holder(config, block, other_key), other_key)}"
            )
            yield path, f"{keys_and_values}: use only one{hint}"


def describe_conditions(field: FieldInfo, block: type[BaseModel]) -> str:
    """Return a short sentence for each condition of a field, to follow its description."""
    sentences = []
    for item in field.metadata:
        if isinstance(item, Condition):
            text = f"{item.verb} {_alternatives(item, block)}."
            if item.value is True or item.value is SET:
                sentences.append(text[0].upper() + text[1:])
            else:
                values = " or ".join(f"`{value}`" for value in _values(item.value))
                sentences.append(f"{values} {text}")
    return " ".join(sentences)


def key_and_value(block: BaseModel, key: str) -> str:
    """Return a key with its value as YAML; without, for blocks and lists of them."""
    value = getattr(block, key)
    has_blocks = any(isinstance(item, BaseModel) for item in (value if isinstance(value, list) else [value]))
    if has_blocks:
        return f"`{key}`"
    return f"`{key}: {value if isinstance(value, str) else shown(value)}`"


def _conditions(config: Config) -> Iterator[tuple[KeyPath, BaseModel, Condition]]:
    for name in SECTIONS:
        yield from find_conditions(getattr(config, name))


def _met(config: Config, block: BaseModel, item: Condition) -> list[str]:
    """Return the keys of a condition that have its values."""
    return [key for key, value in item.keys.items() if has_value(_holder(config, block, key), key, value)]


def _holder(config: Config, block: BaseModel, key: str) -> BaseModel:
    """Return what has a key: the block of the marked key, or else a section."""
    if key in type(block).model_fields:
        return block
    section: BaseModel = getattr(config, OWNER[key])
    return section


def _reason(item: Condition, block: type[BaseModel]) -> str:
    """Return why a key is ignored: `only with ...`, or the condition that is met."""
    if isinstance(item, OnlyFor):
        return f"{item.verb} {_alternatives(item, block)}"
    return _alternatives(item, block) + (" is set" if True in item.keys.values() else "")


def _alternatives(item: Condition, block: type[BaseModel]) -> str:
    """Return the keys of a condition with their values: `a: true` or `b`."""
    names: list[str] = []
    for key, value in item.keys.items():
        holder = block if key in block.model_fields else SECTIONS[OWNER[key]]
        if value is SET or (value is True and holder.model_fields[key].annotation is not bool):
            names.append(f"`{key}`")
        else:
            names += [f"`{key}: {text}`" for text in _values(value)]
    *names_before, last = names
    return f"{', '.join(names_before)} or {last}" if names_before else last


def _values(value: object) -> list[str]:
    items = value if isinstance(value, tuple) else (value,)
    texts = [item if isinstance(item, str) else shown(item) for item in items if item is not None]
    return [text.lstrip("*").replace("*", "...") for text in texts]


def _instead(config: Config, block: BaseModel, item: Condition) -> str:
    """Return the value that the one needed key has now, if it has one."""
    [key, *more] = item.keys
    holder = _holder(config, block, key)
    return "" if more or not getattr(holder, key) else f", not {key_and_value(holder, key)}"
