"""A first config for a data file, as commented YAML: by its columns and lengths, with usual values for the rest."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tunesmith.config.load import load_values
from tunesmith.config.yaml_source import flow
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.detect import SAMPLE, detected, merged, usual_columns
from tunesmith.data.formats.preference import STYLES
from tunesmith.data.formats.specs import format_specs
from tunesmith.data.samples import EncodedRow, encoded_rows
from tunesmith.data.source import read_rows
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow, Row
from tunesmith.data.unread import unread_line
from tunesmith.errors import ConfigError, DataError
from tunesmith.log import note
from tunesmith.sections import Dataset

Length = tuple[int, str]
"""A `sequence_len`, and why."""
LONGEST = {"laptop": 1024, "gpu": 4096, "multi-gpu": 8192}
"""Hardware -> the longest sequences that memory is expected to hold."""
MEASURED = 1000
"""Rows that are tokenized to choose `sequence_len`."""
COUNTED = 100_000
"""Rows that are counted."""


class Look(NamedTuple):
    """What was seen of the data.

    Attributes:
        path: where it is.
        rows: rows that can be read.
        columns: those of the first row.
        entry: what an entry of `datasets` says about it, but for its path.
        rl: kind of preference data.
    """

    path: str
    rows: int
    columns: list[str]
    entry: dict[str, Any]
    rl: str | None

    def __str__(self) -> str:
        kind = self.entry.get("type", "TRL's columns")
        more = f", rl: {self.rl}" if self.rl else ""
        least = "at least " if self.rows == COUNTED else ""
        return f"{self.path}: {least}{self.rows:,} rows, columns {', '.join(self.columns)}: type {kind}{more}"


class Answers(NamedTuple):
    """What the user wants."""

    model: str
    data: Look
    hardware: str
    adapter: str
    output: Path


def look_at(path: str) -> Look:
    """Return what the rows of a file, folder or Hub dataset are.

    Raises:
        DataError: there is nothing, or no row can be read.
        ConfigError: no type is known for its columns.
    """
    items = read_rows(Dataset(path=path), "")
    sample = list(islice(items, SAMPLE))
    good = [row for row in sample if isinstance(row, Row)]
    if not sample:
        raise DataError(f"{path} holds no rows")
    if not good:
        first = sample[0]
        assert isinstance(first, BadRow)
        raise DataError(f"{path}: no row can be read; {first.file}:{first.number}: {first.reason}")
    rows = len(good) + sum(isinstance(row, Row) for row in islice(items, COUNTED - len(sample)))
    values = merged(good)
    columns = list(values)
    filled_columns = {name for name, value in values.items() if value is not None}
    for rl, preference_columns in (("dpo", {"chosen", "rejected"}), ("kto", {"prompt", "completion", "label"})):
        if preference_columns <= filled_columns:
            return Look(path, rows, columns, _preference_entry(values, rl), rl)
    try:
        return Look(path, rows, columns, detected(values), None)
    except ConfigError:
        raise ConfigError(_unknown(path, columns)) from None


def _preference_entry(values: Mapping[str, Any], rl: str) -> dict[str, Any]:
    """Return the type of preference rows: messages go through the template, a prompt of text needs a layout."""
    answer = values["chosen" if rl == "dpo" else "completion"]
    if rl == "dpo" and isinstance(values.get("messages"), list):
        return {"type": "chat_template.default"}
    if rl == "dpo" and isinstance(answer, list) and not isinstance(values.get("prompt"), list):
        return {"type": "chat_template.argilla_chat"}
    if isinstance(answer, str) and any(isinstance(values.get(name), str) for name in STYLES["dpo"]["default"].prompt):
        return {"type": "chatml.default" if rl == "dpo" else "chatml.prompt_pairs"}
    return {}


def _unknown(path: str, columns: Sequence[str]) -> str:
    types = "; ".join(f"{columns} ({name})" for columns, name in usual_columns())
    question, answer = [*columns, "question", "answer"][:2] if len(columns) > 1 else ("question", "answer")
    return (
        f"{path}: no type is known for the columns {', '.join(columns)}. Known are {types}; prompt + chosen + rejected "
        "(rl: dpo). Rename the columns, or take `tunesmith examples show alpaca` and describe them in its entry of "
        f'datasets: `type: {{field_instruction: {question}, field_output: {answer}, format: "{{instruction}}\\n"}}`'
    )


def measure(answers: Answers, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of the first samples, in ascending order.

    Raises:
        DataError: no row becomes tokens.
    """
    values = yaml.safe_load(draft(answers, (10**6, ""), tokenizer))
    values["datasets"][0]["path"] = answers.data.path  # as seen from here; the file's folder may not be there yet
    config = load_values(values, str(answers.output), {})
    specs = format_specs(config.data.datasets, config.data, config.model, tokenizer, config.source)
    sizes, reasons = [], []
    unread: Counter[str] = Counter()
    for batch in encoded_rows(specs[0], tokenizer, MEASURED):
        for item in batch:
            unread.update(item.unread if isinstance(item, EncodedRow) else ())
            for result in [item.reason] if isinstance(item, BadRow) else item.examples:
                source_row = item.row if isinstance(item, EncodedRow) else item
                if isinstance(result, str):
                    reasons.append(f"{source_row.file}:{source_row.number}: {result}")
                else:
                    sizes += [max(len(part.input_ids) for part in example.documents) for example in result]
    if not sizes:
        raise DataError(f"no row can be trained on; {reasons[0]}")
    if unread:
        note(f"{answers.data.path}: {unread_line(unread)}")
    if reasons:
        note(f"{answers.data.path}: {len(reasons)} samples of the first rows cannot be trained on; {reasons[0]}")
    return sorted(sizes)


def fitting(sizes: Sequence[int], answers: Answers) -> Length:
    """Return a `sequence_len` for samples of these sizes: a power of two that holds all, or nearly all."""
    limit = LONGEST[answers.hardware]
    if not sizes:
        return (min(2048, limit), "not measured, the tokenizer is not on this machine")
    longest, most = sizes[-1], sizes[int(0.95 * (len(sizes) - 1))]
    length = next(size for size in (2**power for power in range(8, 40)) if size >= min(longest, limit))
    kind = answers.data.entry.get("type")
    if kind in FORMATS and FORMATS[kind].splits:
        return (length, f"the longest text has {longest} tokens; a longer one than this is cut into pieces")
    length = max(length, 2 ** (most - 1).bit_length())
    if length >= longest:
        return (length, f"the longest row has {longest} tokens")
    num_dropped = sum(size > length for size in sizes)
    return (length, f"the longest row has {longest} tokens; {num_dropped} of {len(sizes)} are longer and dropped")


def draft(answers: Answers, length: Length, tokenizer: Tokenizer | None) -> str:
    """Return the YAML of a config, as `config.jinja` has it."""
    from jinja2 import Environment

    path = answers.data.path
    local = Path(path).exists() and not Path(path).is_absolute()
    text = files("tunesmith.planning").joinpath("config.jinja").read_text(encoding="utf-8")
    return (
        Environment(trim_blocks=True, keep_trailing_newline=True)
        .from_string(text)
        .render(
            {**answers._asdict(), **answers.data._asdict()},
            path=Path(os.path.relpath(path, answers.output.parent)).as_posix() if local else path,
            local=local,
            length=length,
            tokenizer=tokenizer,
            yaml=flow,
        )
    )
