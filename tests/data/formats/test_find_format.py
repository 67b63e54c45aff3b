"""The table of types, and types that are a function of the user's own."""

import sys

import pytest

from tunesmith.data.formats import FORMATS, find_format
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import ConfigError


def test_an_unknown_type_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError, match=r"`datasets\.type: alpca` is none of .*alpaca.*did you mean `alpaca`\?"):
        find_format("alpca", "config.yml")


def test_a_type_can_be_a_function_of_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("def poem(row, spec):\n    return [(row['a'], False), (row['b'], True)]\n")
    source = str(tmp_path / "config.yml")
    (rendered,) = find_format("mine.py:poem", source)({"a": "x", "b": "y"}, None)
    assert rendered == Rendered((Segment("x", False), Segment("y", True, eos_count=1)), bos="own")
    with pytest.raises(ConfigError, match=r"mine\.py has no `pome`; did you mean `poem`\?"):
        find_format("mine.py:pome", source)
    with pytest.raises(ConfigError, match=r"none\.py: no such file"):
        find_format("none.py:poem", source)


def test_a_file_that_does_not_load_is_named_with_its_fault(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=r"bad\.py:1 does not load: ZeroDivisionError: division by zero"):
        find_format("bad.py:x", str(tmp_path / "config.yml"))


def test_a_type_for_each_name_in_the_table():
    assert all(find_format(name, "config.yml") is FORMATS[name] for name in FORMATS)


def test_code_of_ones_own_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "words_beside.py").write_text('GREETING = "hello"\n')
    (tmp_path / "json.py").write_text("raise SystemExit('this is no library')\n")
    text = "import json\nfrom words_beside import GREETING\n\ndef greet(row, spec):\n    return [(GREETING, True)]\n"
    (tmp_path / "mine.py").write_text(text)
    (rendered,) = find_format("mine.py:greet", str(tmp_path / "config.yml"))({}, None)
    assert rendered == Rendered((Segment("hello", True, eos_count=1),), bos="own")
