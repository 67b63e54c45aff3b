"""Reads the rows of a dataset: JSONL, JSON, CSV, text (all also as .gz), Parquet, Arrow, a saved `datasets` folder, the
Hub, or a URL.

Every row carries its file and line. A line that cannot be read becomes a `BadRow`; it does not end the reading.
"""

import csv
import difflib
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import glob
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from tunesmith import hub
from tunesmith.data.download import download
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError
from tunesmith.references import resolve_file
from tunesmith.sections import Dataset

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

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_URL = re.compile(r"(\w+)://")


def read_rows(dataset: Dataset, source: str) -> Iterator[Row | BadRow]:
    """Yield the rows of `dataset`, whose relative paths are as seen from here or from beside the config `source`.

    Raises:
        DataError: nothing is found at the path, or it is of an unknown kind.
    """
    found = locate(dataset, source)

    def every_row() -> Iterator[Row | BadRow]:
        if isinstance(found, list):
            return (row for file in found for row in READERS[_kind(file, dataset)](file))
        return _from_dataset(str(dataset.path), found)

    part = _split(dataset)[1]
    rows = islice(every_row(), *_bounds(part, every_row)) if part else every_row()
    if dataset.shards is not None:
        rows = (row for index, row in enumerate(rows) if index % dataset.shards == dataset.shards_idx)
    return islice(rows, dataset.skip, None) if dataset.skip else rows


def _split(dataset: Dataset) -> tuple[str, str]:
    """Return the name of the split, and what stands in brackets after it: train and :5% for train[:5%]."""
    name, _, part = (dataset.split or "train").partition("[")
    return name, part.removesuffix("]")


def _bounds(part: str, every_row: Callable[[], Iterator[Any]]) -> tuple[int, int | None]:
    """Return the first row of a part such as `:5%`, and the row after its last; counts the rows only if it must."""
    first, colon, last = part.partition(":")
    try:
        if not colon:
            raise ValueError
        total = sum(1 for _ in every_row()) if "%" in part or "-" in part else None
        start, stop = (_row_number(end, total or 0) for end in (first, last))
    except ValueError:
        raise DataError(f"`split: ...[{part}]`: expected rows such as [:5%], [100:200] or [-50:]") from None
    if total is None:
        return start or 0, stop
    return slice(start, stop).indices(total)[:2]


def _row_number(text: str, total: int) -> int | None:
    if not text:
        return None
    return round(float(text[:-1]) * total / 100) if text.endswith("%") else int(text)


def digest(dataset: Dataset, source: str) -> str:
    """Return a hash of the bytes of the dataset's files; of a Hub dataset, those of its cache, or a stream's name."""
    found = locate(dataset, source)
    total = hashlib.blake2b(digest_size=16)
    if is_stream(dataset) and not isinstance(found, list):  # nothing of it is here: its name has to do
        total.update(repr((dataset.path, dataset.name, dataset.split, dataset.revision, dataset.data_files)).encode())
        return total.hexdigest()
    files = found if isinstance(found, list) else [Path(item["filename"]) for item in found.cache_files]
    for file in files:
        with file.open("rb") as stream:
            total.update(_file_digest(stream))
    return total.hexdigest()


def _file_digest(stream: BinaryIO) -> bytes:
    """`hashlib.file_digest` is new in Python 3.11."""
    total = hashlib.blake2b()
    while block := stream.read(2**20):
        total.update(block)
    return total.digest()


