"""JSON in all the forms that `datasets` reads, missing values, and tables of Arrow as the JSON that was written."""

import json

import datasets
import numpy
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from tunesmith.data.readers import read_file
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError

ROWS = [{"a": "x", "b": [1, {"c": "é"}]}, {"a": "y", "b": []}, {"a": "z\n", "b": [2]}]


def values(path, kind):
    rows = list(read_file(path, kind))
    assert all(isinstance(row, Row) for row in rows)
    return [row.values for row in rows]


@pytest.fixture
def write(tmp_path):
    """`write(text)` writes a file and returns its path."""

    def call(content, name="a.jsonl"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return call


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n \n"])
@pytest.mark.parametrize(
    "content",
    [
        "\n".join(json.dumps(row) for row in ROWS),
        "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=4),
        "[" + ",\n".join(json.dumps(row) for row in ROWS) + "]\n",
    ],
    ids=["lines", "windows-lines", "pretty", "list", "pretty-list", "list-of-lines"],
)
def test_lines_lists_and_objects_over_several_lines_are_the_same_rows(write, kind, start, content):
    assert values(write(start + content), kind) == ROWS


def test_datasets_reads_the_same_forms(write, tmp_path):
    rows = [{"a": "x", "b": 1}, {"a": "y", "b": 2}]
    for number, content in enumerate([json.dumps(rows), "\n".join(json.dumps(row, indent=2) for row in rows)]):
        path = write(content, f"{number}.jsonl")
        reference = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "c"))
        assert list(reference) == values(path, "jsonl") == rows


def test_an_object_over_several_lines_has_the_number_of_its_first(write):
    assert [row.number for row in read_file(write('{\n"a": 1\n}\n\n{\n"a": 2\n}\n'), "jsonl")] == [1, 5]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{\n  "a": 1\n}\n{\n  "a": 2 2\n}\n', "a.jsonl:5:10: not JSON: Expecting ',' delimiter"),
        ('{\n  "a": 1 1\n}\n', "a.jsonl:2:10: not JSON: Expecting ',' delimiter"),
        ("[[\n", "a.jsonl:2:1: not JSON: Expecting value"),
        (b'[\n"\xe4"]', "a.jsonl: byte 4 is not UTF-8"),
    ],
)
def test_broken_json_over_several_lines_is_one_error_with_its_place(write, content, expected):
    with pytest.raises(DataError) as caught:
        list(read_file(write(content), "jsonl"))
    assert str(caught.value).endswith(expected)


def test_a_first_line_that_is_cut_is_one_bad_row_among_lines(write):
    bad, good = read_file(write('{"a":\n{"a": 1}\n'), "jsonl")
    assert isinstance(bad, BadRow)
    assert (good.number, good.values) == (2, {"a": 1})


@pytest.mark.parametrize("orient", ["columns", "index", "split", "table"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_table_of_pandas_is_one_error(tmp_path, orient, indent):
    frame = pandas.DataFrame({"instruction": list("abc"), "output": list("xyz")}, index=[3, 5, 7])
    frame.to_json(tmp_path / "a.json", orient=orient, indent=indent)
    with pytest.raises(DataError, match=r"a\.json:1: a table of pandas' `to_json`, not a row; .*orient='records'"):
        list(read_file(tmp_path / "a.json", "json"))
    frame.to_json(tmp_path / "a.json", orient="records", indent=indent)
    assert values(tmp_path / "a.json", "json") == frame.to_dict("records")


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "text"])
def test_a_file_that_is_not_utf_8_is_one_error_with_the_fix(write, name, kind):
    with pytest.raises(DataError, match=r"not UTF-8; save it as UTF-8: iconv -f UTF-(16|32) -t UTF-8"):
        list(read_file(write('{"a": "é"}\n'.encode(name)), kind))


def test_nan_is_a_missing_value_in_every_kind_of_file(tmp_path):
    frame = pandas.DataFrame({"a": [numpy.nan, 1.5], "b": ["x", numpy.nan]})
    frame.to_csv(tmp_path / "a.csv", index=False, na_rep="NaN")
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"a": NaN, "b": "x"}\n{"a": 1.5, "b": NaN, "c": [NaN, {"d": NaN}]}\n')
    assert values(tmp_path / "a.csv", "csv") == [{"a": None, "b": "x"}, {"a": "1.5", "b": None}]
    assert values(tmp_path / "a.parquet", "parquet") == [{"b": "x"}, {"a": 1.5}]
    floats = pyarrow.table({"a": pyarrow.array([float("nan"), 1.0])})
    pyarrow.parquet.write_table(floats, tmp_path / "b.parquet")
    assert values(tmp_path / "b.parquet", "parquet") == [{"a": None}, {"a": 1.0}]
    rows = [{"a": None, "b": "x"}, {"a": 1.5, "b": None, "c": [None, {"d": None}]}]
    assert values(tmp_path / "a.jsonl", "jsonl") == rows


def test_a_null_of_the_author_stays_in_json_and_one_that_arrow_adds_is_no_key(write, tmp_path):
    rows = [
        {"tools": [{"name": "f", "enum": [None, "a"], "default": None}, {"name": "g", "args": {"x": 1}}], "note": "n"},
        {"tools": [{"name": "h", "args": {"y": {"z": 2}}}]},
    ]
    lines = write("\n".join(map(json.dumps, rows)))
    assert values(lines, "jsonl") == rows
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    del rows[0]["tools"][0]["default"]  # nothing tells this null from those that pad
    assert values(tmp_path / "a.parquet", "parquet") == rows


def test_maps_and_json_columns_of_arrow_are_mappings_with_their_own_nulls(tmp_path):
    schema = pyarrow.map_(pyarrow.string(), pyarrow.struct([("x", pyarrow.int64()), ("y", pyarrow.int64())]))
    maps = pyarrow.array([[("k", {"x": 1, "y": None}), ("none", None)], None], schema)
    texts = pyarrow.array(['[{"a": null}, 1]', None], pyarrow.json_())
    pyarrow.parquet.write_table(pyarrow.table({"map": maps, "json": texts}), tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet", "parquet") == [
        {"map": {"k": {"x": 1}, "none": None}, "json": [{"a": None}, 1]},
        {},
    ]


def test_binary_is_text_or_a_bad_row(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"a": [b"Q\xc3\xa9", b"\xff\xfe"]}), tmp_path / "a.parquet")
    text, bad = read_file(tmp_path / "a.parquet", "parquet")
    assert text.values == {"a": "Qé"}
    assert bad[1:] == (2, "column a: 2 bytes that are not UTF-8 text; remove the column")


def test_a_table_whose_columns_have_one_name_is_refused(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table([[1], [2]], ["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: column a stands twice in the table"):
        list(read_file(tmp_path / "a.parquet", "parquet"))


def test_text_of_a_table_that_is_not_utf_8_is_one_error(tmp_path):
    buffers = [None, pyarrow.array([0, 2], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"\xff\xfe")]
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers)
    pyarrow.parquet.write_table(pyarrow.table({"a": broken}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: a text in rows 1 to 1 is not UTF-8"):
        list(read_file(tmp_path / "a.parquet", "parquet"))


@pytest.mark.parametrize("text", ['{"a": ', '{"a": \n', "{\n", '{"a": 1', "\n {"])
def test_a_single_line_that_ends_early_is_a_bad_row(tmp_path, text):
    (tmp_path / "rows.jsonl").write_text(text)
    (row,) = read_file(tmp_path / "rows.jsonl", "jsonl")
    assert "not JSON" in row.reason
