"""From a YAML file and overrides to a checked `Config`. All faults of a file are reported together, with lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tunesmith.config import keys, overrides, yaml_source
from tunesmith.config.rules import broken_rules, remarks
from tunesmith.config.sections import OWNER, SECTIONS, Config, Section
from tunesmith.config.yaml_source import KeyPath, Marks
from tunesmith.errors import ConfigError, did_you_mean

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "literal_error": "{expected}",
}
"""pydantic's error type -> what the key takes, in our words; those of all members of a union are listed."""

_PHRASES = {
    "missing": "is missing",
    "greater_than": "must be greater than {gt:g}, found {input!r}",
    "greater_than_equal": "must be at least {ge:g}, found {input!r}",
    "less_than_equal": "must be at most {le:g}, found {input!r}",
    "too_short": "needs at least {min_length} entry",
}
"""pydantic's error type -> our words."""


def load(file: str, arguments: Sequence[str] = ()) -> Config:
    """Return the checked config of a YAML file, with `--key value` arguments in place of the file's values.

    Raises:
        ConfigError: names every fault that was found, each with file, line and column.
    """
    values, marks = yaml_source.read(file)
    return load_values(values, file, overrides.parse(arguments), marks)


def load_values(values: dict[str, Any], file: str, given: dict[KeyPath, Any], marks: Marks | None = None) -> Config:
    """Return the checked config of plain values, with those in `given` put over them; see `load`."""
    overrides.apply(values, given)
    where = _Places(file, marks or {}, given)
    faults: list[str] = []
    notes: list[str] = []
    values = _fates(_without_empty(values), where, faults, notes)
    sections: dict[str, Section] = {}
    for name, section in SECTIONS.items():
        own = {key: value for key, value in values.items() if OWNER[key] == name}
        try:
            sections[name] = section.model_validate(own)
        except ValidationError as error:
            by_key = _by_key(error.errors(include_url=False))
            faults += [_fault(path, found, section, where) for path, found in by_key.items()]
    if len(sections) == len(SECTIONS):
        parts: dict[str, Any] = {"source": file, "values": values, "notes": tuple(notes), **sections}
        config = Config.model_construct(**parts)
        faults += [f"{where(*key)}: {text}" for key, text in broken_rules(config)]
        config = config.model_copy(update={"notes": (*notes, *remarks(config))})
    if faults:
        raise ConfigError("\n".join(faults))
    return config


def resolve_file(path: str, source: str) -> str:
    """Return `path` as it stands if it exists from the working folder, else as seen from the folder of `source`."""
    beside = Path(source).parent / path
    return str(beside) if not Path(path).exists() and beside.exists() else path


class _Places:
    """Where a key stands: `file:line:column`, or the option that set it."""

    def __init__(self, file: str, marks: Marks, given: dict[KeyPath, Any]) -> None:
        self.file, self.marks, self.given = file, marks, given
        self.renamed: dict[str | int, str] = {}
        """New name of a key -> its name in the file."""

    def __call__(self, *path: str | int) -> str:
        path = (self.renamed.get(path[0], path[0]), *path[1:])
        while path:
            if any(path[: len(option)] == option for option in self.given):
                return "--" + ".".join(map(str, path))
            if path in self.marks:
                return "{}:{}:{}".format(self.file, *self.marks[path])
            path = path[:-1]
        return self.file


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Drop keys without a value, as Axolotl's files are full of them, at every level."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items() if item is not None}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return {str(key): clean(value) for key, value in values.items()}


def _fates(values: dict[str, Any], where: _Places, faults: list[str], notes: list[str]) -> dict[str, Any]:
    """Return the supported keys with a value; say what happens to every other one."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if key in OWNER:
            if value is not None:
                kept[key] = value
        elif key in keys.ATTENTION_FLAGS and not isinstance(value, bool | None):
            faults.append(f"{where(key)}: `{key}` expects true or false, found {value!r}")
        elif key in keys.RENAMED:
            for name, item in ({} if value is None else keys.RENAMED[key](value)).items():
                if (values | kept).get(name, item) != item:
                    faults.append(f"{where(key)}: `{key}: {value}` and `{name}: {(values | kept)[name]}`: keep one")
                kept[name] = item
                where.renamed[name] = key
                notes.append(f"`{key}` is taken as `{name}: {item}`")
        elif key == "plugins":
            _plugins(value, where, faults, notes)
        elif key in keys.NO_EFFECT:
            if value not in (None, False, ""):
                notes.append(f"`{key}` has no effect: {keys.NO_EFFECT[key]}")
        elif key not in keys.axolotl_keys():
            others = [*keys.RENAMED, *keys.NO_EFFECT, *keys.axolotl_keys()]
            hint = did_you_mean(key, OWNER) or did_you_mean(key, others)
            faults.append(f"{where(key)}: unknown key `{key}`{hint}")
        elif value not in (None, False, [], {}):
            reason = keys.REFUSED.get(key, "a key of Axolotl that is not supported yet; remove it to go on without it")
            faults.append(f"{where(key)}: `{key}`: {reason}")
    return kept


def _plugins(names: Any, where: _Places, faults: list[str], notes: list[str]) -> None:
    if not isinstance(names, list | None):
        faults.append(f"{where('plugins')}: `plugins` expects a list, found {names!r}")
        return
    for index, name in enumerate(names or []):
        if str(name).rsplit(".", 1)[-1] in keys.NO_EFFECT_PLUGINS:
            notes.append(f"plugin `{name}` has no effect: {keys.NO_EFFECT['liger_rope']}")
        else:
            faults.append(f"{where('plugins', index)}: plugin `{name}` is not supported; remove it")


def _by_key(errors: Sequence[Any]) -> dict[KeyPath, list[Any]]:
    """Return pydantic's errors by key: it reports each member of a union, and the one that got furthest counts."""
    found: dict[KeyPath, list[Any]] = {}
    for error in errors:
        path = tuple(part for part in error["loc"] if not _is_union_member(part))
        found.setdefault(path, []).append(error)
    return {
        path: errors
        for path, errors in found.items()
        if not any(other[: len(path)] == path for other in found if other != path)
    }


def _is_union_member(part: str | int) -> bool:
    return isinstance(part, str) and (part in {"bool", "str", "int", "float"} or "[" in part)


def _fault(path: KeyPath, errors: Sequence[Any], section: type[Section], where: _Places) -> str:
    """Return one fault for the errors of one key."""
    error = errors[0]
    name = ".".join(map(str, path))
    if error["type"] == "extra_forbidden":
        known = _known_at(section, path)
        return f"{where(*path)}: unknown key `{path[-1]}` in `{'.'.join(map(str, path[:-1]))}`" + (
            did_you_mean(str(path[-1]), known) or f"; known are {', '.join(known)}"
        )
    if all(item["type"] in _EXPECTED for item in errors):
        expected = dict.fromkeys(_EXPECTED[item["type"]].format(**item.get("ctx", {})) for item in errors)
        return f"{where(*path)}: `{name}` expects {' or '.join(expected)}, found {error['input']!r}"
    if error["type"] in _PHRASES:
        phrase = _PHRASES[error["type"]].format(input=error["input"], **error.get("ctx", {}))
        return f"{where(*path)}: `{name}` {phrase}"
    return f"{where(*path)}: `{name}` {error['msg'].removeprefix('Value error, ')}"


def _known_at(section: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the names that are known in the block that holds the last part of `path`."""
    for part in path[:-1]:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = next(
                item
                for item in (annotation, *get_args(annotation))
                if isinstance(item, type) and issubclass(item, BaseModel)
            )
    return list(section.model_fields)