def locate(dataset: Dataset, source: str) -> Any:
    """Return the files of `dataset` as a list of paths, or a loaded `datasets.Dataset`.

    Raises:
        DataError: nothing is found.
    """
    if url := _URL.match(dataset.path):
        if url[1] not in ("https", "http"):
            raise DataError(
                f"`datasets.path: {dataset.path}`: {url[0]} is not read; copy the files here, and set `path` to them"
            )
        return [download(dataset.path)]
    path = Path(resolve_file(dataset.path, source))
    if dataset.path in READERS and dataset.data_files and not path.exists():  # `path: json`, as `datasets` has it
        here = any(glob(pattern, recursive=True) for pattern in _patterns(dataset))
        return _files_in(Path() if here else Path(source).parent, dataset)
    if path.is_file():
        return [path]
    if path.is_dir():
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            return _saved_dataset(path, dataset)
        return _files_in(path, dataset)
    if kind_suffix(path) in SUFFIXES or not _HUB_NAME.fullmatch(dataset.path):
        raise DataError(f"`datasets.path: {dataset.path}`: no such file or folder{_near(path)}")
    return _hub_dataset(dataset)


def is_stream(dataset: Dataset) -> bool:
    """Return whether a dataset is read only as far as the run needs it, of the Hub without downloading it whole."""
    return bool(dataset.streaming) or dataset.kind == "pretrain"


def check_token(dataset: Dataset, source: str) -> None:
    """Raise a DataError if a dataset is of the Hub and there is no token for it."""
    from huggingface_hub import get_token

    local = _URL.match(dataset.path) or Path(resolve_file(dataset.path, source)).exists() or dataset.path in READERS
    if not local and get_token() is None:
        raise DataError(
            f"`hf_use_auth_token: true`, but there is no token for `datasets.path: {dataset.path}`; "
            "run `hf auth login`, or set HF_TOKEN"
        )


def _near(path: Path) -> str:
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean `{path.parent / close[0]}`?" if close else f" (looked in {path.parent.resolve()})"


def _files_in(folder: Path, dataset: Dataset) -> list[Path]:
    if dataset.data_files is None:
        files = sorted(item for item in folder.iterdir() if kind_suffix(item) in SUFFIXES)
        files = [item for item in files if kind_suffix(item) != ".txt"] or files  # a readme beside the data is no data
        files = _of_split(files, _split(dataset)[0], folder)
    else:
        matches = [sorted(glob(pattern, root_dir=folder, recursive=True)) for pattern in _patterns(dataset)]
        files = [folder / name for names in matches for name in names if (folder / name).is_file()]
    if not files:
        raise DataError(f"`datasets.path: {folder}` holds no {dataset.data_files or '/'.join(SUFFIXES)} file")
    return files


def _patterns(dataset: Dataset) -> list[str]:
    return [dataset.data_files] if isinstance(dataset.data_files, str) else dataset.data_files or []


def _of_split(files: list[Path], split: str, folder: Path) -> list[Path]:
    """Return the files that have the split in their name; all of them for train, where none has."""
    named = [file for file in files if split in re.split("[^A-Za-z]+", file.stem)]
    if not named and files and split != "train":
        raise DataError(f"{folder} has no file of `split: {split}`; it has {', '.join(file.name for file in files)}")
    return named or files


