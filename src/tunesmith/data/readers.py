"""Readers of data files, one for each kind: JSON, CSV, text, Parquet and Arrow; each row has its file and line.

A line that cannot be read becomes a `BadRow`; it does not end the reading.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any

from tunesmith.data.data_files import changed, file_version, open_file, require_content
from tunesmith.data.plain import plain_row, struct_converter
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError

_MARK = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8."""
_SPACE = re.compile(r"\s*")
PANDAS_LAYOUTS = ({"columns", "index", "data"}, {"schema", "data"})
"""Keys of the tables that pandas' `to_json` writes with orient='split' and orient='table'."""
CSV_NAN = ("nan", "NaN")
"""What pandas and numpy write for a missing number."""


def read_file(file: Path, kind: str) -> Iterator[Row | BadRow]:
    """Yield the rows of a file, with plain values.

    Raises:
        DataError: it is broken, or it changed while it was read.
    """
    before = file_version(file)
    require_content(file)
    try:
        yield from map(plain_row, READERS[kind](file))
    except DataError:
        if file_version(file) != before:  # it only seems broken, because it is being written
            raise changed(file) from None
        raise
    if file_version(file) != before:
        raise changed(file)


def _json(file: Path) -> Iterator[Row | BadRow]:
    """Read JSON as `datasets` does, whatever the suffix: an object a line, a list, or objects over several lines."""
    with open_file(file) as stream:
        head = []
        for line in stream:
            head.append(line)
            if line.removeprefix(_MARK).strip():
                break
        first = b"".join(head).removeprefix(_MARK).strip()
        if not (first.startswith(b"[") or _is_incomplete(first)):
            yield from _json_lines(file, chain(head, stream))
            return
        content = b"".join(head) + stream.read()
    rows = _json_values(file, content)
    yield from _json_lines(file, content.split(b"\n")) if rows is None else rows


