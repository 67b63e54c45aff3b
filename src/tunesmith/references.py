"""Files that a config names, and `path/to/file.py:function` in it: the way to bring your own code."""

import importlib.util
import sys
import traceback
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
