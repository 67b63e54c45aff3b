"""Reads a YAML file, URL or standard input into plain values, with the line of every key."""

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.scanner import ScannerError

from tunesmith.errors import ConfigError
from tunesmith.sections.locations import KeyPath, Marks

MOST_KEYS = 100_000
LONGEST = 80
"""Characters of a value that a message shows."""

_FAULTS: tuple[tuple[str, str, str], ...] = (
    (r"could not find expected ':'", "from", "a key needs `: ` after it"),
    (r"'\\t'", "at", "a tab; YAML is indented with spaces"),
    (r"a quoted scalar.*end of stream", "from", "the quote is not closed"),
    (r"a flow \w+.*but got", "from", "the bracket is not closed, or a comma is missing"),
    (r"but found '([\]}])'", "at", r"`\1` has no opening bracket"),
    (r"'(.)' that cannot start any token", "at", r"a text that starts with `\1` needs quotes"),
    (r"scanning an (?:alias|anchor)", "from", "a text that starts with `*` or `&` needs quotes"),
    (r"unhashable key", "from", "a text that starts with `{` needs quotes"),
    (r"scanning a block scalar", "from", "a text that starts with `|` or `>` needs quotes"),
    (r"constructor for the tag '!\w", "at", "a text that starts with `!` needs quotes"),
    (r"but found '<block \w+ start>'", "at", "indented differently from the line above"),
    (r"but found '<scalar>'", "at", "text after the end of the value; put all of it in quotes"),
)
"""Message of PyYAML -> location: start of the value (`from`) or end of parsing (`at`); message."""


class Loader(yaml.SafeLoader):
    """Plain values only, and `1e-4` is a number, as in YAML 1.2; YAML 1.1 reads it as text."""


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads: quotes the text `1e-4`, and keeps a text of several lines in one."""

    def ignore_aliases(self, data: object) -> bool:
        """Write a repeated value again, without an alias."""
        return True


for _class in (Loader, Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, '"' if "\n" in text else None)
)
Dumper.add_representer(
    float,
    lambda dumper, number: (
        dumper.represent_scalar("tag:yaml.org,2002:float", repr(number))
        if "e" in repr(number)
        else yaml.SafeDumper.represent_float(dumper, number)
    ),
)


def flow(value: object) -> str:
    """Return a value as one line of YAML."""
    text = yaml.dump(value, Dumper=Dumper, default_flow_style=True, width=10**9, allow_unicode=True, sort_keys=False)
    return str(text).removesuffix("\n").removesuffix("\n...")


def shown(value: object, *, quoted: bool = False) -> str:
    """Return a value for a message: as YAML, cut if it is long; a text in quotes if it is to stand by itself."""
    text = repr(value) if quoted and isinstance(value, str) else flow(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def quotes_advice(value: Any) -> str:
    """Return what to add to a message about a list or mapping where a text is expected."""
    bracket = "[" if isinstance(value, list) else "{" if isinstance(value, dict) else ""
    return f"; a text that starts with `{bracket}` needs quotes" if bracket else ""


def is_remote(file: str) -> bool:
    """Return whether a name is an address, not a file here."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", file) is not None


class Source(NamedTuple):
    """A YAML file: its values, the location of each key, and notes about keys that it repeats."""

    values: dict[str, Any]
    marks: Marks
    notes: list[str]


