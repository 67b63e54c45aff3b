"""Rows from files of every kind, each with its file and line, and what cannot be read."""

import functools
import gzip
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from tunesmith import hub
from tunesmith.data.data_files import file_version
from tunesmith.data.download import download
from tunesmith.data.source import check_token, digest, read_rows
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

TABLE = pyarrow.table({"a": [1, 2], "b": ["x", None]})
TABLE_ROWS = [{"a": 1, "b": "x"}, {"a": 2}]


def read(path, **keys):
    return list(read_rows(Dataset(path=str(path), type="completion", **keys), "config.yml"))


def values(path, **keys):
    rows = read(path, **keys)
    assert all(isinstance(row, Row) for row in rows)
    return [row.values for row in rows]


def fault(path, **keys) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **keys)
    return str(caught.value).replace(str(path.parent) + "/", "")


@pytest.fixture
def file(tmp_path):
    """`file(name, content)` writes bytes or text and returns the path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_jsonl_rows_carry_their_file_and_line(file):
    path = file("a.jsonl", '{"a": 1}\n\n   \n{"a": "é"}')
    assert read(path) == [Row(str(path), 1, {"a": 1}), Row(str(path), 4, {"a": "é"})]


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(file):
    assert values(file("a.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n')) == [{"a": 1}, {"a": 2}]
    assert values(file("a.json", b'\xef\xbb\xbf\r\n [{"a": 1}]')) == [{"a": 1}]
    assert values(file("a.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n")) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": "\xe4"}', "byte 8 of the line is not UTF-8"),
        (b'{"a":', "not JSON: Expecting value at column 1"),
        (b'{"a": 1} {"a": 2}', "not JSON: Extra data at column 10"),
        (b"[1, 2]", "expected an object with columns, found list"),
        (b"3", "expected an object with columns, found int"),
        (b'"words"', "expected an object with columns, found str"),
        (b"null", "expected an object with columns, found NoneType"),
        (b'{"a": "\\ud83d"}', "an unpaired surrogate, which UTF-8 lacks: '\\ud83d'"),
    ],
)
def test_a_broken_line_is_a_bad_row_and_the_reading_goes_on(file, line, reason):
    path = file("a.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    first, bad, last = read(path)
    assert (first.number, last.number) == (1, 3)
    assert bad == BadRow(str(path), 2, reason)


@pytest.mark.parametrize("line", ['{"a": ' + "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_a_line_that_the_json_module_gives_up_on_is_a_bad_row(file, line):
    (bad,) = read(file("a.jsonl", line))
    assert bad.reason.startswith("not JSON: ")


def test_both_halves_of_an_escaped_character_make_one(file):
    assert values(file("a.jsonl", r'{"a": "\ud83d\ude00"}')) == [{"a": "😀"}]


def test_json_holds_a_list_or_lines(file):
    rows = [{"a": 1}, {"a": [2, {"b": None}]}]
    assert values(file("list.json", json.dumps(rows, indent=2))) == rows
    assert values(file("lines.json", "\n".join(map(json.dumps, rows)))) == rows
    assert values(file("empty.json", "[]")) == values(file("nothing.json", "")) == []


def test_an_entry_of_a_json_list_that_is_no_object_is_a_bad_row(file):
    path = file("a.json", '[{"a": 1}, 2]')
    assert read(path)[1] == BadRow(str(path), 2, "expected an object with columns, found int")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"a": 1},\n', "a.json:2:1: not JSON: Expecting value"),
        (b'[{"a": "\xe4"}]', "a.json: byte 9 is not UTF-8"),
        ("[" * 100_000, "a.json: not JSON: maximum recursion depth exceeded"),
    ],
)
def test_a_broken_json_list_ends_with_its_place(file, content, expected):
    assert fault(file("a.json", content)).startswith(expected)


def test_csv_rows_are_text_and_may_span_lines(file):
    path = file("a.csv", 'a,b\n1,"two\nlines"\n\n"say ""hi""",\n')
    assert [row.values for row in read(path)] == [{"a": "1", "b": "two\nlines"}, {"a": 'say "hi"', "b": ""}]


def test_a_csv_row_with_too_few_or_too_many_fields_is_bad(file):
    path = file("a.csv", b"a,b,c\n1\n1,2,3,4\n1,2,\xe4\n1,2,3\n")
    assert read(path) == [
        BadRow(str(path), 2, "no field for column b, c"),
        BadRow(str(path), 3, "more fields than the 3 columns of the header"),
        BadRow(str(path), 4, "not UTF-8"),
        Row(str(path), 5, {"a": "1", "b": "2", "c": "3"}),
    ]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_file_with_another_separator_says_so(file, mark):
    said = fault(file("a.csv", f"question{mark}answer\n1{mark}2\n"))
    assert said == f"a.csv:1: one column, {f'question{mark}answer'!r}: fields must be parted by commas, not by {mark!r}"