def _saved_dataset(folder: Path, dataset: Dataset) -> Any:
    """Load what `save_to_disk` wrote; of several splits, `split` or train."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not what `save_to_disk` writes: {str(error).splitlines()[0]}") from None
    if isinstance(loaded, datasets.DatasetDict):
        split = _split(dataset)[0]
        if split not in loaded:
            raise DataError(f"{folder} has no split `{split}`; set `split` to one of {', '.join(loaded)}")
        return loaded[split]
    return loaded


def _hub_dataset(dataset: Dataset) -> Any:
    import datasets

    cached = Path(datasets.config.HF_DATASETS_CACHE) / dataset.path.replace("/", "___")
    if not hub.is_reachable() and not cached.exists():
        raise DataError(
            f"`datasets.path: {dataset.path}` is no file or folder here, nor in the cache of the Hub, "
            "and the Hub cannot be reached"
        )
    try:
        return datasets.load_dataset(
            dataset.path,
            dataset.name,
            split=_split(dataset)[0],
            revision=dataset.revision,
            data_files=dataset.data_files,
            streaming=is_stream(dataset),
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"`datasets.path: {dataset.path}` is no file or folder here, and as a dataset it {hub.why_not(error)}"
        ) from error


def _kind(file: Path, dataset: Dataset) -> str:
    kind = dataset.ds_type or SUFFIXES.get(kind_suffix(file)) or (dataset.path if dataset.path in READERS else None)
    if kind is None:
        raise DataError(f"{file}: unknown kind of file; set `ds_type` to one of {', '.join(READERS)}")
    return kind


def kind_suffix(file: Path) -> str:
    """Return the suffix that tells the kind of a file: .jsonl for rows.jsonl and rows.jsonl.gz."""
    return (file.with_suffix("") if file.suffix == ".gz" else file).suffix


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """Open a file to read bytes, those that are packed where it is a .gz."""
    if file.suffix != ".gz":
        with file.open("rb") as plain:
            yield plain
        return
    try:
        with gzip.open(file) as packed:
            yield cast(BinaryIO, packed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: not a whole gzip file: {error}") from None


def _json_lines(file: Path) -> Iterator[Row | BadRow]:
    with _opened(file) as stream:
        for number, line in enumerate(stream, 1):
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
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # an emoji that was cut in two, which no tokenizer takes
        return BadRow(str(file), number, f"half of a character: {error.object[error.start]!r}")
    return Row(str(file), number, values)


def _json(file: Path) -> Iterator[Row | BadRow]:
    """A .json file holds a list of objects; many in the wild hold JSON lines."""
    with _opened(file) as stream:
        first = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first != b"[":
        yield from _json_lines(file)
        return
    try:
        with _opened(file) as stream:
            rows = json.loads(stream.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from None
    for number, values in enumerate(rows, 1):
        yield _json_object(file, number, values)


def _csv(file: Path) -> Iterator[Row | BadRow]:
    with _opened(file) as packed, TextIOWrapper(packed, "utf-8-sig", "surrogateescape", "") as stream:
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


def _csv_row(file: Path, number: int, values: dict[Any, Any]) -> Row | BadRow:
    if None in values:
        return BadRow(str(file), number, f"more fields than the {len(values) - 1} columns of the header")
    if missing := [key for key, value in values.items() if value is None]:
        return BadRow(str(file), number, f"no field for column {', '.join(missing)}")
    if any("\udc80" <= letter <= "\udcff" for value in values.values() for letter in value):
        return BadRow(str(file), number, "not UTF-8")
    return Row(str(file), number, values)


def _text(file: Path) -> Iterator[Row | BadRow]:
    """A row a line, in the column `text`; blank lines are no rows."""
    with _opened(file) as stream:
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
        batches = pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1000)
        yield from _from_batches(file, batches)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file}: not Parquet: {str(error).strip()}") from None


def _arrow(file: Path) -> Iterator[Row | BadRow]:
    """An Arrow file comes in two layouts, a stream or a random access file."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as memory:
        try:
            reader = pyarrow.ipc.open_stream(memory)
            yield from _from_batches(file, iter(reader))
            return
        except (pyarrow.ArrowException, OSError):
            memory.seek(0)
        try:
            indexed = pyarrow.ipc.open_file(memory)
            yield from _from_batches(file, (indexed.get_batch(index) for index in range(indexed.num_record_batches)))
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{file}: not Arrow: {error}") from None


def _from_batches(file: Path, batches: Iterator[Any]) -> Iterator[Row | BadRow]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield Row(str(file), number, values)


def _from_dataset(name: str, dataset: Any) -> Iterator[Row | BadRow]:
    for number, values in enumerate(dataset, 1):
        yield Row(name, number, values)


READERS = {"jsonl": _json_lines, "json": _json, "csv": _csv, "parquet": _parquet, "arrow": _arrow, "text": _text}
"""Kind of file -> its reader."""
