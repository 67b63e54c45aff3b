"""Assertions under plain pytest, in a pytest of its own."""

import os
import subprocess
import sys

import pytest

RULES = """
import pytest
from tunesmith import Verdict

@pytest.fixture
def limit():
    return 10

def test_short(answer, limit):
    assert len(answer) < limit, "too long"

def test_extra(reference, extra=None):
    assert extra is None or extra == reference

def test_verdict(messages):
    return Verdict("test_verdict", len(messages) == 3, "no system turn")

def test_of_nothing():
    assert True
"""


@pytest.fixture
def run(tmp_path, chat_rows, write_jsonl):
    """`run(rows, *arguments)` runs pytest on the rules, and returns its exit code and output."""
    (tmp_path / "rules.py").write_text(RULES)
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    base = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tunesmith.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-rA",
        "rules.py",
    ]

    def call(rows, *arguments):
        write_jsonl(tmp_path / "rows.jsonl", rows)
        done = subprocess.run([*base, *arguments], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return call


def test_each_row_is_a_test_with_its_place_and_the_bad_one_fails(run, chat_rows, tmp_path):
    rows = chat_rows(3)
    rows[1]["messages"][-1]["content"] = "It is too hard."
    rows[2] |= {"extra": "It is 5.", "messages": rows[2]["messages"][1:]}
    code, output = run(rows, "--rows", "rows.jsonl")
    assert code == 1
    for line in (
        "PASSED rules.py::test_short[rows.jsonl:1]",
        "FAILED rules.py::test_short[rows.jsonl:2] - AssertionError: too long",
        "FAILED rules.py::test_extra[rows.jsonl:3]",
        "FAILED rules.py::test_verdict[rows.jsonl:3] - Failed: no system turn",
        "PASSED rules.py::test_of_nothing\n",
        "3 failed, 7 passed",
    ):
        assert line in output


def test_answers_may_stand_in_a_column_and_unusable_rows_fail(run, chat_rows):
    rows = [row | {"made": "no" * index} for index, row in enumerate(chat_rows(8))]
    code, output = run([*rows, {"made": "x"}], "--rows", "rows.jsonl", "--answers", "made", "-k", "short")
    assert code == 1
    assert "PASSED rules.py::test_short[rows.jsonl:5]" in output
    assert "FAILED rules.py::test_short[rows.jsonl:6]" in output
    assert "rows.jsonl:9: " in output


def test_without_rows_it_does_and_imports_nothing(run, tmp_path):
    (tmp_path / "rules.py").write_text(
        "import sys\ndef test_light():\n    assert not {'tunesmith.data', 'tunesmith.assertions'} & set(sys.modules)\n"
    )
    code, output = run([])
    assert (code, "1 passed" in output) == (0, True), output


def test_a_file_that_is_not_there_is_one_error(run):
    code, output = run([], "--rows", "none.jsonl")
    assert code != 0
    assert "--rows none.jsonl: " in output
    assert "no such file" in output
