"""A user's assertions: plain `test_*` functions in a Python file, that judge one answer each time they are called.

A function takes by name what it needs: `row` (the data row), `answer`, `reference` (the row's own answer), or any
column of the row. It says no by `assert`; its message is the reason. Any other exception is a fault of the assertion.
"""

import inspect
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.references import load_module

Assertion = Callable[..., None]


class Verdict(NamedTuple):
    """What one assertion says of one answer; `reason` is empty if it passes."""

    name: str
    ok: bool
    reason: str


def load_assertions(path: str, source: str) -> list[Assertion]:
    """Return the `test_*` functions of a Python file, in their order.

    Raises:
        ConfigError: the file is missing, does not load, or has none.
    """
    module = load_module(path, source)
    found = [item for name, item in vars(module).items() if name.startswith("test_") and callable(item)]
    if not found:
        raise ConfigError(f"`evaluation.assertions: {path}` has no function named test_*")
    return found


def judge(assertions: Sequence[Assertion], row: dict[str, Any], answer: str, reference: str) -> list[Verdict]:
    """Return the verdict of each assertion on one answer.

    Raises:
        ConfigError: an assertion raises something other than AssertionError, or takes an argument that is not there.
    """
    known = {**row, "row": row, "answer": answer, "reference": reference}
    return [_verdict(assertion, known) for assertion in assertions]


def _verdict(assertion: Assertion, known: dict[str, Any]) -> Verdict:
    name = assertion.__name__
    wanted = inspect.signature(assertion).parameters
    if missing := [key for key in wanted if key not in known]:
        raise ConfigError(f"{name} takes `{missing[0]}`; known here are {', '.join(known)}")
    try:
        assertion(**{key: known[key] for key in wanted})
    except AssertionError as error:
        return Verdict(name, False, str(error) or inspect.getdoc(assertion) or "failed")
    except Exception as error:  # it is the user's own code: it may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"the assertion {name} is at fault ({Path(frame.filename).name}:{frame.lineno}): "
            f"{type(error).__name__}: {error}; an assertion says no by `assert`"
        ) from error
    return Verdict(name, True, "")
