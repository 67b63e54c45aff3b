"""Data files: their kinds, their bytes, unpacked, and whether they change while they are read."""

import bz2
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from tunesmith.errors import DataError

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
}
"""File suffix -> kind of file."""
ARCHIVES = {".tar", ".tgz", ".7z", ".rar", ".lz4"}
"""Suffixes of files that have to be unpacked."""
BLOCK = 2**20
"""Bytes read at once."""
BYTE_ORDER_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
LFS_POINTER = b"version https://git-lfs."


def kind_suffix(file: Path) -> str:
    """Return the suffix that tells the kind of a file: .jsonl for rows.jsonl and rows.jsonl.gz."""
    return (file.with_suffix("") if file.suffix in UNPACK else file).suffix


def file_digest(file: Path) -> bytes:
    """Return a hash of a file's bytes; `hashlib.file_digest` is new in Python 3.11."""
    with file.open("rb") as stream:
        return _digest(stream)


def _digest(stream: BinaryIO) -> bytes:
    total = hashlib.blake2b()
    while block := stream.read(BLOCK):
        total.update(block)
    return total.digest()


def file_version(file: Path) -> tuple[int, int]:
    """Return the size of a file and when it was written."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def changed(file: Path) -> DataError:
    """Return the error for a file that changed while it was read."""
    return DataError(f"{file} changed while it was read; run the command again when nothing writes to it")


class _HashedFile(io.RawIOBase):
    """A file that hashes the bytes that are read from it."""

    def __init__(self, file: io.FileIO) -> None:
        self.file, self.hash = file, hashlib.blake2b()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.file.readinto(buffer)
        self.hash.update(memoryview(buffer)[:count])
        return count


@contextmanager
def open_file(file: Path) -> Iterator[BinaryIO]:
    """Open a file to read all its bytes, unpacked by its suffix.

    Raises:
        DataError: it is broken, its text is not UTF-8, or it changed while it was read.
    """
    with file.open("rb", buffering=0) as raw:
        hashed = _HashedFile(raw)
        stream = io.BufferedReader(hashed, BLOCK)
        unpack = UNPACK.get(file.suffix)
        try:
            content = unpack(stream, file) if unpack else stream
            _require_utf8(file, content.peek(4)[:4])
            yield cast(BinaryIO, content)
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise DataError(f"{file}: not a whole {PACKED_NAMES.get(file.suffix, '')} file: {error}") from None
        while stream.read(BLOCK):  # what follows the end of the packed content
            pass
        if hashed.hash.digest() != file_digest(file):
            raise changed(file)


def _require_utf8(file: Path, head: bytes) -> None:
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), "")
    if encoding or b"\0" in head:
        text = f"{encoding} (byte order mark)" if encoding else "UTF-16 or binary (zero bytes)"
        raise DataError(f"{file} is {text}, not UTF-8; save it as UTF-8: iconv -f {encoding or 'UTF-16'} -t UTF-8")


def require_content(file: Path) -> None:
    """Raise a DataError for a file of a cloned repository that Git LFS has not downloaded."""
    with file.open("rb") as stream:
        if stream.read(len(LFS_POINTER)) == LFS_POINTER:
            raise DataError(f"{file} is a pointer of Git LFS, not the data; run `git lfs pull` in its folder")


def _open_zstd(stream: BinaryIO, file: Path) -> io.BufferedReader:
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(stream, "zstd"))


def _open_zip(stream: BinaryIO, file: Path) -> io.BufferedReader:
    """Open the only file of an archive."""
    archive = zipfile.ZipFile(file)
    names = [item for item in archive.namelist() if not item.endswith("/") and not item.startswith("__MACOSX/")]
    if len(names) != 1:
        raise DataError(f"{file} holds {len(names)} files; unpack it, and set `path` to the folder")
    return cast(io.BufferedReader, archive.open(names[0]))


UNPACK: dict[str, Callable[[Any, Path], Any]] = {
    ".gz": lambda stream, file: gzip.GzipFile(fileobj=stream),
    ".bz2": lambda stream, file: bz2.BZ2File(stream),
    ".xz": lambda stream, file: lzma.LZMAFile(stream),  # noqa: SIM115  the reader closes it
    ".zst": _open_zstd,
    ".zip": _open_zip,
}
"""Suffix of a packed file -> how it is opened."""
PACKED_NAMES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard", ".zip": "zip"}
