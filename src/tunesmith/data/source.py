"""Reads the rows of a dataset: files of one of the kinds in `READERS`, a folder of them, a folder that `datasets`
saved, a name on the Hub, or a URL. Each row has its file and line.
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Iterator
from glob import glob, has_magic
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith import hub
from tunesmith.data.data_files import ARCHIVES, SUFFIXES, UNPACK, file_digest, file_version, kind_suffix
from tunesmith.data.download import download
from tunesmith.data.folders import find_files, match_files
from tunesmith.data.plain import plain_row
from tunesmith.data.readers import READERS, read_file, table_rows
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError
from tunesmith.references import resolve_file
from tunesmith.sections import Dataset

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
            return (row for file in found for row in read_file(file, _kind(file, dataset)))
        return _dataset_rows(str(dataset.path), found)

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
    return version(dataset, source)[0]


def version(dataset: Dataset, source: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the digest of a dataset, and the size and time of its files, by which one that was restored is known."""
    found = locate(dataset, source)
    total = hashlib.blake2b(digest_size=16)
    if isinstance(found, list):
        versions = [file_version(file) for file in found]
    elif is_stream(dataset):  # nothing of it is here: its name has to do
        total.update(repr((dataset.path, dataset.name, dataset.split, dataset.revision, dataset.data_files)).encode())
        return total.hexdigest(), []
    else:
        found, versions = [Path(item["filename"]) for item in found.cache_files], []
    for file in found:
        total.update(file_digest(file))
    return total.hexdigest(), versions


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
        return find_files(_base_folder(dataset.data_files, source), dataset, _split(dataset)[0])
    if path.is_file():
        return [path]
    if path.is_dir():
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            return _saved_dataset(path, dataset)
        return find_files(path, dataset, _split(dataset)[0])
    if has_magic(dataset.path):
        if files := match_files(_base_folder(dataset.path, source), dataset.path):
            return files
        raise DataError(f"`datasets.path: {dataset.path}`: no file matches (looked here and beside {source})")
    if kind_suffix(path) in SUFFIXES or not _HUB_NAME.fullmatch(dataset.path):
        raise DataError(f"`datasets.path: {dataset.path}`: no such file or folder{_near(path)}")
    return _hub_dataset(dataset)


def _base_folder(patterns: Any, source: str) -> Path:
    """Return the working folder if a pattern of `data_files` matches there, else that of the config."""
    groups = patterns.values() if isinstance(patterns, dict) else [patterns]
    names = [name for group in groups for name in ([group] if isinstance(group, str) else group)]
    return Path() if any(glob(name, recursive=True) for name in names) else Path(source).parent


def is_stream(dataset: Dataset) -> bool:
    """Return whether a dataset is read only as far as the run needs it, of the Hub without downloading it whole."""
    return bool(dataset.streaming) or dataset.kind == "pretrain"


def check_token(dataset: Dataset, source: str) -> None:
    """Raise a DataError if a dataset is of the Hub and there is no token for it."""
    from huggingface_hub import get_token

    local = _URL.match(dataset.path) or has_magic(dataset.path) or dataset.path in READERS
    if not (local or Path(resolve_file(dataset.path, source)).exists()) and get_token() is None:
        raise DataError(
            f"`hf_use_auth_token: true`, but there is no token for `datasets.path: {dataset.path}`; "
            "run `hf auth login`, or set HF_TOKEN"
        )


def _near(path: Path) -> str:
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean `{path.parent / close[0]}`?" if close else f" (looked in {path.parent.resolve()})"


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
        if ARCHIVES & {file.suffix, kind_suffix(file)}:
            raise DataError(
                f"{file}: of packed files, {' '.join(UNPACK)} are read; unpack it and set `path` to what it holds"
            )
        raise DataError(f"{file}: unknown kind of file; set `ds_type` to one of {', '.join(READERS)}")
    if kind in ("parquet", "arrow") and file.suffix in UNPACK:
        raise DataError(f"{file}: a {kind} file is read unpacked only: unpack it")
    return kind


def _dataset_rows(name: str, dataset: Any) -> Iterator[Row | BadRow]:
    """Yield the rows of a `datasets.Dataset` or a stream of one, as those of an Arrow file."""
    return map(plain_row, table_rows(name, dataset.with_format("arrow").iter(batch_size=1000)))