def test_a_csv_field_may_be_long(file):
    assert values(file("a.csv", "a\n" + "x" * 200_000 + "\n")) == [{"a": "x" * 200_000}]


def test_a_csv_file_that_cannot_be_told_apart_is_refused(file):
    assert fault(file("a.csv", "a,b,a\n1,2,3\n")) == "a.csv:1: column a stands twice in the header"
    open_quote = fault(file("a.csv", 'a,b\n1,2\n1,"open\n2,3\n'))
    assert open_quote == "a.csv:3: not CSV: unexpected end of data; is a quote left open?"


def test_parquet_is_read(tmp_path):
    pyarrow.parquet.write_table(TABLE, tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == TABLE_ROWS


@pytest.mark.parametrize("layout", [pyarrow.ipc.new_stream, pyarrow.ipc.new_file])
def test_both_layouts_of_arrow_are_read(tmp_path, layout):
    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, layout(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=1)
    assert values(tmp_path / "a.arrow") == TABLE_ROWS
    assert [row.number for row in read(tmp_path / "a.arrow")] == [1, 2]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("content", [b"", b"junk", b"junk" * 50])
def test_a_broken_table_is_named(file, kind, content):
    assert fault(file(f"a.{kind}", content)).startswith(f"a.{kind}: not {kind.title()}: ")


def test_a_parquet_file_that_is_cut_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(TABLE, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[len(content) // 2 + 8 :])
    assert fault(path).startswith("a.parquet: not Parquet: ")


def test_what_save_to_disk_wrote_is_read(tmp_path):
    datasets.disable_progress_bars()
    datasets.Dataset(TABLE).save_to_disk(str(tmp_path / "one"))
    splits = {"train": datasets.Dataset(TABLE), "test": datasets.Dataset(TABLE.slice(1))}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "dict"))
    assert values(tmp_path / "one") == values(tmp_path / "dict") == TABLE_ROWS
    assert values(tmp_path / "dict", split="test") == TABLE_ROWS[1:]
    assert fault(tmp_path / "dict", split="nope") == "dict has no split `nope`; set `split` to one of train, test"


def test_a_saved_folder_that_is_broken_is_named(file):
    assert "is not what `save_to_disk` writes" in fault(file("saved/state.json", "{").parent)


def test_a_missing_file_gets_the_nearest_name(file, tmp_path):
    file("train.jsonl", "{}")
    assert "no such file or folder; did you mean" in fault(tmp_path / "trian.jsonl")
    assert fault(tmp_path / "trian.jsonl").endswith("train.jsonl`?")
    assert fault(tmp_path / "none/train.jsonl").endswith(f"(looked in {tmp_path}/none)")


def test_ds_type_says_what_a_strange_name_holds(file):
    path = file("a.rows", '{"a": 1}\n')
    assert values(path, ds_type="jsonl") == [{"a": 1}]
    assert fault(path) == "a.rows: unknown kind of file; set `ds_type` to one of jsonl, json, csv, parquet, arrow, text"


def test_shards_take_every_nth_row_and_miss_none(file):
    path = file("a.jsonl", "".join(f'{{"a": {n}}}\n' for n in range(10)))
    parts = [read(path, shards=3, shards_idx=index) for index in range(3)]
    assert [row.number for row in parts[1]] == [2, 5, 8]
    assert sorted(row.number for part in parts for row in part) == list(range(1, 11))


def test_the_digest_follows_the_bytes_and_not_the_name(file):
    one, same, other = file("a.jsonl", "{}\n"), file("b.jsonl", "{}\n"), file("c.jsonl", "{} \n")
    a, b, c = (digest(Dataset(path=str(path), type="completion"), "config.yml") for path in (one, same, other))
    assert a == b != c


def test_text_gives_a_row_a_line(file):
    path = file("a.txt", b"\xef\xbb\xbfone\r\n\n  two\nbroken \xff\n")
    first, second, bad = read(path)
    assert (first.number, first.values, second.number, second.values) == (1, {"text": "one"}, 3, {"text": "  two"})
    assert bad == BadRow(str(path), 4, "byte 8 of the line is not UTF-8")
    assert values(file("a.md", "one\n"), ds_type="text") == [{"text": "one"}]


def test_a_readme_beside_the_data_is_no_data(file, tmp_path):
    file("a.jsonl", '{"a": 1}\n')
    readme = file("readme.txt", "This is data.\n")
    assert values(tmp_path) == [{"a": 1}]
    (tmp_path / "a.jsonl").unlink()
    assert values(tmp_path) == values(readme)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", range(10)),
        ("train[:3]", range(3)),
        ("train[4:6]", [4, 5]),
        ("train[8:]", [8, 9]),
        ("train[:20%]", [0, 1]),
        ("train[30%:60%]", [3, 4, 5]),
        ("train[-2:]", [8, 9]),
        ("train[:-8]", [0, 1]),
        ("train[5:100]", range(5, 10)),
    ],
)
def test_a_split_may_be_a_part_of_the_rows(file, tmp_path, split, expected):
    path = file("a.jsonl", "".join(f'{{"a": {n}}}\n' for n in range(10)))
    rows = read(path, split=split)
    assert [row.values["a"] for row in rows] == list(expected)
    assert [row.number for row in rows] == [n + 1 for n in expected]
    datasets.Dataset.from_list([{"a": n} for n in range(10)]).save_to_disk(str(tmp_path / "saved"))
    assert [row["a"] for row in values(tmp_path / "saved", split=split)] == list(expected)
    asked = datasets.load_dataset("json", data_files=str(path), split=split, cache_dir=str(tmp_path / "cache"))
    assert asked["a"] == list(expected)


