"""Assertions and their verdicts on one case.

A function takes by name what it needs: `row` (the data row), `answer`, `reference` (the reference answer), or any
column of the row. It fails a case by `assert`, or returns a `Verdict`. Anything else that it raises or returns is a
fault of the assertion, and never counted.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.references import code_file, load_file, member

MAX_REASON = 1000
"""Characters of a reason; the rest is truncated."""


class Verdict(NamedTuple):
    """The result of one assertion on one case; `reason` is empty if it passes, `name` is that of the function."""

    name: str
    ok: bool
    reason: str = ""


Assertion = Callable[..., Verdict | None]


class Case(NamedTuple):
    """The input of an assertion: a row and an answer to it.

    Attributes:
        row: columns of the row.
        answer: the answer of a model, or of the row.
        reference: the reference answer.
        place: file:row, for messages.
    """

    row: dict[str, Any]
    answer: str
    reference: str = ""
    place: str = ""


class Fault(ConfigError):
    """An assertion without a verdict: its name, the file:line, and the reason."""

    def __init__(self, name: str, location: str, reason: str) -> None:
        super().__init__(name, location, reason)
        self.name, self.location, self.reason = name, location, reason

    def __str__(self) -> str:
        return f"{self.location}: {self.name} {self.reason}"


def load_assertions(path: str, source: str) -> list[Assertion]:
    """Return the assertions of a Python file, in their order; of `file.py:function` that one.

    Raises:
        ConfigError: the file is missing, does not load, or has no usable assertion.
    """
    return assertions_in(*code_file(path, source))


def assertions_in(file: Path, function: str = "") -> list[Assertion]:
    """Return the assertions of a file: those in its list ASSERTIONS, or else its functions named test_*."""
    module = load_file(file)
    names = vars(module)
    if function:
        assertions = [member(module, f"{file}:{function}")]
    elif "ASSERTIONS" in names:
        assertions = list(names["ASSERTIONS"]) if isinstance(names["ASSERTIONS"], (list, tuple)) else []
    else:
        assertions = [item for name, item in names.items() if name.startswith("test_") and callable(item)]
    if not assertions:
        raise ConfigError(f"{file} has no function named test_*, and no list ASSERTIONS of functions")
    faults = [
        f"{location_of(item) if inspect.isfunction(item) else file.name}: {reason}"
        for item in assertions
        if (reason := _unusable(item))
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    require_different(item.__name__ for item in assertions)
    return assertions


def require_different(names: Iterable[str]) -> None:
    """Raise a ConfigError if two assertions have the same name, because they are counted by name."""
    earlier_names: set[str] = set()
    for name in names:
        if name in earlier_names:
            raise ConfigError(f"two assertions are called {name}; give one of them another name")
        earlier_names.add(name)


def _unusable(item: object) -> str:
    """Return why something cannot be an assertion, or an empty text."""
    if not inspect.isfunction(item):
        return f"{item!r:.80} is no function; an assertion is a plain `def`"
    if inspect.iscoroutinefunction(item) or inspect.isasyncgenfunction(item):
        return f"{item.__name__} is a coroutine function, which would never run; write a plain `def`"
    for parameter in inspect.signature(item).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            return f"{item.__name__} takes `{parameter}`; arguments are given by name: row, answer, reference, a column"
    return ""


def location_of(assertion: Assertion) -> str:
    """Return the file:line at which an assertion is defined."""
    code = inspect.unwrap(assertion).__code__
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"


@cache
def _parameters(assertion: Assertion) -> list[tuple[str, bool]]:
    """Return the names of the parameters, and whether each is required."""
    return [(key, item.default is item.empty) for key, item in inspect.signature(assertion).parameters.items()]


def arguments_of(case: Case) -> dict[str, Any]:
    """Return the arguments that an assertion may take, by name."""
    return {**case.row, "row": case.row, "answer": case.answer, "reference": case.reference}


def run_assertion(assertion: Assertion, arguments: dict[str, Any]) -> Verdict:
    """Return the verdict of an assertion on one case.

    Raises:
        Fault: it raises something other than AssertionError, returns something other than a Verdict or None, or takes
            an unknown argument.
    """
    name = assertion.__name__
    for key, required in _parameters(assertion):
        if required and key not in arguments:
            raise Fault(
                name,
                location_of(assertion),
                f"takes `{key}`{did_you_mean(key, arguments)}; available are {', '.join(arguments)}. If only some rows "
                f"have that column, give it a default: `{key}=None`",
            )
    try:
        try:
            result = assertion(**{key: arguments[key] for key, _ in _parameters(assertion) if key in arguments})
        except AssertionError as error:
            return Verdict(name, False, _reason(str(error), assertion, error))
    except BaseException as error:  # the user's code may raise anything
        reason = f"raised {type(error).__name__}: {error}; an assertion fails a case by `assert`, or returns a Verdict"
        raise Fault(name, _line(error, assertion)[0], reason) from error
    return verdict_of(assertion, result)


def verdict_of(assertion: Assertion, result: object) -> Verdict:
    """Return the verdict for the return value of an assertion.

    Raises:
        Fault: it is something other than a Verdict or None.
    """
    name = assertion.__name__
    if result is None:
        return Verdict(name, True)
    if not isinstance(result, Verdict):
        reason = f"returned {result!r:.60}; fail by `assert`, or return `Verdict(name, ok, reason)`, or return nothing"
        raise Fault(name, location_of(assertion), reason)
    if not (isinstance(result.ok, bool) and isinstance(result.reason, str)):
        raise Fault(
            name, location_of(assertion), f"returned {result!r:.80}; `ok` is True or False, and `reason` a text"
        )
    return Verdict(name, result.ok, "" if result.ok else _reason(result.reason, assertion))


def _reason(message: str, assertion: Assertion, error: AssertionError | None = None) -> str:
    """Return why a case fails: the message, or the first line of the docstring, or the failing line of code."""
    text = message.strip() or (inspect.getdoc(assertion) or "").partition("\n")[0].strip()
    if not text:
        text = _line(error, assertion)[1] if error else f"{assertion.__name__} fails"
    return text if len(text) <= MAX_REASON else text[:MAX_REASON] + "..."


def _line(error: BaseException, assertion: Assertion) -> tuple[str, str]:
    """Return the file:line where an error was raised, and the code there: the last one in the assertion's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if frame.filename == inspect.unwrap(assertion).__code__.co_filename]
    last = (own_frames or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}", last.line or ""