def _is_incomplete(line: bytes) -> bool:
    """Return whether a line is the start of JSON that goes on in the next one."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc)
    except (ValueError, RecursionError):
        pass
    return False


def _is_json(line: str) -> bool:
    """Return whether a line is an object by itself."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _json_values(file: Path, content: bytes) -> list[Row | BadRow] | None:
    """Return the rows of a JSON list, or of objects over several lines; None if an object a line is meant.

    Raises:
        DataError: it is no JSON.
    """
    decoder = json.JSONDecoder()
    values: list[tuple[int, Any]] = []
    try:
        text = content.decode("utf-8-sig")
        end, number = 0, 1
        while (start := _SPACE.match(text, end).end()) < len(text):  # type: ignore[union-attr]  # it matches nothing too
            number += text.count("\n", end, start)
            value, end = decoder.raw_decode(text, start)
            values.append((number, value))
            number += text.count("\n", start, end)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        _, _, rest = text.strip().partition("\n")
        is_one_line = not rest and text.lstrip().startswith("{")
        if not values and (is_one_line or _is_json(rest.split("\n", 1)[0])):
            return None
        raise DataError(f"{file}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from None
    if len(values) == 1 and isinstance(values[0][1], list):
        values = list(enumerate(values[0][1], 1))
    return [_json_object(file, number, value) for number, value in values]


def _json_lines(file: Path, lines: Iterable[bytes]) -> Iterator[Row | BadRow]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _json_row(file, number, line)


def _json_row(file: Path, number: int, line: bytes) -> Row | BadRow:
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return BadRow(str(file), number, f"byte {error.start + 1} of the line is not UTF-8")
    except json.JSONDecodeError as error:
        return BadRow(str(file), number, f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or a thousand brackets
        return BadRow(str(file), number, f"not JSON: {error}")
    return _json_object(file, number, values)


def _json_object(file: Path, number: int, values: Any) -> Row | BadRow:
    if not isinstance(values, dict):
        return BadRow(str(file), number, f"expected an object with columns, found {type(values).__name__}")
    if _is_pandas_table(values):
        raise DataError(
            f"{file}:{number}: a table of pandas' `to_json`, not a row; write it with to_json(..., orient='records')"
        )
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # an emoji that was cut in two, which no tokenizer takes
        return BadRow(str(file), number, f"an unpaired surrogate, which UTF-8 lacks: {error.object[error.start]!r}")
    return Row(str(file), number, values)


def _is_pandas_table(values: dict[str, Any]) -> bool:
    """Return whether an object holds columns or rows by their number, or is a table in another layout of pandas."""
    columns = values.values()
    if values and all(isinstance(column, dict) and column for column in columns):
        return _are_numbers(values) or all(_are_numbers(column) for column in columns)
    return values.keys() in PANDAS_LAYOUTS


def _are_numbers(keys: Iterable[str]) -> bool:
    return all(key.isdecimal() for key in keys)


def _csv(file: Path) -> Iterator[Row | BadRow]:
    with open_file(file) as packed:
        stream = TextIOWrapper(packed, "utf-8-sig", "surrogateescape", "")
        csv.field_size_limit(2**31 - 1)
        reader = csv.DictReader(stream, strict=True)
        try:
            names = reader.fieldnames or []
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise DataError(f"{file}:1: column {', '.join(twice)} stands twice in the header")
            if len(names) == 1 and (mark := next((mark for mark in ";\t|" if mark in names[0]), "")):
                raise DataError(f"{file}:1: one column, {names[0]!r}: fields must be parted by commas, not by {mark!r}")
            for values in reader:
                yield _csv_row(file, reader.line_num, values)
        except csv.Error as error:
            raise DataError(f"{file}:{reader.line_num + 1}: not CSV: {error}; is a quote left open?") from None
        stream.detach()  # the end of the stream would close the file


def _csv_row(file: Path, number: int, values: dict[Any, Any]) -> Row | BadRow:
    if None in values:
        return BadRow(str(file), number, f"more fields than the {len(values) - 1} columns of the header")
    if missing := [key for key, value in values.items() if value is None]:
        return BadRow(str(file), number, f"no field for column {', '.join(missing)}")
    if any("\udc80" <= letter <= "\udcff" for value in values.values() for letter in value):
        return BadRow(str(file), number, "not UTF-8")
    return Row(str(file), number, {key: None if value in CSV_NAN else value for key, value in values.items()})


def _text(file: Path) -> Iterator[Row | BadRow]:
    """A row a line, in the column `text`; blank lines are no rows."""
    with open_file(file) as stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                yield BadRow(str(file), number, f"byte {error.start + 1} of the line is not UTF-8")
                continue
            if text.strip():
                yield Row(str(file), number, {"text": text})


def _parquet(file: Path) -> Iterator[Row | BadRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        yield from table_rows(str(file), pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1000))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file}: not Parquet: {str(error).strip()}") from None


def _arrow(file: Path) -> Iterator[Row | BadRow]:
    """An Arrow file comes in two layouts, a stream or a random access file."""
    import pyarrow

    with pyarrow.OSFile(str(file)) as source:  # a memory map of a file that is cut meanwhile would end the process
        try:
            yield from table_rows(str(file), iter(pyarrow.ipc.open_stream(source)))
            return
        except (pyarrow.ArrowException, OSError):
            source.seek(0)
        try:
            indexed = pyarrow.ipc.open_file(source)
            batches = (indexed.get_batch(index) for index in range(indexed.num_record_batches))
            yield from table_rows(str(file), batches)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{file}: not Arrow: {error}") from None


def table_rows(name: str, tables: Iterable[Any]) -> Iterator[Row | BadRow]:
    """Yield the rows of Arrow tables or batches without the columns that are null.

    Raises:
        DataError: a text is not UTF-8, or two columns have one name.
    """
    number = 0
    for table in tables:
        columns = table.schema.names
        if twice := [column for column in dict.fromkeys(columns) if columns.count(column) > 1]:
            raise DataError(f"{name}: column {', '.join(twice)} stands twice in the table")
        convert = struct_converter(table.schema)
        try:
            rows = table.to_pylist()
        except UnicodeDecodeError:
            raise DataError(f"{name}: a text in rows {number + 1} to {number + table.num_rows} is not UTF-8") from None
        for values in rows:
            number += 1
            yield Row(name, number, convert(values))


READERS = {"jsonl": _json, "json": _json, "csv": _csv, "parquet": _parquet, "arrow": _arrow, "text": _text}
"""Kind of file -> its reader."""
