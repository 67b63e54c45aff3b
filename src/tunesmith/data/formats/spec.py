"""What a format may know besides the row, and how it reads a column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError
from tunesmith.sections import Dataset, ModelSection

Mask = Literal["served", "axolotl"]


class Preferences(NamedTuple):
    """What rows of preference data need.

    Attributes:
        rl: kind of preference data: dpo, ipo, simpo, orpo or kto.
        model: names the chat template.
        source: the config's file, beside which templates are looked for.
        ends: texts that end an answer.
    """

    rl: str
    model: ModelSection
    source: str
    ends: tuple[str, ...]


@dataclass(frozen=True)
class FormatSpec:
    """The settings of one dataset.

    Attributes:
        dataset: its section.
        train_on_inputs: train prompts too.
        template: the chat template where its type uses one.
        mask: whose labels: what a server's model must emit, or Axolotl's, faults included.
        sequence_len: longest sample in tokens; only `mask: axolotl` cuts single parts of a row to it.
        eot_tokens: texts that end a turn besides the end token.
        default_system_message: system text of `sharegpt` layouts without one.
        tokenizer: the model's; only layouts whose labels hang on tokens use it.
        preferences: of preference data, what its rows need besides.
    """

    dataset: Dataset
    train_on_inputs: bool = False
    template: ChatTemplate | None = None
    mask: Mask = "served"
    sequence_len: int = 512
    eot_tokens: tuple[str, ...] | None = None
    default_system_message: str | None = None
    tokenizer: Tokenizer | None = None
    preferences: Preferences | None = None


Format = Callable[[dict[str, Any], FormatSpec], Sequence[Rendered | Example]]
"""A layout: a row's values and the settings -> texts with their trained spans, or tokens that are ready.

Most rows give one sample. Formats do not change the row."""


def text_column(values: dict[str, Any], column: str, key: str | None, dataset: Dataset) -> str:
    """Return the text in `column`; numbers are written out.

    Args:
        values: the row.
        column: name of the column.
        key: the config key that names the column, for the message.
        dataset: the dataset's section, for the message.

    Raises:
        DataError: the column is missing or holds no text.
    """
    if column not in values or values[column] is None:
        raise missing_column(values, column, key, dataset)
    value = values[column]
    if isinstance(value, (dict, list)):
        raise DataError(f"column {column} should hold text, found {type(value).__name__}")
    return str(value)


def missing_column(values: dict[str, Any], column: str, key: str | None, dataset: Dataset) -> DataError:
    """Return the error for a row that lacks `column`, with the setting that would point to another one."""
    filled = [name for name, value in values.items() if value is not None]
    free = [name for name in filled if name not in (dataset.field_instruction, dataset.field_input)]
    cure = f". Set {key}: {free[-1]}" if key and free else ""  # the last column is most often the answer
    return DataError(f"type {dataset.type} needs column {column}; found {', '.join(filled) or 'no columns'}{cure}")
