"""Files: written atomically (a hidden temporary file, fsync, rename), appended to, locked and hashed.

A file that Tunesmith writes is complete or not there: a killed process, a full disk or an error leaves the old content.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from tunesmith.errors import RunError


@contextmanager
def write_files() -> Iterator[Callable[[Path], IO[Any]]]:
    """Yield a function that opens a text file to write; the opened files appear together at the end.

    After an error none of them appears. A file that is opened twice is one stream. An unpaired surrogate, which UTF-8
    lacks, is written as an escape.
    """
    streams: dict[Path, IO[Any]] = {}
    temporaries: dict[Path, Path] = {}

    def open_file(file: Path) -> IO[Any]:
        if file not in streams:
            temporaries[file] = _temporary_path(file)
            streams[file] = temporaries[file].open("w", encoding="utf-8", errors="backslashreplace", newline="")
        return streams[file]

    try:
        yield open_file
        for stream in streams.values():
            _finish(stream)
        for file, temporary in temporaries.items():
            _move_into_place(temporary, file)
    finally:
        for stream in streams.values():
            with suppress(OSError):  # closing writes what is buffered, and the disk may still be full
                stream.close()
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write a text file. A device or a pipe, such as /dev/stdout, is written directly."""
    if file.parent == Path("/dev") or (file.exists() and not file.is_file()):
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
        return
    with write_files() as open_file:
        open_file(file).write(text)


@contextmanager
def write_binary(file: Path) -> Iterator[IO[bytes]]:
    """Yield a stream of bytes; `file` appears at the end, or keeps its old content after an error."""
    temporary = _temporary_path(file)
    try:
        with temporary.open("wb") as stream:
            yield stream
            _finish(stream)
        _move_into_place(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(file: Path, value: Any, *, indent: int | None = 1) -> None:
    """Write a value as JSON; what JSON lacks, such as a date, as text."""
    write_text(file, json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def write_json_lines(file: Path, values: Iterator[Any] | list[Any]) -> None:
    """Write one JSON value a line."""
    with write_files() as open_file:
        open_file(file).writelines(map(json_line, values))


def json_line(value: Any) -> str:
    """Return a value as a line of JSON; what JSON lacks, such as a date, as text."""
    return json.dumps(value, ensure_ascii=False, default=str) + "\n"


def append_json_line(file: Path, value: Any) -> None:
    """Append a value as a line of JSON, which other processes can read when this returns."""
    with file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(json_line(value))


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden empty folder beside `folder`; it gets that name at the end and replaces what was there."""
    temporary = _temporary_path(folder)
    replaced = temporary.with_name(f"{temporary.stem}-old.part")
    folder = folder.resolve()
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
    finally:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        for path in (temporary, replaced):
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def hold_lock(file: Path, busy: str = "") -> Iterator[None]:
    """Hold a lock file. The operating system drops the lock of a process that dies, so a stale file never blocks.

    Args:
        file: the lock file; it stays there.
        busy: message of the error if another process holds the lock; without it, wait.

    Raises:
        RunError: another process holds the lock.
    """
    lock = FileLock(file, timeout=0 if busy else -1)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(busy) from None
    try:
        yield
    finally:
        lock.release()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(file: Path, algorithm: str = "sha256") -> bytes:
    """Return the content hash of a file; `hashlib.file_digest` is new in Python 3.11."""
    total = hashlib.new(algorithm)
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            total.update(block)
    return total.digest()


def _temporary_path(path: Path) -> Path:
    """Return a hidden path in the same folder, after removing those that killed processes left there.

    Of a symbolic link it is in the folder of its target, so that the link stays a link.
    """
    target = path.resolve()
    for leftover in target.parent.glob(f".{escape(target.name)}.*.part"):
        owner = leftover.name.removesuffix(".part").rpartition(".")[2].partition("-")[0]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    return target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.part")


def _is_running(process: int) -> bool:
    from psutil import pid_exists  # `os.kill(process, 0)` ends the process on Windows

    return bool(pid_exists(process))


def _finish(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())
    stream.close()


def _move_into_place(temporary: Path, file: Path) -> None:
    if file.exists():
        shutil.copymode(file, temporary)
    temporary.replace(file.resolve())
