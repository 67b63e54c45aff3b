"""A person's labels: good or bad, and why, in a CSV file that a spreadsheet opens too."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

from tunesmith.errors import ConfigError, DataError
from tunesmith.evals.items import Item, read_texts

COLUMNS = ("id", "question", "answer", "label", "why")
Key = tuple[str, ...]


class Label(NamedTuple):
    """What a person says of an answer.

    Attributes:
        id, question, answer: the answer; a file may name it by its id, or by question and answer.
        label: good, bad, or empty.
        why: the reason, or empty.
        more: other columns of the file, which are kept.
    """

    id: str
    question: str
    answer: str
    label: str
    why: str = ""
    more: Mapping[str, str] = MappingProxyType({})

    @property
    def key(self) -> Key:
        """The text that was labelled: a label is not that of another answer to the same question."""
        return (self.question, self.answer) if self.question or self.answer else (self.id,)


def read_labels(file: Path) -> dict[Key, Label]:
    """Return the labels of a file by what they are of.

    Raises:
        DataError: it is missing, lacks a column, or holds another label.
    """
    found: dict[Key, Label] = {}
    for place, texts in read_texts(str(file)):
        if "label" not in texts or not ("id" in texts or {"question", "answer"} <= texts.keys()):
            raise DataError(
                f"{place}: expected the columns label, and id or question and answer; found {', '.join(texts)}"
            )
        word = texts["label"].strip().lower()
        if word not in ("good", "bad", ""):
            raise DataError(f"{place}: `label` is good or bad, found {texts['label']!r}")
        more = {column: text for column, text in texts.items() if column not in COLUMNS}
        name, question, answer, why = (texts.get(column, "") for column in ("id", "question", "answer", "why"))
        label = Label(name, question, answer, word, why, more)
        earlier = found.get(label.key)
        if earlier and word and earlier.label not in ("", word):
            raise DataError(f"{place}: the same answer is labelled {earlier.label} before, and {word} here; keep one")
        if word or not earlier:
            found[label.key] = label
    return found


class LabelFile:
    """The file while it is worked on: each change is on disk before `put` returns. To be used from any thread."""

    def __init__(self, file: Path) -> None:
        """Read what is there.

        Raises:
            ConfigError: it is no CSV file.
            DataError: it is no file of labels.
        """
        if file.suffix != ".csv":
            raise ConfigError(f"{file}: labels are written as CSV; name a file that ends in .csv")
        self.file = file
        self._lock = Lock()
        self._labels = read_labels(file) if file.exists() and file.stat().st_size else {}

    def of(self, item: Item) -> Label:
        """Return the label of an answer, which may be empty."""
        content = Label(item.id, item.question, item.answer, "")
        return self._labels.get(content.key) or self._labels.get((item.id,)) or content

    def put(self, item: Item, label: str, why: str) -> None:
        """Label an answer; an empty label takes its label back."""
        with self._lock:
            changed = Label(item.id, item.question, item.answer, label, why, self.of(item).more)
            labels = {key: value for key, value in self._labels.items() if key != (item.id,)} | {changed.key: changed}
            self._write(labels)
            self._labels = labels

    def _write(self, labels: dict[Key, Label]) -> None:
        """Write a file beside it and put that in its place, so that a kill leaves the old one or the new one."""
        columns = dict.fromkeys([*COLUMNS, *(column for label in labels.values() for column in label.more)])
        unfinished = self.file.with_name(f".{self.file.name}.unfinished")
        with unfinished.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(columns), restval="")
            writer.writeheader()
            writer.writerows({**dict(zip(COLUMNS, label, strict=False)), **label.more} for label in labels.values())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, self.file)
