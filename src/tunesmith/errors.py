"""Errors that a user can act on. The command prints their text, without a traceback, and exits with their code.

Anything that is not a `UserError` is a fault of ours and keeps its traceback (exit code 1).
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake or a condition that the user can mend: what is wrong, where, and what to do instead."""

    exit_code = 2


class ConfigError(UserError, ValueError):
    """A fault of the config file or of the command line."""

    exit_code = 2


class DataError(UserError, ValueError):
    """A fault of a data file or of a row in it."""

    exit_code = 3


class ModelError(UserError, ValueError):
    """A base model, tokenizer or adapter that is missing, broken or does not fit."""

    exit_code = 4


class RunError(UserError, RuntimeError):
    """A run that cannot start or go on: an output folder in use, a full disk, a wrong number of processes."""

    exit_code = 5


INTERRUPTED = 130
"""Exit code of a run that Ctrl-C or SIGTERM ended after its checkpoint was saved."""


FAILED = 6
"""Exit code where an answer fails its assertions, or a model is worse than its baseline: the gate of a CI is shut."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean `x`?` for the nearest known name, or an empty string when none is near.

    Capitals and dashes do not count. Where no whole name is near, the first of those that begin like `name` is.
    """
    plain = name.lower().replace("-", "_")
    whole = {item.lower(): item for item in known}
    near = difflib.get_close_matches(plain, whole, n=1, cutoff=0.7)
    if not near and len(plain) > 3:
        begins = {item[: len(plain)]: item for item in reversed(whole)}
        near = [begins[item] for item in difflib.get_close_matches(plain, begins, n=1, cutoff=0.8)]
    return f"; did you mean `{whole[near[0]]}`?" if near else ""