def read(file: str) -> Source:
    """Return a YAML file (`-` is standard input, or an `https://` address) as plain values.

    A key may be repeated with the same value or with none: the other one counts, and a note says so.

    Raises:
        ConfigError: the file is missing, a folder, empty, no UTF-8, no YAML, no mapping, or repeats a key with another
            value.
    """
    marks: Marks = {}
    notes: list[str] = []
    faults: list[str] = []
    text = _text(file)
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        _collect(node, (), marks, notes, faults)
        values = loader.construct_document(node) if node else None
    except RecursionError:
        raise ConfigError(
            f"{file}: nested too deeply, or an alias (`*name`) contains itself or too many values"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{file}:{_bracket_fault(error, text) or _syntax_fault(error, text.splitlines())}") from None
    except yaml.reader.ReaderError as error:
        character = chr(error.character)
        raise ConfigError(f"{file}: character {character!r} at position {error.position} is not YAML") from None
    if values is None:
        raise ConfigError(f"{file} is empty; start from a file in examples/")
    if not isinstance(values, dict):
        raise ConfigError(
            f"{file}: expected `key: value` lines, found {'a list' if isinstance(values, list) else 'text'}"
        )
    if faults:
        raise ConfigError("\n".join(f"{file}:{fault}" for fault in faults))
    return Source(values, marks, [f"{file}:{line}" for line in notes])


def _syntax_fault(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """Return line, column and what is wrong there, in words for users who do not know YAML."""
    at = error.problem_mark or error.context_mark
    assert at is not None
    line, column, problem = at.line, at.column, error.problem or str(error)
    if problem.startswith("mapping values"):
        before = lines[line - 1] if line else ""
        if ": " in lines[line][:column]:
            problem = "a second `: ` in one line; put the value in quotes"
        elif re.match(r"\s*[\w-]+:\S", before):
            line, column, problem = line - 1, len(before) - len(before.lstrip()), "a key needs `: ` after it"
        else:
            column, problem = len(lines[line]) - len(lines[line].lstrip()), "indented differently from the line above"
    for pattern, anchor, words in _FAULTS:
        if match := re.search(pattern, f"{error.context}: {problem}"):
            mark = error.context_mark if anchor == "from" and error.context_mark else at
            line, column, problem = mark.line, mark.column, match.expand(words)
            break
    if problem.startswith("but "):
        problem = f"{error.context}, {problem}"
    return f"{line + 1}:{column + 1}: {problem}"


def _bracket_fault(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return the location of a text without quotes that starts like a list or mapping, or nothing if it is none."""
    mark = error.context_mark if isinstance(error, ScannerError) and error.context_mark else error.problem_mark
    if mark is None or text[mark.index : mark.index + 1] in (*"]}:", ""):
        return ""
    depth, start, end = 0, None, None
    try:
        for token in yaml.scan(text[: mark.index], Loader):
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                start, end = (token.start_mark if depth == 0 else start), None
                depth += 1
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken):
                depth -= 1
                end = token.end_mark if depth == 0 else None
            elif not isinstance(token, yaml.BlockEndToken | yaml.StreamEndToken):
                end = None
    except yaml.YAMLError:
        return ""
    if start is None or end is None or end.line != mark.line:
        return ""
    return f"{start.line + 1}:{start.column + 1}: a text that starts with `{text[start.index]}` needs quotes"


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    if is_remote(file):
        from tunesmith.config.remote import fetch  # it takes a tenth of a second to import

        return fetch(file)
    path = Path(file)
    if path.is_dir():
        names = sorted(item.name for item in path.iterdir() if item.suffix in {".yml", ".yaml"})
        hint = f"name one of its files: {', '.join(names)}" if names else "it has no .yml file"
        raise ConfigError(f"{file} is a folder; {hint}")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


def _collect(node: yaml.Node | None, path: KeyPath, marks: Marks, notes: list[str], faults: list[str]) -> None:
    """Fill `marks` for every key below `node`, and merge repeated keys."""
    if len(marks) > MOST_KEYS:  # aliases of aliases of aliases
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        node.value = _without_repeated(node.value, notes, faults)
        for key, value in node.value:
            key_path = (*path, str(key.value))
            marks[key_path] = (key.start_mark.line + 1, key.start_mark.column + 1)
            _collect(value, key_path, marks, notes, faults)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            marks[(*path, index)] = (value.start_mark.line + 1, value.start_mark.column + 1)
            _collect(value, (*path, index), marks, notes, faults)


def _without_repeated(
    pairs: list[tuple[yaml.Node, yaml.Node]], notes: list[str], faults: list[str]
) -> list[tuple[yaml.Node, yaml.Node]]:
    """Return the keys of a mapping without those repeated with the same value or with none."""
    kept: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in pairs:
        name, line, column = str(key.value), key.start_mark.line + 1, key.start_mark.column + 1
        if name not in kept:
            kept[name] = (key, value)
            continue
        first_key, first = kept[name]
        first_line = first_key.start_mark.line + 1
        if _is_same(first, value):
            notes.append(f"{line}:{column}: `{name}` is also set on line {first_line}, with the same value")
        elif _is_empty(value):
            notes.append(f"{line}:{column}: `{name}` is empty here; its value on line {first_line} is used")
        elif _is_empty(first):
            notes.append(f"{line}:{column}: `{name}` is also set on line {first_line}, where it is empty")
            kept[name] = (key, value)
        else:
            faults.append(f"{line}:{column}: `{name}` is set twice; first on line {first_line}")
    return list(kept.values())


def _is_empty(node: yaml.Node) -> bool:
    return not node.value or node.tag == "tag:yaml.org,2002:null"


def _is_same(first: yaml.Node, second: yaml.Node) -> bool:
    if first is second or (_is_empty(first) and _is_empty(second)):
        return True
    if first.tag != second.tag or not isinstance(first.value, list):
        return bool(first.tag == second.tag and first.value == second.value)
    if len(first.value) != len(second.value):
        return False
    if isinstance(first, yaml.SequenceNode):
        return all(map(_is_same, first.value, second.value))
    values = {str(key.value): value for key, value in second.value}
    return all(str(key.value) in values and _is_same(value, values[str(key.value)]) for key, value in first.value)
