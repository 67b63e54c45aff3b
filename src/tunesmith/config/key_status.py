"""The status of each key of a file: supported, renamed, ignored, refused or unknown. Each is reported.

Supported keys are the fields of the sections, renamed ones are in `keys.py`. Ignored and refused ones are in
`key_status.tsv`, each with its reason.
"""

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from tunesmith.config import keys
from tunesmith.config.yaml_source import shown
from tunesmith.errors import did_you_mean
from tunesmith.sections import OWNER
from tunesmith.sections.locations import KeyLocations, KeyPath, KeyStatus


class Reason(NamedTuple):
    """A line of `key_status.tsv`: why a key is not supported, and with which value it would do nothing anyway."""

    status: str
    off: str
    text: str


@cache
def reasons() -> dict[str, Reason]:
    """Return why keys are ignored (`ignored`) or `refused`; those inside entries of a list as `datasets[].key`."""
    lines = files("tunesmith.config").joinpath("key_status.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {key: Reason(*columns) for key, *columns in (line.split("\t") for line in lines)}


def resolve_keys(
    values: dict[str, Any], locations: KeyLocations, problems: list[str]
) -> tuple[dict[str, Any], list[KeyStatus]]:
    """Return the values of supported keys, and the status of every key; what is refused or unknown is a problem."""
    supported_values: dict[str, Any] = {}
    statuses: list[KeyStatus] = []
    for key, value in values.items():
        location = locations(key)
        if value is None and (key in OWNER or key in keys.RENAMED or key in reasons()):
            statuses.append(KeyStatus(key, location, "empty", "has no value"))
        elif key in keys.OTHER_FORMS and (other := keys.OTHER_FORMS[key](value)):
            _take_as(key, other, values, supported_values, locations, problems, statuses)
        elif key in OWNER:
            supported_values[key] = _resolve_inside(value, (key,), locations, problems, statuses)
            statuses.append(KeyStatus(key, location, "supported", ""))
        elif key in keys.RENAMED:
            _rename(key, values, supported_values, locations, problems, statuses)
        elif key in reasons():
            _apply_reason(reasons()[key], value, (key,), locations, problems, statuses)
        else:
            others = [name for name in (*keys.RENAMED, *reasons()) if "." not in name]
            nickname = keys.NICKNAMES.get(key.lower().replace("-", "_"))
            hint = (
                f"; did you mean `{nickname}`?" if nickname else did_you_mean(key, OWNER) or did_you_mean(key, others)
            )
            problems.append(f"{location}: unknown key `{key}`{hint}")
    return supported_values, statuses


def _rename(
    key: str,
    values: dict[str, Any],
    supported_values: dict[str, Any],
    locations: KeyLocations,
    problems: list[str],
    statuses: list[KeyStatus],
) -> None:
    """Put the keys that an old one stands for into `supported_values`."""
    value, location = values[key], locations(key)
    if key in keys.ATTENTION_FLAGS and not isinstance(value, bool):
        problems.append(f"{location}: `{key}` expects true or false, found {shown(value, quoted=True)}")
        return
    new_values = keys.RENAMED[key](value)
    if not new_values:
        statuses.append(KeyStatus(key, location, "off", f"is {shown(value)}"))
    _take_as(key, new_values, values, supported_values, locations, problems, statuses)


def _take_as(
    key: str,
    new_values: dict[str, Any],
    values: dict[str, Any],
    supported_values: dict[str, Any],
    locations: KeyLocations,
    problems: list[str],
    statuses: list[KeyStatus],
) -> None:
    """Put the keys and values in `new_values`, for which a key of the file stands, into `supported_values`."""
    value, location = values[key], locations(key)
    for name, item in new_values.items():
        present_value = supported_values.get(name, values.get(name))
        if present_value not in (None, True, "auto", item):  # `bfloat16` says more exactly what `bf16: true` says
            problems.append(f"{location}: `{key}: {shown(value)}` and `{name}: {shown(present_value)}`: use only one")
        supported_values[name] = _resolve_inside(item, (name,), locations, problems, statuses)
        locations.renamed[name] = key
        statuses.append(KeyStatus(key, location, "renamed", f"is taken as `{name}: {shown(item)}`"))


def _apply_reason(
    reason: Reason, value: Any, path: KeyPath, locations: KeyLocations, problems: list[str], statuses: list[KeyStatus]
) -> None:
    """Say the status of a key that is not supported."""
    name = ".".join(map(str, path))
    if value in (None, False, "", [], {}) or str(value).lower() == reason.off.lower() != "":
        statuses.append(KeyStatus(name, locations(*path), "off", f"is {shown(value, quoted=True)}: nothing to do"))
    elif reason.status == "ignored":
        statuses.append(KeyStatus(name, locations(*path), "ignored", reason.text))
    else:
        problems.append(f"{locations(*path)}: `{name}`: {reason.text}")


def _resolve_inside(
    value: Any, path: KeyPath, locations: KeyLocations, problems: list[str], statuses: list[KeyStatus]
) -> Any:
    """Return the value of a block without what is empty or not supported in it."""
    if isinstance(value, list):
        return [
            _resolve_inside(item, (*path, index), locations, problems, statuses) for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    supported_values = {}
    for key, item in value.items():
        inner_path = (*path, str(key))
        if item is None:
            statuses.append(KeyStatus(".".join(map(str, inner_path)), locations(*inner_path), "empty", "has no value"))
        elif reason := reasons().get(_pattern(inner_path)):
            _apply_reason(reason, item, inner_path, locations, problems, statuses)
        else:
            supported_values[key] = _resolve_inside(item, inner_path, locations, problems, statuses)
    return supported_values


def _pattern(path: KeyPath) -> str:
    """Return the name of a nested key in `key_status.tsv`: ("test_datasets", 0, "length") is datasets[].length."""
    prefix = "datasets" if path[0] == "test_datasets" else str(path[0])
    return prefix + "".join("[]" if isinstance(part, int) else f".{part}" for part in path[1:])


def notes(statuses: list[KeyStatus]) -> list[str]:
    """Return what to print about the keys of a file: a line for each renamed one, and one for each reason."""
    by_reason: dict[str, list[str]] = {}
    for item in statuses:
        if item.status == "ignored":
            by_reason.setdefault(item.text, []).append(f"`{item.key}`")
    return [
        *(f"`{item.key}` {item.text}" for item in statuses if item.status == "renamed"),
        *(f"{', '.join(names)}: ignored: {text}" for text, names in by_reason.items()),
    ]
