"""The files of a generation: rows, rows turned down, and a record by which a file that a person edited is known."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from tunesmith.errors import RunError
from tunesmith.log import note


class Output:
    """Rows as they come. Until the end, and after a SIGKILL, the files have `.part` behind their names."""

    def __init__(self, file: Path) -> None:
        self.file, self.rejected = file, file.with_suffix(".rejected.jsonl")
        self.record = file.with_suffix(".record.json")
        self.rows = self.turned_down = 0
        self._streams: dict[Path, TextIO] = {}
        for name in (self.file, self.rejected):
            self._streams[name] = _part(name).open("w", encoding="utf-8")

    def take(self, values: dict[str, Any]) -> None:
        """Write a row."""
        self.rows += 1
        self._write(self.file, values)

    def turn_down(self, values: dict[str, Any]) -> None:
        """Write a row that is not taken."""
        self.turned_down += 1
        self._write(self.rejected, values)

    def _write(self, file: Path, values: dict[str, Any]) -> None:
        self._streams[file].write(json.dumps(values, ensure_ascii=False) + "\n")
        self._streams[file].flush()

    def finish(self, *, whole: bool) -> None:
        """Give the files their names; a run that ended early takes nothing from what an earlier one has made."""
        for stream in self._streams.values():
            stream.close()
        if not whole and self.rows < _count(self.file):
            note(f"{self.file} has more rows than this run made before it ended, and stays as it is")
            return
        if not whole:
            note(f"{self.rows:,} rows so far: {self.file}")
        known = [_hash(file) for file in (self.file, _part(self.file)) if file.exists()]  # a kill may come between
        _part(self.record).write_text(json.dumps({"written": known}), encoding="utf-8")
        for file in (self.record, self.file, self.rejected):
            os.replace(_part(file), file)


@contextmanager
def open_output(name: str) -> Iterator[Output]:
    """Open the files of a run; they are finished however it ends, unless nothing was made.

    Raises:
        RunError: another run writes them, or the file was edited since one has.
    """
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{file}.lock", timeout=0):
            _require_own(file)
            output = Output(file)
            whole = False
            try:
                yield output
                whole = True
            finally:
                if output.rows or output.turned_down:
                    output.finish(whole=whole)
    except Timeout:
        raise RunError(f"another process writes {file}; wait for it, or set `generate.output`") from None


def _require_own(file: Path) -> None:
    """Raise an error if the file that is there is not as a run has left it."""
    record = file.with_suffix(".record.json")
    known = json.loads(record.read_text(encoding="utf-8"))["written"] if record.exists() else []
    if file.exists() and _hash(file) not in known:
        raise RunError(f"{file} is not as `generate` wrote it; move it away, or set `generate.output` to another file")


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _hash(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def _count(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
