"""Human labels: good or bad with a reason, in a CSV file."""

import csv
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

from tunesmith.errors import ConfigError, DataError
from tunesmith.evals.items import Item, read_texts
from tunesmith.files import write_files

COLUMNS = ("id", "question", "answer", "label", "why")
Key = tuple[str, ...]


class Label(NamedTuple):
    """A human label of an answer.

    Attributes:
        id, question, answer: the answer. A file may name it by its id, or by question and answer.
        label: good, bad, or empty.
        why: the reason; may be empty.
        more: other columns of the file, which are written again.
    """

    id: str
    question: str
    answer: str
    label: str
    why: str = ""
    more: Mapping[str, str] = MappingProxyType({})

    @property
    def key(self) -> Key:
        """Question and answer, or the id of a label that has only that."""
        return (self.question, self.answer) if self.question or self.answer else (self.id,)


def read_labels(file: Path) -> dict[Key, Label]:
    """Return the labels of a file by key.

    Raises:
        DataError: it is missing, lacks a column, or has another label.
    """
    labels: dict[Key, Label] = {}
    for location, texts in read_texts(str(file)):
        if "label" not in texts or not ("id" in texts or {"question", "answer"} <= texts.keys()):
            raise DataError(
                f"{location}: expected the columns label, and id or question and answer; found {', '.join(texts)}"
            )
        mark = texts["label"].strip().lower()
        if mark not in ("good", "bad", ""):
            raise DataError(f"{location}: `label` is good or bad, found {texts['label']!r}")
        more = {column: text for column, text in texts.items() if column not in COLUMNS}
        name, question, answer, why = (texts.get(column, "") for column in ("id", "question", "answer", "why"))
        label = Label(name, question, answer, mark, why, more)
        earlier = labels.get(label.key)
        if earlier and mark and earlier.label not in ("", mark):
            raise DataError(
                f"{location}: the same answer is labelled {earlier.label} before, and {mark} here; use only one"
            )
        if mark or not earlier:
            labels[label.key] = label
    return labels


class LabelFile:
    """The file while a person labels: each change is on disk before `put` returns. Usable from any thread."""

    def __init__(self, file: Path) -> None:
        """Read the existing labels.

        Raises:
            ConfigError: the name does not end in .csv.
            DataError: the file has no valid labels.
        """
        if file.suffix != ".csv":
            raise ConfigError(f"{file}: labels are written as CSV; name a file that ends in .csv")
        self.file = file
        self._lock = Lock()
        self._labels = read_labels(file) if file.exists() and file.stat().st_size else {}

    def of(self, item: Item) -> Label:
        """Return the label of an answer; may be empty."""
        content = Label(item.id, item.question, item.answer, "")
        return self._labels.get(content.key) or self._labels.get((item.id,)) or content

    def put(self, item: Item, label: str, why: str) -> None:
        """Label an answer; an empty label removes its label."""
        with self._lock:
            changed = Label(item.id, item.question, item.answer, label, why, self.of(item).more)
            labels = {key: value for key, value in self._labels.items() if key != (item.id,)} | {changed.key: changed}
            self._write(labels)
            self._labels = labels

    def _write(self, labels: dict[Key, Label]) -> None:
        """Replace the file atomically."""
        columns = dict.fromkeys([*COLUMNS, *(column for label in labels.values() for column in label.more)])
        with write_files() as open_file:
            writer = csv.DictWriter(open_file(self.file), list(columns), restval="")
            writer.writeheader()
            writer.writerows({**dict(zip(COLUMNS, label, strict=False)), **label.more} for label in labels.values())
