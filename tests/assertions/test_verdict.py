"""A user's assertions: what they may take, how they say no, and when they are at fault themselves."""

import subprocess
import sys

import pytest

from tunesmith.assertions import Case, Fault, Verdict, load_assertions
from tunesmith.assertions.verdict import arguments_of, run_assertion
from tunesmith.errors import ConfigError


@pytest.fixture
def rules(tmp_path):
    """`rules(text)` gives the assertions of a file that holds the text."""

    def call(text, name="rules.py"):
        (tmp_path / "rules.py").write_text(text)
        return load_assertions(name, str(tmp_path / "config.yml"))

    return call


def judge(assertions, row, answer, reference=""):
    return [run_assertion(assertion, arguments_of(Case(row, answer, reference))) for assertion in assertions]


def test_a_failed_assertion_gives_its_message_and_a_passed_one_none(rules):
    found = rules(
        "def test_short(answer):\n    assert len(answer) < 5, f'{len(answer)} characters'\n"
        "def test_same(answer, reference):\n    assert answer == reference\n"
    )
    assert judge(found, {}, "yes", "yes") == [Verdict("test_short", True), Verdict("test_same", True)]
    short, same = judge(found, {}, "perhaps", "yes")
    assert short == Verdict("test_short", False, "7 characters")
    assert not same.ok


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('def test_x(answer):\n    """No answer.\n\n    Ever."""\n    assert False\n', "No answer."),
        ("def inner(a):\n    assert a == 1\ndef test_x(answer):\n    inner(answer)\n", "assert a == 1"),
        ("def test_x(answer):\n    assert False, 'a' * 5000\n", "a" * 1000 + "..."),
        ("from tunesmith import Verdict\ndef test_x(row): return Verdict('x', False, 'why')\n", "why"),
        ('from tunesmith import Verdict\ndef test_x():\n    """So."""\n    return Verdict("x", False)\n', "So."),
    ],
)
def test_the_reason_is_the_message_or_the_docstring_or_the_line(rules, text, reason):
    assert judge(rules(text), {}, "x") == [Verdict("test_x", False, reason)]


def test_an_assertion_takes_the_row_and_its_columns_by_name_and_may_have_defaults(rules):
    found = rules(
        "def test_x(row, columns, answer, *, more=3):\n    assert answer in columns == row['columns'] and more"
    )
    assert judge(found, {"columns": ["a"]}, "a")[0].ok
    assert not judge(found, {"columns": ["b"]}, "a")[0].ok
    assert not judge(found, {"columns": ["a"], "more": 0}, "a")[0].ok


def test_a_list_or_a_name_says_which_functions_count(rules):
    text = "def test_a(): pass\ndef short(): pass\ndef other(): pass\n"
    assert [item.__name__ for item in rules(text)] == ["test_a"]
    assert [item.__name__ for item in rules(text, "rules.py:other")] == ["other"]
    assert [item.__name__ for item in rules(text + "ASSERTIONS = [short, other]\n")] == ["short", "other"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return answer['a']", r"rules.py:2: test_x raised TypeError: string indices.*fails a case by `assert`"),
        ("return int('x')", r"rules.py:2: test_x raised ValueError: invalid literal"),
        ("raise SystemExit(3)", r"rules.py:2: test_x raised SystemExit: 3"),
        ("return False", r"rules.py:1: test_x returned False; fail by `assert`, or return `Verdict"),
        ("return Verdict('x', 1, '')", r"`ok` is True or False"),
        ("yield 1", r"test_x returned <generator"),
    ],
)
def test_all_else_that_is_raised_or_returned_is_a_fault_with_its_line(rules, body, message):
    found = rules(f"def test_x(answer):\n    {body}\nfrom tunesmith import Verdict\n")
    with pytest.raises(Fault, match=message):
        judge(found, {}, "text")


def test_an_argument_that_is_not_there_is_named_with_those_that_are(rules):
    found = rules("def test_x(colums):\n    pass\n")
    with pytest.raises(Fault, match=r"takes `colums`; did you mean `columns`\?; available are columns, row, answer"):
        judge(found, {"columns": []}, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "no function named test_"),
        ("ASSERTIONS = 3\n", "no list ASSERTIONS of functions"),
        ("def test_x(:\n", "does not load: SyntaxError"),
        ("async def test_x(): pass\n", "rules.py:1: test_x is a coroutine function, which would never run"),
        ("def test_x(*columns): pass\n", r"test_x takes `\*columns`; arguments are given by name"),
        ("ASSERTIONS = [len]\n", "is no function; an assertion is a plain `def`"),
        ("ASSERTIONS = [lambda: None, lambda: None]\n", "two assertions are called <lambda>"),
    ],
)
def test_a_file_without_usable_assertions_is_refused(rules, text, message):
    with pytest.raises(ConfigError, match=message):
        rules(text)


def test_a_missing_file_and_a_missing_function_are_named(rules, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.py: no such file"):
        load_assertions("none.py", str(tmp_path / "config.yml"))
    with pytest.raises(ConfigError, match="has no `shrt`; did you mean `short`"):
        rules("def short(): pass\n", "rules.py:shrt")


def test_a_dataclass_with_postponed_annotations_loads(rules):
    text = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass A:\n    b: int\n"
    assert rules(text + "def test_x(): pass\n")


def test_a_verdict_is_imported_without_anything_heavy():
    code = (
        "import sys; from tunesmith import Verdict; from tunesmith.assertions import Verdict as same; "
        "assert same is Verdict; print({'torch', 'transformers', 'pydantic'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
