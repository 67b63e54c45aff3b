"""What an assertion is, and what it says of one case.

A function takes by name what it needs: `row` (the data row), `answer`, `reference` (the row's own answer), or any
column of the row. It says no by `assert`, or returns a `Verdict`. Anything else that it raises or returns is a fault of
the assertion, and never counted.
"""

import inspect
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.references import code_file, load_file, member

LONGEST = 1000
"""Characters of a reason that are kept."""


class Verdict(NamedTuple):
    """What one assertion says of one case; `reason` is empty if it passes, `name` is always that of the function."""

    name: str
    ok: bool
    reason: str = ""


Assertion = Callable[..., Verdict | None]


class Case(NamedTuple):
    """What is judged: a row and an answer to it.

    Attributes:
        row: columns of the row.
        answer: the answer, of a model or the row's own.
        reference: the row's own answer.
        place: file:row, for messages.
    """

    row: dict[str, Any]
    answer: str
    reference: str = ""
    place: str = ""


class Fault(ConfigError):
    """An assertion that gave no verdict: its name, the file:line, and what happened."""

    def __init__(self, name: str, where: str, what: str) -> None:
        super().__init__(name, where, what)
        self.name, self.where, self.what = name, where, what

    def __str__(self) -> str:
        return f"{self.where}: {self.name} {self.what}"


def load_assertions(path: str, source: str) -> list[Assertion]:
    """Return the assertions of a Python file, in their order; of `file.py:function` that one.

    Raises:
        ConfigError: the file is missing, does not load, or has none that can be used.
    """
    return assertions_in(*code_file(path, source))


def assertions_in(file: Path, function: str = "") -> list[Assertion]:
    """Return the assertions of a file: those in its list ASSERTIONS, or else its functions named test_*."""
    module = load_file(file)
    known = vars(module)
    if function:
        found = [member(module, f"{file}:{function}")]
    elif "ASSERTIONS" in known:
        found = list(known["ASSERTIONS"]) if isinstance(known["ASSERTIONS"], (list, tuple)) else []
    else:
        found = [item for name, item in known.items() if name.startswith("test_") and callable(item)]
    if not found:
        raise ConfigError(f"{file} has no function named test_*, and no list ASSERTIONS of functions")
    faults = [
        f"{home(item) if inspect.isfunction(item) else file.name}: {reason}"
        for item in found
        if (reason := _unusable(item))
    ]
    if faults:
        raise ConfigError("\n".join(faults))
    require_different(item.__name__ for item in found)
    return found


def require_different(names: Iterable[str]) -> None:
    """Raise a ConfigError if two assertions have the same name, by which they are counted."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"two assertions are called {name}; give one of them another name")
        seen.add(name)


def _unusable(item: Any) -> str:
    """Return why something can't be an assertion, or an empty text."""
    if not inspect.isfunction(item):
        return f"{item!r:.80} is no function; an assertion is a plain `def`"
    if inspect.iscoroutinefunction(item) or inspect.isasyncgenfunction(item):
        return f"{item.__name__} is a coroutine function, which would never run; write a plain `def`"
    for parameter in inspect.signature(item).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            return f"{item.__name__} takes `{parameter}`; arguments are given by name: row, answer, reference, a column"
    return ""


def home(assertion: Assertion) -> str:
    """Return the file:line at which an assertion is defined."""
    code = inspect.unwrap(assertion).__code__
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"


@cache
def _parameters(assertion: Assertion) -> list[tuple[str, bool]]:
    """Return the names of the arguments, and whether each has to be given."""
    return [(key, item.default is item.empty) for key, item in inspect.signature(assertion).parameters.items()]


def known_to(case: Case) -> dict[str, Any]:
    """Return what an assertion may take, by name."""
    return {**case.row, "row": case.row, "answer": case.answer, "reference": case.reference}


def judge_one(assertion: Assertion, known: dict[str, Any]) -> Verdict:
    """Return what an assertion says of one case.

    Raises:
        Fault: it raises something other than AssertionError, returns something other than a Verdict or None, or takes
            an argument that is not there.
    """
    name, place = assertion.__name__, home(assertion)
    for key, required in _parameters(assertion):
        if required and key not in known:
            raise Fault(
                name,
                place,
                f"takes `{key}`{did_you_mean(key, known)}; known here are {', '.join(known)}. If only some rows have "
                f"that column, give it a default: `{key}=None`",
            )
    try:
        try:
            said = assertion(**{key: known[key] for key, _ in _parameters(assertion) if key in known})
        except AssertionError as error:
            said = Verdict(name, False, str(error))
            return said._replace(reason=_reason(said.reason, assertion, error))
    except BaseException as error:  # it is the user's own code: it may raise anything
        what = f"raised {type(error).__name__}: {error}; an assertion says no by `assert`, or returns a Verdict"
        raise Fault(name, _line(error, assertion)[0], what) from error
    return verdict_of(assertion, said)


def verdict_of(assertion: Assertion, said: object) -> Verdict:
    """Return what an assertion says by what it returned.

    Raises:
        Fault: that is something other than a Verdict or None.
    """
    name = assertion.__name__
    if said is None:
        return Verdict(name, True)
    if not isinstance(said, Verdict):
        what = f"returned {said!r:.60}; say no by `assert`, or return `Verdict(name, ok, reason)`, or return nothing"
        raise Fault(name, home(assertion), what)
    if not (isinstance(said.ok, bool) and isinstance(said.reason, str)):
        raise Fault(name, home(assertion), f"returned {said!r:.80}; `ok` is True or False, and `reason` a text")
    return Verdict(name, said.ok, "" if said.ok else _reason(said.reason, assertion))


def _reason(message: str, assertion: Assertion, error: AssertionError | None = None) -> str:
    """Return why a case fails: the message, or the first line of the docstring, or the line of code that says no."""
    text = message.strip() or (inspect.getdoc(assertion) or "").partition("\n")[0].strip()
    if not text:
        text = _line(error, assertion)[1] if error else f"{assertion.__name__} says no"
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _line(error: BaseException, assertion: Assertion) -> tuple[str, str]:
    """Return the file:line where an error was raised, and the code there: the last one in the assertion's own file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == inspect.unwrap(assertion).__code__.co_filename]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}", last.line or ""
