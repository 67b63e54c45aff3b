"""`path/to/file.py:function` in a config: the way to bring your own code."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from tunesmith.config.places import resolve_file
from tunesmith.errors import ConfigError, did_you_mean


def load_module(path: str, source: str) -> ModuleType:
    """Return the Python file at `path` (from here, or from beside the config `source`) as a module.

    Raises:
        ConfigError: there is no such file, or it does not load.
    """
    file = Path(resolve_file(path, source))
    if not file.is_file():
        raise ConfigError(f"{path}: no such file (looked here and beside {source})")
    spec = importlib.util.spec_from_file_location(f"tunesmith_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's own code: it may raise anything
        raise ConfigError(f"{file} does not load: {type(error).__name__}: {error}") from error
    return module


def resolve(name: str, source: str) -> Any:
    """Return the function that `path/to/file.py:function` names.

    Raises:
        ConfigError: there is no such file or function.
    """
    path, _, function = name.rpartition(":")
    module = load_module(path, source)
    if not hasattr(module, function):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise ConfigError(f"{path} has no `{function}`{did_you_mean(function, known)}")
    return getattr(module, function)
