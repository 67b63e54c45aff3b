"""Files that a config names, and `path/to/file.py:function` in it: the way to bring your own code."""

import ast
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from hashlib import blake2b
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

from tunesmith.errors import ConfigError, did_you_mean


def resolve_file(path: str, source: str) -> str:
    """Return `path` as it stands if it exists from the working folder, else as seen from the folder of `source`."""
    beside = Path(source).parent / path
    return str(beside) if not Path(path).exists() and beside.exists() else path


def code_file(name: str, source: str) -> tuple[Path, str]:
    """Return the Python file of `path/to/file.py[:function]`, from here or beside `source`, and the function's name.

    Raises:
        ConfigError: there is no such file.
    """
    path, _, function = name.rpartition(":") if ".py:" in name else (name, "", "")
    file = Path(resolve_file(path, source))
    if not file.is_file():
        raise ConfigError(f"{path}: no such file (looked here and beside {source})")
    return file, function


def code_digest(name: str, source: str) -> str:
    """Return a hash of the Python file of `path/to/file.py[:function]` and of all it imports from folders of the user.

    These are the file's own folder and the working folder; what is installed does not count.

    Raises:
        ConfigError: there is no such file.
    """
    file, _ = code_file(name, source)
    folders = [file.absolute().parent, Path.cwd()]
    files = {file.absolute()}
    unread = [file.absolute()]
    while unread:
        imports = [path for path in _imported_files(unread.pop(), folders) if path not in files]
        files.update(imports)
        unread += imports
    return blake2b(b"\0".join(path.name.encode() + path.read_bytes() for path in sorted(files))).hexdigest()


def _imported_files(file: Path, folders: Sequence[Path]) -> list[Path]:
    """Return the files below `folders` that a Python file imports, also inside functions."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # whoever runs it says so
        return []
    files = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names, roots = [alias.name for alias in node.names], folders
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module else ""
            names = [module + alias.name for alias in node.names]
            roots = [file.parents[node.level - 1]] if node.level else folders
        else:
            continue
        for root, name in product(roots, names):
            parts = name.split(".")
            modules = [root.joinpath(*parts[:end]) for end in range(1, len(parts) + 1)]
            files += [path for module in modules for path in (Path(f"{module}.py"), module / "__init__.py")]
    return [path for path in files if path.is_file()]


def load_file(file: Path) -> ModuleType:
    """Return a Python file as a module. It may import what lies beside it, but not in place of a library.

    Raises:
        ConfigError: it does not load.
    """
    spec = importlib.util.spec_from_file_location(f"tunesmith_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.update({spec.name: module})  # dataclasses look up their module there
    if (folder := str(file.absolute().parent)) not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's own code: it may raise anything
        frames, own = traceback.extract_tb(error.__traceback__), str(file.absolute())
        lines = [str(frame.lineno) for frame in frames if frame.filename == own]
        place = ":".join([str(file), *lines[-1:]])
        raise ConfigError(f"{place} does not load: {type(error).__name__}: {error}") from error
    return module


def load_module(path: str, source: str) -> ModuleType:
    """Return the Python file at `path` (from here, or from beside the config `source`) as a module.

    Raises:
        ConfigError: there is no such file, or it does not load.
    """
    return load_file(code_file(path, source)[0])


def resolve(name: str, source: str) -> Any:
    """Return the function that `path/to/file.py:function` names.

    Raises:
        ConfigError: there is no such file or function.
    """
    return member(load_module(name, source), name)


def member(module: ModuleType, name: str) -> Any:
    """Return the function of a module that `path/to/file.py:function` names.

    Raises:
        ConfigError: there is none.
    """
    path, _, function = name.rpartition(":")
    if not hasattr(module, function):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise ConfigError(f"{path} has no `{function}`{did_you_mean(function, known)}")
    return getattr(module, function)
