"""Reads a YAML file, an address or standard input into plain values, and remembers the line of every key."""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import ConfigError

KeyPath = tuple[str | int, ...]
Marks = dict[KeyPath, tuple[int, int]]
"""Path of a key, such as ("datasets", 0, "path") -> its line and column, counted from 1."""


MOST_KEYS = 100_000


class Loader(yaml.SafeLoader):
    """Plain values only, and `1e-4` is a number, as in YAML 1.2; YAML 1.1 reads it as text."""


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads: quotes the text `1e-4`, and keeps a text of several lines in one."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands twice twice."""
        return True


for _class in (Loader, Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, '"' if "\n" in text else None)
)


def flow(value: Any) -> str:
    """Return a value as one line of YAML."""
    text = yaml.dump(value, Dumper=Dumper, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False)
    return str(text).removesuffix("\n").removesuffix("\n...")


def is_remote(file: str) -> bool:
    """Return whether a name is an address, not a file here."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", file) is not None


def read(file: str) -> tuple[dict[str, Any], Marks]:
    """Return the values of a YAML file (`-` is standard input, or an `https://` address) and the place of each key.

    Raises:
        ConfigError: the file is missing, a folder, empty, no UTF-8, no YAML, no mapping, or repeats a key.
    """
    marks: Marks = {}
    faults: list[str] = []
    try:
        loader = Loader(_text(file))
        node = loader.get_single_node()
        _collect(node, (), marks, faults)
        values = loader.construct_document(node) if node else None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply, or an alias (`*name`) holds itself or too much") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        problem = error.problem or str(error)
        if problem.startswith("but "):
            problem = f"{error.context}, {problem}"
        if "'\\t'" in problem:
            problem = "a tab; YAML is indented with spaces"
        raise ConfigError(f"{place}: {problem}") from None
    except yaml.reader.ReaderError as error:
        character = chr(error.character)
        raise ConfigError(f"{file}: character {character!r} at position {error.position} is not YAML") from None
    if values is None:
        raise ConfigError(f"{file} is empty; start from a file in examples/")
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: expected `key: value` lines, found {type(values).__name__}")
    if faults:
        raise ConfigError("\n".join(f"{file}:{fault}" for fault in faults))
    return values, marks


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    if is_remote(file):
        from tunesmith.config.remote import fetch  # it takes a tenth of a second to import

        return fetch(file)
    path = Path(file)
    if path.is_dir():
        found = sorted(item.name for item in path.iterdir() if item.suffix in {".yml", ".yaml"})
        hint = f"name one of its files: {', '.join(found)}" if found else "it holds no .yml file"
        raise ConfigError(f"{file} is a folder; {hint}")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _collect(node: yaml.Node | None, path: KeyPath, marks: Marks, faults: list[str]) -> None:
    """Fill `marks` for every key below `node`; a key that stands twice is a fault."""
    if len(marks) > MOST_KEYS:  # aliases of aliases of aliases
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            place = (key.start_mark.line + 1, key.start_mark.column + 1)
            if inner in marks:
                faults.append(f"{place[0]}:{place[1]}: `{key.value}` stands twice; first on line {marks[inner][0]}")
            marks[inner] = place
            _collect(value, inner, marks, faults)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            marks[(*path, index)] = (value.start_mark.line + 1, value.start_mark.column + 1)
            _collect(value, (*path, index), marks, faults)
