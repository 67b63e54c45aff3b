"""A user's assertions: what they may take, how they say no, and when they are at fault themselves."""

import pytest
from tunesmith.evals.assertions import Verdict, judge, load_assertions

from tunesmith.errors import ConfigError


def assertions(folder, text):
    file = folder / "rules.py"
    file.write_text(text)
    return load_assertions("rules.py", str(folder / "config.yml"))


def test_a_failed_assertion_gives_its_message_and_a_passed_one_none(tmp_path):
    rules = assertions(
        tmp_path,
        "def test_short(answer):\n    assert len(answer) < 5, f'{len(answer)} characters'\n"
        "def test_same(answer, reference):\n    assert answer == reference\n",
    )
    assert judge(rules, {}, "yes", "yes") == [Verdict("test_short", True, ""), Verdict("test_same", True, "")]
    short, same = judge(rules, {}, "perhaps", "yes")
    assert short == Verdict("test_short", False, "7 characters")
    assert not same.ok


def test_an_assertion_without_message_is_explained_by_its_docstring(tmp_path):
    rules = assertions(tmp_path, 'def test_never(answer):\n    """An answer never comes."""\n    assert False\n')
    assert judge(rules, {}, "x", "y")[0].reason == "An answer never comes."


def test_an_assertion_takes_the_row_and_its_columns_by_name(tmp_path):
    rules = assertions(
        tmp_path, "def test_listed(row, columns, answer):\n    assert answer in columns == row['columns']\n"
    )
    assert judge(rules, {"columns": ["a"]}, "a", "")[0].ok
    assert not judge(rules, {"columns": ["b"]}, "a", "")[0].ok


def test_an_argument_that_is_not_there_is_named_with_those_that_are(tmp_path):
    rules = assertions(tmp_path, "def test_x(colums):\n    pass\n")
    with pytest.raises(ConfigError, match="takes `colums`; known here are columns, row, answer, reference"):
        judge(rules, {"columns": []}, "", "")


def test_another_exception_is_a_fault_of_the_assertion_with_its_line(tmp_path):
    rules = assertions(tmp_path, "def test_x(answer):\n    return answer['a']\n")
    with pytest.raises(ConfigError, match=r"test_x is at fault \(rules.py:2\): TypeError"):
        judge(rules, {}, "text", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [("x = 1\n", "no function named test_"), ("def test_x(:\n", "does not load: SyntaxError")],
)
def test_a_file_without_usable_assertions_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        assertions(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.py: no such file"):
        load_assertions("none.py", str(tmp_path / "config.yml"))
