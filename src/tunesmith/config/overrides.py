"""Command line overrides: `--learning-rate 1e-4`, `--lora_r=16`, `--no-sample-packing`, `--datasets.0.path x.jsonl`."""

from collections.abc import Sequence
from typing import Any

import yaml

from tunesmith.config.yaml_source import Loader
from tunesmith.errors import ConfigError
from tunesmith.sections.locations import KeyPath


def parse(arguments: Sequence[str]) -> dict[KeyPath, Any]:
    """Return the value for each key that the arguments name. Values are read as YAML.

    Raises:
        ConfigError: an argument is no `--key`, or its value is no YAML.
    """
    values_by_path: dict[KeyPath, Any] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        if not argument.startswith("--") or argument == "--":
            raise ConfigError(f"`{argument}`: expected --key value; see --help")
        name, equals, text = argument[2:].partition("=")
        value: Any
        if equals:
            value = _value(name, text)
        elif remaining and not remaining[0].startswith("--"):
            value = _value(name, remaining.pop(0))
        else:
            value = not name.startswith("no-")
            name = name.removeprefix("no-")
        values_by_path[key_path(name)] = value
    return values_by_path


def key_path(name: str) -> KeyPath:
    """Return the path that a key with dots names: `datasets.0.path` is ("datasets", 0, "path")."""
    return tuple(int(part) if part.isdigit() else part.replace("-", "_") for part in name.split("."))


def _value(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError:
        raise ConfigError(f"--{name}: `{text}` is no YAML value; put it in quotes") from None


def apply(values: dict[str, Any], overrides: dict[KeyPath, Any]) -> None:
    """Set each override in `values`, in place.

    Raises:
        ConfigError: a path leads through something that is no mapping or list, or past the end of a list.
    """
    for path, value in overrides.items():
        target: Any = values
        for part in path[:-1]:
            if isinstance(target, dict):
                target = target.setdefault(part, {})
            elif isinstance(target, list) and isinstance(part, int) and part < len(target):
                target = target[part]
            else:
                raise _no_such_place(path)
        last = path[-1]
        if isinstance(target, list) and isinstance(last, int) and last < len(target):
            target[last] = value
        elif isinstance(target, dict):
            target[last] = value
        else:
            raise _no_such_place(path)


def _no_such_place(path: KeyPath) -> ConfigError:
    return ConfigError(f"--{'.'.join(map(str, path))}: the file has no such place")
