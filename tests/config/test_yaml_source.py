"""From a file to plain values: what is no config, and where."""

import io

import pytest

from tunesmith.config.yaml_source import read
from tunesmith.errors import ConfigError


def message(tmp_path, content: str | bytes) -> str:
    file = tmp_path / "a.yml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        read(str(file))
    return str(caught.value).replace(str(tmp_path) + "/", "")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "a.yml is empty; start from a file in examples/"),
        ("# only a comment\n", "a.yml is empty; start from a file in examples/"),
        ("- a\n- b\n", "a.yml: expected `key: value` lines, found a list"),
        ("just words", "a.yml: expected `key: value` lines, found text"),
        (b"base_model: \xe4", "a.yml: byte 12 is not UTF-8; save the file as UTF-8"),
        ("a:\n\tb: 1\n", "a.yml:2:1: a tab; YAML is indented with spaces"),
        ("a: 1\nb: 2\na: 3\n", "a.yml:3:1: `a` is set twice; first on line 1"),
        ("a: 1\n---\nb: 1\n", "a.yml:2:1: expected a single document in the stream, but found another document"),
        ("a: *b\n", "a.yml:1:4: found undefined alias 'b'"),
        ("a: 1\nlora_r 8\nb: 2\n", "a.yml:2:1: a key needs `: ` after it"),
        ("a: 1\nlora_r:8\nb: 2\n", "a.yml:2:1: a key needs `: ` after it"),
        ("lora_r:8\nb: 2\n", "a.yml:1:1: a key needs `: ` after it"),
        ("a: lora\n b: 2\n", "a.yml:2:2: indented differently from the line above"),
        ("d:\n  - p: 1\n   t: 2\n", "a.yml:3:4: indented differently from the line above"),
        ("a: b: c\n", "a.yml:1:5: a second `: ` in one line; put the value in quotes"),
        ("a: [1\n", "a.yml:1:4: the bracket is not closed, or a comma is missing"),
        ("a: [1]]\n", "a.yml:1:7: `]` has no opening bracket"),
        ("b: 1\na: 'x\nc: 1\n", "a.yml:2:4: the quote is not closed"),
        ("a: 'it's'\n", "a.yml:1:8: text after the end of the value; put all of it in quotes"),
        ("a: @x\n", "a.yml:1:4: a text that starts with `@` needs quotes"),
        ("a: *.json\n", "a.yml:1:4: a text that starts with `*` or `&` needs quotes"),
        ("a: {{ x }}\n", "a.yml:1:4: a text that starts with `{` needs quotes"),
        ("a: [INST] {x} [/INST]\n", "a.yml:1:4: a text that starts with `[` needs quotes"),
        ("b: 1\na: [INST] text\n", "a.yml:2:4: a text that starts with `[` needs quotes"),
        ("a:\n  - [INST] *x*\n", "a.yml:2:5: a text that starts with `[` needs quotes"),
        ("a: [INST] 'x\n", "a.yml:1:4: a text that starts with `[` needs quotes"),
        ("a: [[INST], foo], bar\n", "a.yml:1:4: a text that starts with `[` needs quotes"),
        ("a: {x} and {y}\n", "a.yml:1:4: a text that starts with `{` needs quotes"),
        ("a: {x}\\n{y}\n", "a.yml:1:4: a text that starts with `{` needs quotes"),
        ("a: [x]: y\n", "a.yml:1:7: a second `: ` in one line; put the value in quotes"),
        ("a: | x\n", "a.yml:1:4: a text that starts with `|` or `>` needs quotes"),
        ("a: !x y\n", "a.yml:1:4: a text that starts with `!` needs quotes"),
        ("a: x\0y\n", "a.yml: character '\\x00' at position 4 is not YAML"),
        (
            "a: !!python/name:os.system\n",
            "a.yml:1:4: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
    ],
)
def test_a_file_that_is_no_config_is_named_with_its_fault(tmp_path, content, expected):
    assert message(tmp_path, content) == expected


def test_every_key_that_stands_twice_is_reported_at_any_depth(tmp_path):
    text = "a: 1\na: 2\nb:\n  - c: 1\n    c: 2\n"
    assert message(tmp_path, text) == (
        "a.yml:2:1: `a` is set twice; first on line 1\na.yml:5:5: `c` is set twice; first on line 4"
    )


def test_a_key_may_be_repeated_with_the_same_value_or_with_none(tmp_path):
    lines = ["a: false", "b: [1, {c: 2, d: 3}]", "e:", "f:", "a:", "b: [1, {d: 3, c: 2}]", "e: 5", "f:", "a: false"]
    (tmp_path / "a.yml").write_text("\n".join(lines))
    source = read(str(tmp_path / "a.yml"))
    assert source.values == {"a": False, "b": [1, {"c": 2, "d": 3}], "e": 5, "f": None}
    assert source.marks["e",] == (7, 1)
    assert [note.replace(str(tmp_path) + "/", "") for note in source.notes] == [
        "a.yml:5:1: `a` is empty here; its value on line 1 is used",
        "a.yml:6:1: `b` is also set on line 2, with the same value",
        "a.yml:7:1: `e` is also set on line 3, where it is empty",
        "a.yml:8:1: `f` is also set on line 4, with the same value",
        "a.yml:9:1: `a` is also set on line 1, with the same value",
    ]


@pytest.mark.parametrize(("first", "second"), [("1", "'1'"), ("[1]", "[1, 2]"), ("{c: 1}", "{d: 1}"), ("0", "false")])
def test_two_values_of_one_key_are_an_error(tmp_path, first, second):
    assert message(tmp_path, f"a: {first}\na:\na: {second}\n") == "a.yml:3:1: `a` is set twice; first on line 1"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yml: no such file"):
        read(str(tmp_path / "none.yml"))


def test_a_folder_is_refused_with_the_yaml_files_it_holds(tmp_path):
    with pytest.raises(ConfigError, match=r"is a folder; it has no \.yml file"):
        read(str(tmp_path))
    for name in ("b.yml", "a.yaml", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"is a folder; name one of its files: a\.yaml, b\.yml$"):
        read(str(tmp_path))


def test_marks_count_lines_and_columns_from_one(tmp_path):
    (tmp_path / "a.yml").write_text("a: 1\nb:\n  - c: 2\n    d: 3\n")
    values, marks, _ = read(str(tmp_path / "a.yml"))
    assert values == {"a": 1, "b": [{"c": 2, "d": 3}]}
    assert marks == {("a",): (1, 1), ("b",): (2, 1), ("b", 0): (3, 5), ("b", 0, "c"): (3, 5), ("b", 0, "d"): (4, 5)}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("-2E3", -2000.0), ("1.5e-4", 1.5e-4), ("1.e2", 100.0), ("1e", "1e"), ("e-4", "e-4"), ("7", 7)],
)
def test_numbers_with_an_exponent_are_numbers_also_where_no_type_is_known(tmp_path, text, value):
    (tmp_path / "a.yml").write_text(f"optim_args:\n  eps: {text}\n")
    assert read(str(tmp_path / "a.yml"))[0] == {"optim_args": {"eps": value}}


def test_a_dash_reads_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a: 1\n"))
    assert read("-") == ({"a": 1}, {("a",): (1, 1)}, [])


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path):
    (tmp_path / "a.yml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read(str(tmp_path / "a.yml"))[0] == {"a": 1, "b": 2}
