"""Runs assertions under plain pytest, on the rows of a data file: `pytest assertions.py --rows data.jsonl`.

pytest finds this file by the entry point `pytest11`. Without `--rows` it does and imports nothing.
"""

import inspect
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tunesmith.assertions import Case
    from tunesmith.data.types import BadRow

CASE = "tunesmith_case"
"""Parameter that carries the row of a test."""
CASES = pytest.StashKey["list[Case | BadRow]"]()
ABSENT = object()
"""Value of a column that the row does not have."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("tunesmith", "assertions on the rows of a data file")
    group.addoption("--rows", metavar="FILE", help="run test_* functions that take row, answer or a column on its rows")
    group.addoption("--answers", metavar="COLUMN", help="column of the answers (default: each row's own answer)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each row, for functions that take `row`, `answer`, `reference` or a column."""
    file = metafunc.config.getoption("--rows")
    if not file:
        return
    from tunesmith.assertions.verdict import Case, arguments_of

    if CASES not in metafunc.config.stash:
        metafunc.config.stash[CASES] = _cases(file, metafunc.config.getoption("--answers"))
    cases = metafunc.config.stash[CASES]
    known = [arguments_of(case) if isinstance(case, Case) else {} for case in cases]
    taken = {"row", "answer", "reference"}.union(*known) & set(inspect.signature(metafunc.function).parameters)
    if taken:
        required = sorted(taken & set(metafunc.fixturenames))  # pytest passes over arguments with a default
        values = [[case, *(own.get(name, ABSENT) for name in required)] for case, own in zip(cases, known, strict=True)]
        places = [case.place if isinstance(case, Case) else f"{Path(case.file).name}:{case.number}" for case in cases]
        metafunc.fixturenames.append(CASE)
        metafunc.parametrize([CASE, *required], values, ids=places)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Call a function that judges a row with what it takes; a Verdict that it returns counts."""
    if not hasattr(pyfuncitem, "callspec") or CASE not in pyfuncitem.callspec.params:
        return None

    from tunesmith.assertions.verdict import Fault, arguments_of, verdict_of
    from tunesmith.data.types import BadRow

    case: Any = pyfuncitem.callspec.params[CASE]
    if isinstance(case, BadRow):
        pytest.fail(f"{case.file}:{case.number}: {case.reason}", pytrace=False)
    given = {**pyfuncitem.funcargs, **arguments_of(deepcopy(case))}  # a test may change its row
    given = {name: given[name] for name in inspect.signature(pyfuncitem.obj).parameters if name in given}
    if absent := [name for name, value in given.items() if value is ABSENT]:
        pytest.fail(f"{case.place} has no column `{absent[0]}`; give it a default: `{absent[0]}=None`", pytrace=False)
    try:
        verdict = verdict_of(pyfuncitem.function, pyfuncitem.obj(**given))
    except Fault as fault:
        raise pytest.fail.Exception(str(fault), pytrace=False) from None
    if not verdict.ok:
        pytest.fail(verdict.reason, pytrace=False)
    return True


def _cases(file: str, column: str | None) -> "list[Case | BadRow]":
    """Return the rows of a data file with their answers; a row that has none, as it does not fit its type, as bad."""
    from tunesmith.assertions import Case
    from tunesmith.data.filters import spec_of_file
    from tunesmith.data.question import reference_answer
    from tunesmith.data.source import read_rows
    from tunesmith.data.types import BadRow
    from tunesmith.errors import DataError, UserError

    found: list[Case | BadRow] = []
    try:
        spec = spec_of_file(file, None)
        for row in read_rows(spec.dataset, file):
            if isinstance(row, BadRow):
                found.append(row)
                continue
            try:
                reference = reference_answer(row.values, spec)
                if column and column not in row.values:
                    raise DataError(f"no column {column}, which --answers names; found {', '.join(row.values)}")
            except DataError as error:
                found.append(BadRow(row.file, row.number, str(error)))
                continue
            answer = str(row.values[column]) if column else reference
            found.append(Case(row.values, answer, reference, f"{Path(row.file).name}:{row.number}"))
    except UserError as error:
        raise pytest.UsageError(f"--rows {file}: {error}") from None
    return found
