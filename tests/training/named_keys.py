"""The keys that a test sets: in its own source, and in the fixtures, helpers and constants that it uses."""

import ast
import re
from functools import cache
from pathlib import Path

Definitions = dict[str, ast.stmt]
"""Name -> the function, class or constant of a module."""


def names_key(file: Path, test: str, key: str) -> bool:
    """Return whether a test names the last part of a key, as an argument or in a string that is no docstring.

    In a string the key stands alone, before a colon or an equals sign, or after a dot or two dashes.
    """
    name = key.rpartition(".")[2]
    text = rf"\b{name}\b"
    option = rf"--([\w-]+\.)*{name.replace('_', '[_-]')}(?![\w-])"
    setting = re.compile(rf"^\s*{text}\s*$|{text}`?\s*[:=]|\.{text}|{option}")
    for node in used_by(file, test):
        docstring = ast.get_docstring(node, clean=False) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        for item in ast.walk(node):
            if isinstance(item, ast.keyword) and item.arg == name:
                return True
            is_text = isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value != docstring
            if is_text and setting.search(item.value):
                return True
    return False


def used_by(file: Path, test: str) -> list[ast.stmt]:
    """Return the definition of a test, and of everything in its module that it uses."""
    definitions = definitions_in(file)
    used, waiting = {test}, [test]
    while waiting:
        node = definitions[waiting.pop()]
        names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
        names |= {item.arg for item in ast.walk(node) if isinstance(item, ast.arg)}  # fixtures
        new = (names & definitions.keys()) - used
        used |= new
        waiting += new
    return [definitions[name] for name in used]


@cache
def definitions_in(file: Path) -> Definitions:
    """Return the top-level definitions of a module."""
    definitions: Definitions = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)}
            definitions |= dict.fromkeys(names, node)
    return definitions
