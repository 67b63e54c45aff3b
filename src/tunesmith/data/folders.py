"""The data files of a folder, each in its split, found as the `datasets` library finds them."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from tunesmith.data.data_files import SUFFIXES, kind_suffix
from tunesmith.data.download import download
from tunesmith.errors import DataError
from tunesmith.log import note
from tunesmith.sections import Dataset

_SHARD = re.compile(r"data/(.+)-\d{5}-of-\d{5}.*\..*")
"""A file as `push_to_hub` names it, with its split."""
OUTPUT_FILES = {"state.json", "config.json", "adapter_config.json", "run.json"}
"""Files that prepared data, a model or a run has in its folder."""
_NAMED = 8
"""Files that a message names."""


def find_files(folder: Path, dataset: Dataset, split: str) -> list[Path]:
    """Return the files of a split in their order: those of `data_files`, of README.md's `configs`, or by their names.

    Raises:
        DataError: there are none.
    """
    if isinstance(dataset.data_files, (str, list)):  # whatever the split is: it has no other files
        return match_files(folder, dataset.data_files) or _raise_no_file(folder, dataset.data_files)
    if dataset.data_files:
        splits = _matching_splits(folder, dataset.data_files)
        return splits.get(split) or _raise_no_split(folder, split, splits, [])
    folder, patterns = _card_files(folder, dataset.name)
    every_file = _data_files(folder)
    splits = _matching_splits(folder, patterns) if patterns else _split_by_name(every_file, folder)
    files = splits.get(split) or splits.get(_standard_split(split))
    if not files and not patterns:
        files = _files_by_word(every_file, split, splits)
    if not files:
        return _raise_no_split(folder, split, splits, every_file)
    if dataset.split is None and (unread := [file for file in every_file if file not in files]):
        _note_unread(f"{dataset.path}: not read: {_shown(unread, splits, folder)}")
    return files


def _matching_splits(folder: Path, patterns: Mapping[str, str | list[str]]) -> dict[str, list[Path]]:
    splits = {name: match_files(folder, names) for name, names in patterns.items()}
    return splits if any(splits.values()) else _raise_no_file(folder, patterns)


def _raise_no_file(folder: Path, patterns: Any) -> NoReturn:
    raise DataError(f"`datasets.path: {folder}` holds no {patterns} file")


def _raise_no_split(folder: Path, split: str, splits: Mapping[str, list[Path]], files: Sequence[Path]) -> NoReturn:
    names = _shown(sorted({*files, *chain(*splits.values())}), splits, folder)
    raise DataError(f"{folder} has no file of `split: {split}`; it has {names}. Set `split` or `data_files`")


def match_files(folder: Path, patterns: str | Sequence[str]) -> list[Path]:
    """Return the files that match, in the order of the patterns; an address on the web is downloaded."""
    files: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if re.match("https?://", pattern):
            files.append(download(pattern))
        else:
            files += [folder / name for name in sorted(glob(pattern, root_dir=folder, recursive=True))]
    return [file for file in dict.fromkeys(files) if file.is_file()]


def _data_files(folder: Path) -> list[Path]:
    """Return the files below a folder that have a known kind, without those that only describe a dataset.

    Left out are hidden folders, and those of a model, a run or prepared data, which may be beside the data.
    """
    from datasets.data_files import FILES_TO_IGNORE

    names = [Path(name) for name in sorted(glob("**/*", root_dir=folder, recursive=True))]
    ignored = _folders_without_data(names)
    known = [name for name in names if kind_suffix(name) in SUFFIXES and name.name not in FILES_TO_IGNORE]
    files = [folder / name for name in known if ignored.isdisjoint(name.parents) and (folder / name).is_file()]
    files = [file for file in files if kind_suffix(file) != ".txt"] or files  # a readme beside the data is no data
    return files or _raise_no_file(folder, "/".join(SUFFIXES))


def _folders_without_data(names: Sequence[Path]) -> set[Path]:
    outputs = {name.parent for name in names if name.name in OUTPUT_FILES and name.parent != Path()}
    return outputs | {parent for name in names for parent in name.parents if parent.name.startswith("__")}


def _card_files(folder: Path, name: Any) -> tuple[Path, dict[str, Any] | None]:
    """Return the folder and the patterns of each split in one of README.md's `configs`, if there are any."""
    card = folder / "README.md"
    if not card.is_file():
        return folder, None
    from datasets.data_files import sanitize_patterns
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard
    from yaml import YAMLError

    try:
        configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(card, ignore_metadata_errors=True).data)
        if not configs:
            return folder, None
        config = configs.get(name or configs.get_default_config_name() or "")
    except (ValueError, TypeError, AttributeError, YAMLError) as error:
        raise DataError(f"{card}: its `configs` cannot be read: {' '.join(str(error).split())}") from None
    if config is None:
        raise DataError(f"{card} has no config {name or 'by default'}; set `name` to one of {', '.join(configs)}")
    patterns = config.get("data_files")
    return folder / (config.get("data_dir") or ""), patterns and sanitize_patterns(patterns)


def _split_by_name(files: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Return split -> its files, by the words in the names of the folders, or else of the files."""
    from datasets.data_files import NON_WORDS_CHARS, SPLIT_KEYWORDS

    names = {file: file.relative_to(folder) for file in files}
    shards: dict[str, list[Path]] = {}
    for file, name in names.items():
        if match := _SHARD.fullmatch(name.as_posix()):
            shards.setdefault(match[1], []).append(file)
    words = {
        str(split): re.compile(f"(^|[{NON_WORDS_CHARS}])({'|'.join(keywords)})([{NON_WORDS_CHARS}]|$)", re.IGNORECASE)
        for split, keywords in SPLIT_KEYWORDS.items()
    }
    by_folder = _splits_with_word(words, {file: name.parent.parts for file, name in names.items()})
    by_name = _splits_with_word(words, {file: (file.name,) for file in files})
    return shards or by_folder or by_name or {"train": list(files)}


def _splits_with_word(
    words: Mapping[str, re.Pattern[str]], parts: Mapping[Path, Sequence[str]]
) -> dict[str, list[Path]]:
    """Return split -> the files that have one of its words in a part of their path."""
    splits = {split: [file for file in parts if any(map(word.search, parts[file]))] for split, word in words.items()}
    return {split: files for split, files in splits.items() if files}


def _standard_split(name: str) -> str:
    """Return the split that another word stands for: validation for dev."""
    from datasets.data_files import SPLIT_KEYWORDS

    return next((str(split) for split, keywords in SPLIT_KEYWORDS.items() if name in keywords), name)


def _files_by_word(files: Sequence[Path], split: str, splits: Mapping[str, list[Path]]) -> list[Path]:
    """Return the files for a split that is not among the common ones: the rest for train, or those with its name."""
    if split == "train":
        others = set(chain(*splits.values()))
        return [file for file in files if file not in others]
    return [file for file in files if split in re.split("[^A-Za-z]+", file.stem)]


def _shown(files: Sequence[Path], splits: Mapping[str, list[Path]], folder: Path) -> str:
    labels = {file: f" ({split})" for split, members in splits.items() for file in members}
    names = [f"{os.path.relpath(file, folder)}{labels.get(file, '')}" for file in files[:_NAMED]]
    return ", ".join(names + ([f"{len(files) - _NAMED} more"] if len(files) > _NAMED else []))


@cache
def _note_unread(message: str) -> None:
    """Print a note once, however often the files are looked up."""
    note(message)
