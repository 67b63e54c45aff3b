"""The files of `generate`: accepted rows, rejected rows, and a record that shows whether a person edited the file."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tunesmith.errors import RunError
from tunesmith.files import hash_file, hold_lock
from tunesmith.log import note


class Output:
    """Writes rows as they come. Until the end, and after a SIGKILL, the names of the files end in `.part`."""

    def __init__(self, file: Path) -> None:
        self.file, self.rejected = file, file.with_suffix(".rejected.jsonl")
        self.record = file.with_suffix(".record.json")
        self.num_rows = self.num_rejected = 0
        self._streams: dict[Path, TextIO] = {}
        for name in (self.file, self.rejected):
            self._streams[name] = _part(name).open("w", encoding="utf-8")

    def accept(self, values: dict[str, Any]) -> None:
        """Write an accepted row."""
        self.num_rows += 1
        self._write(self.file, values)

    def reject(self, values: dict[str, Any]) -> None:
        """Write a rejected row."""
        self.num_rejected += 1
        self._write(self.rejected, values)

    def _write(self, file: Path, values: dict[str, Any]) -> None:
        self._streams[file].write(json.dumps(values, ensure_ascii=False) + "\n")
        self._streams[file].flush()

    def finish(self, *, complete: bool) -> None:
        """Rename the files; an incomplete run never replaces a file with more rows."""
        for stream in self._streams.values():
            stream.close()
        if not complete and self.num_rows < _count_lines(self.file):
            note(f"{self.file} has more rows than this run made before it stopped, and stays as it is")
            return
        if not complete:
            note(f"{self.num_rows:,} rows so far: {self.file}")
        hashes = [
            hash_file(file).hex() for file in (self.file, _part(self.file)) if file.exists()
        ]  # a kill may come between
        _part(self.record).write_text(json.dumps({"written": hashes}), encoding="utf-8")
        for file in (self.record, self.file, self.rejected):
            os.replace(_part(file), file)


@contextmanager
def open_output(name: str) -> Iterator[Output]:
    """Open the files of a run. They are renamed however it ends, unless it made no row.

    Raises:
        RunError: another run writes them, or the file was edited after a run.
    """
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    busy = f"another process writes {file}; wait for it, or set `generate.output`"
    with hold_lock(file.with_name(f"{file.name}.lock"), busy):
        _require_unedited(file)
        output = Output(file)
        complete = False
        try:
            yield output
            complete = True
        finally:
            if output.num_rows or output.num_rejected:
                output.finish(complete=complete)


def _require_unedited(file: Path) -> None:
    """Raise an error if the file is not as a run wrote it."""
    record = file.with_suffix(".record.json")
    written_hashes = json.loads(record.read_text(encoding="utf-8"))["written"] if record.exists() else []
    if file.exists() and hash_file(file).hex() not in written_hashes:
        raise RunError(f"{file} is not as `generate` wrote it; move it away, or set `generate.output` to another file")


def _part(file: Path) -> Path:
    return file.with_name(f"{file.name}.part")


def _count_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0
