"""From a YAML file and overrides to a checked `Config`. All errors of a file are reported together, with lines."""

import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tunesmith.config import local_paths, overrides, yaml_source
from tunesmith.config.idle import idle_keys
from tunesmith.config.key_status import notes, resolve_keys
from tunesmith.config.keys import CLOUD_KEYS
from tunesmith.config.rules import broken_rules
from tunesmith.config.yaml_source import LONGEST, quotes_advice, shown
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.sections import OWNER, SECTIONS, Config, Section
from tunesmith.sections.locations import KeyLocations, KeyPath, Marks

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
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
"""pydantic's error type -> what the key takes, in words; of a union, all members are listed."""

_REQUIRED: dict[str, dict[str, Any]] = {
    "model": {"base_model": "?"},
    "data": {"datasets": [{"path": "?"}]},
    "training": {"learning_rate": 1.0},
}
"""Section -> stand-ins for invalid keys, so the rules can still check the rest of the file."""

_EXAMPLES = {
    "learning_rate": "; set `learning_rate: 2e-4` for LoRA, 2e-5 for full fine-tuning",
    "base_model": "; set a Hub repository or a folder, such as `base_model: builtin/smollm2-135m-instruct`",
    "datasets": "; add the data to train on, such as `datasets: [{path: train.jsonl}]`",
}
"""Required key -> what to set."""

_PHRASES = {
    "missing": "is missing",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "needs at least {min_length} entry",
}
"""pydantic's error type -> a message."""


def load(file: str, arguments: Sequence[str] = ()) -> Config:
    """Return the checked config of a YAML file, with `--key value` arguments instead of the file's values.

    A file at an `https://` address may name files of this machine only with `--allow-local-paths`.

    Raises:
        ConfigError: names every error, each with file, line and column.
    """
    source = yaml_source.read(file)
    return load_values(source.values, file, overrides.parse(arguments), source.marks, source.notes)


def load_values(
    values: dict[str, Any],
    file: str,
    options: dict[KeyPath, Any],
    marks: Marks | None = None,
    source_notes: Sequence[str] = (),
) -> Config:
    """Return the checked config of plain values, with those in `options` put over them; see `load`."""
    _refuse_cloud_file(values, file)
    is_restricted = yaml_source.is_remote(file) and not options.get(local_paths.ALLOWED)
    options = {path: value for path, value in options.items() if path != local_paths.ALLOWED}
    overrides.apply(values, options)
    locations = KeyLocations(file, marks or {}, options)
    problems: list[str] = []
    values, statuses = resolve_keys({str(key): value for key, value in values.items()}, locations, problems)
    if is_restricted:
        problems += local_paths.refusals(values, locations)
    sections, invalid = _validate_sections(values, locations, problems)
    parts: dict[str, Any] = {"source": file, "values": values, "statuses": tuple(statuses), **sections}
    config = Config.model_construct(**parts, locations=locations)
    for path, text in broken_rules(config):
        if not any(f"`{key}" in text for key in invalid):
            problems.append(f"{locations(*path)}: {text}")
    if problems:
        raise ConfigError("\n".join(map(_one_line, sorted(problems, key=_line))))
    return config.model_copy(update={"notes": (*source_notes, *notes(statuses), *idle_keys(config))})


def _refuse_cloud_file(values: dict[str, Any], file: str) -> None:
    """Raise a ConfigError for a file that says where Axolotl runs, not what it trains."""
    keys = [*values]
    if keys and set(keys) <= CLOUD_KEYS:
        raise ConfigError(
            f"{file} is a cloud file of Axolotl ({', '.join(map(str, keys[:3]))}, ...): it says where to run, not what "
            "to train. Name the training config, and start `tunesmith train` on that machine"
        )


def _validate_sections(
    values: dict[str, Any], locations: KeyLocations, problems: list[str]
) -> tuple[dict[str, Section], set[str]]:
    """Return the sections, without the keys that have a wrong value, and these keys; add to `problems`."""
    sections: dict[str, Section] = {}
    invalid: set[str] = set()
    for name, section in SECTIONS.items():
        section_values = {key: value for key, value in values.items() if OWNER[key] == name}
        try:
            sections[name] = section.model_validate(section_values)
        except ValidationError as error:
            by_key = _by_key(error.errors(include_url=False))
            problems += [_message(path, errors, section, locations) for path, errors in by_key.items()]
            invalid |= {str(path[0]) for path in by_key}
            valid_values = {key: value for key, value in section_values.items() if key not in invalid}
            sections[name] = section.model_validate(_REQUIRED.get(name, {}) | valid_values)
    return sections, invalid


def _line(problem: str) -> tuple[int, int]:
    """The line and column of a problem; one without, such as of an option, comes first."""
    match = re.match(r".*?:(\d+):(\d+): ", problem)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _one_line(problem: str) -> str:
    """Return a problem without line breaks and with long values cut: a file may hold them anywhere."""

    def cut(match: re.Match[str]) -> str:
        return match[0] if len(match[0]) <= 2 * LONGEST else f"{match[0][:LONGEST]}...`"

    return re.sub("`[^`]*`", cut, problem.replace("\n", "\\n"))


def _by_key(errors: Sequence[ErrorDetails]) -> dict[KeyPath, list[ErrorDetails]]:
    """Return pydantic's errors by key: it reports each member of a union, and the one that got furthest counts."""
    errors_by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        path = tuple(part for part in error["loc"] if not _is_union_member(part))
        errors_by_path.setdefault(path, []).append(error)
    return {
        path: errors
        for path, errors in errors_by_path.items()
        if not any(longer_path[: len(path)] == path for longer_path in errors_by_path if longer_path != path)
    }


def _is_union_member(part: str | int) -> bool:
    return isinstance(part, str) and (
        part.removeprefix("constrained-") in {"bool", "str", "int", "float"} or "[" in part
    )


def _message(path: KeyPath, errors: Sequence[ErrorDetails], section: type[Section], locations: KeyLocations) -> str:
    """Return one problem for the errors of one key."""
    error, name = errors[0], ".".join(map(str, path))
    option = (locations.renamed.get(path[0], path[0]), *path[1:])
    if isinstance(locations.options.get(option), bool):
        return f"{locations(*path)}: `{name}` needs a value, found {shown(error['input'])}"
    if error["type"] == "extra_forbidden":
        names = _known_at(section, path)
        return f"{locations(*path)}: unknown key `{path[-1]}` in `{'.'.join(map(str, path[:-1]))}`" + (
            did_you_mean(str(path[-1]), names) or f"; known are {', '.join(names)}"
        )
    value_text = "" if error["type"] in ("missing", "too_short") else f", found {shown(error['input'], quoted=True)}"
    kinds = dict.fromkeys(
        _EXPECTED[item["type"]].format(**item.get("ctx", {})) for item in errors if item["type"] in _EXPECTED
    )
    phrases = [_PHRASES[item["type"]].format(**item.get("ctx", {})) for item in errors if item["type"] in _PHRASES]
    words = [*([f"expects {' or '.join(kinds)}"] if kinds else []), *phrases]
    if not all(item["type"] in (*_EXPECTED, *_PHRASES) for item in errors):
        words, value_text = [error["msg"].removeprefix("Value error, ")], ""
    example = quotes_advice(error["input"]) if [*kinds] == ["text"] else ""
    if error["type"] == "missing":
        example = _EXAMPLES.get(name, "")
    return f"{locations(*path)}: `{name}` {' or '.join(words)}{value_text}{example}"


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
