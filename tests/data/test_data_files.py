"""Packed data files, and files that change while they are read."""

import bz2
import gzip
import lzma
import os
import zipfile
from io import BytesIO

import pyarrow
import pyarrow.parquet
import pytest

from tunesmith.data.readers import read_file
from tunesmith.data.source import read_rows
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


def values(path, **keys):
    return [row.values for row in read_rows(Dataset(path=str(path), **keys), "config.yml")]


def fault(path, **keys) -> str:
    with pytest.raises(DataError) as caught:
        values(path, **keys)
    return str(caught.value)


def zipped(content, *names):
    sink = BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names or ("folder/", "folder/rows", "__MACOSX/rows"):
            archive.writestr(name, b"" if name.endswith("/") else content)
    return sink.getvalue()


PACK = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pyarrow.Codec("zstd").compress(content, asbytes=True),
    "zip": zipped,
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", b'{"a": "1"}\n{"a": "2"}'), ("a.json", b'[{"a": "1"},\n{"a": "2"}]'), ("a.csv", b"a\n1\n2\n")],
)
def test_a_packed_file_holds_the_rows_of_what_is_packed(tmp_path, suffix, name, content):
    packed = PACK[suffix](content)
    path = tmp_path / f"{name}.{suffix}"
    path.write_bytes(packed)
    assert values(path) == values(tmp_path) == [{"a": "1"}, {"a": "2"}]
    for broken in (packed[:-12], content):
        path.write_bytes(broken)
        assert f"{path}: not a whole " in fault(path)


def test_several_streams_in_one_packed_file_are_read_one_after_the_other(tmp_path):
    for suffix in ("gz", "bz2", "xz", "zst"):
        path = tmp_path / f"a.jsonl.{suffix}"
        path.write_bytes(PACK[suffix](b'{"a": 1}\n') + PACK[suffix](b'{"a": 2}\n'))
        assert values(path) == [{"a": 1}, {"a": 2}]


def test_what_has_to_be_unpacked_says_so(tmp_path):
    path = tmp_path / "a.jsonl.zip"
    path.write_bytes(zipped(b"{}", "a.jsonl", "b.jsonl"))
    assert fault(path) == f"{path} holds 2 files; unpack it, and set `path` to the folder"
    for name in ("a.tar.gz", "a.tgz", "a.7z"):
        (tmp_path / name).write_bytes(b"packed")
        assert "unpack it" in fault(tmp_path / name)
    (tmp_path / "a.parquet.gz").write_bytes(b"packed")
    assert fault(tmp_path / "a.parquet.gz").endswith("a parquet file is read unpacked only: unpack it")


def test_a_file_that_git_lfs_has_not_downloaded_says_so(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    assert fault(path) == f"{path} is a pointer of Git LFS, not the data; run `git lfs pull` in its folder"


LINES = b"".join(b'{"a": %7d}\n' % number for number in range(200_000))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content + content,
        lambda content: content.replace(b"199999", b"200000") if content == LINES else content[::-1],
    ],
    ids=["shorter", "longer", "other"],
)
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, suffix, change):
    path = tmp_path / f"a.jsonl{suffix}"
    content = gzip.compress(LINES, 0) if suffix else LINES
    path.write_bytes(content)
    rows = read_file(path, "jsonl")
    next(rows)
    path.write_bytes(change(content))
    with pytest.raises(DataError, match="changed while it was read; run the command again when nothing writes to it"):
        list(rows)


def test_a_file_that_is_restored_before_the_end_is_an_error_too(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    status = path.stat()
    rows = read_file(path, "jsonl")
    next(rows)
    path.write_bytes(LINES.replace(b"1", b"2"))
    for _ in range(150_000):
        next(rows)
    path.write_bytes(LINES)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DataError, match="changed while it was read"):
        list(rows)


@pytest.mark.parametrize("layout", ["parquet", "arrow"])
def test_a_table_that_is_cut_while_it_is_read_has_changed(tmp_path, layout):
    path = tmp_path / f"a.{layout}"
    table = pyarrow.table({"a": [str(number) for number in range(200_000)]})
    if layout == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=1000)
    else:
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
    rows = read_file(path, layout)
    next(rows)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match="changed while it was read"):
        list(rows)