@pytest.mark.parametrize("split", ["train[5]", "train[a:b]", "train[:5%%]"])
def test_a_part_that_cannot_be_read_is_refused(file, split):
    assert "expected rows such as [:5%], [100:200] or [-50:]" in fault(file("a.jsonl", '{"a": 1}\n'), split=split)


class EncodedHandler(SimpleHTTPRequestHandler):
    """Serves files, and calls those below `encoded/` gzip by `Content-Encoding`, as storage for the web does."""

    def end_headers(self):
        if self.path.startswith("/encoded/"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()


def test_a_file_may_lie_on_a_web_server(file, tmp_path, monkeypatch):
    file("a.jsonl", "".join(f'{{"a": {n}}}\n' for n in range(4)))
    file("a.csv", "a,b\n1,x\n")
    (tmp_path / "encoded").mkdir()
    for name in ("a.jsonl", "a.jsonl.gz"):
        (tmp_path / "encoded" / name).write_bytes(gzip.compress(b'{"a": 1}\n'))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "cache"))
    handler = functools.partial(EncodedHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert values(f"{address}/a.jsonl", split="train[:50%]") == [{"a": 0}, {"a": 1}]
        assert values(f"{address}/a.csv?raw=true") == [{"a": "1", "b": "x"}]
        assert read(f"{address}/a.jsonl")[3].file.endswith("/a.jsonl")
        assert values(f"{address}/encoded/a.jsonl") == values(f"{address}/encoded/a.jsonl.gz") == [{"a": 1}]
        first = download(f"{address}/a.jsonl")
        before = file_version(first)
        assert file_version(download.__wrapped__(f"{address}/a.jsonl")) == before  # others may be reading it
        file("a.jsonl", '{"a": 7}\n')
        assert download.__wrapped__(f"{address}/a.jsonl").read_text() == '{"a": 7}\n'
        assert [path.name for path in first.parent.iterdir()] == ["a.jsonl"]
        with pytest.raises(DataError, match=r"`datasets.path: http.*/b.jsonl` could not be downloaded: "):
            read(f"{address}/b.jsonl")
        server.shutdown()


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_the_storage_of_a_cloud_is_refused(scheme):
    with pytest.raises(DataError, match=rf"{scheme}:// is not read; copy the files here, and set `path` to them"):
        read(f"{scheme}://bucket/a.jsonl")


def test_a_token_is_asked_for_only_where_one_is_needed(file, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    check_token(Dataset(path=str(file("a.jsonl", ""))), "config.yml")
    with pytest.raises(DataError, match=r"no token for `datasets.path: a/b`; run `hf auth login`, or set HF_TOKEN"):
        check_token(Dataset(path="a/b"), "config.yml")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    check_token(Dataset(path="a/b"), "config.yml")


def test_the_keys_of_a_dataset_of_the_hub_reach_the_library(monkeypatch):
    """Rows of such a dataset are in test_hub_dataset.py; it has one revision and no configurations."""
    asked = []

    def load_dataset(*names, **options):
        asked.append((*names, options))
        return datasets.Dataset.from_list([{"a": 1}])

    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert values("a/b", name="english", revision="old", split="test", data_files="x*", streaming=True) == [{"a": 1}]
    options = {"revision": "old", "split": "test", "data_files": "x*", "streaming": True}
    assert asked == [("a/b", "english", options)]
    values("a/b")
    assert asked[1] == (
        "a/b",
        None,
        {"revision": None, "split": "train", "data_files": None, "streaming": False},
    )
