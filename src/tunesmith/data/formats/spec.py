"""What a format may know besides the row, and how it reads a column."""

from dataclasses import dataclass
from typing import Any

from tunesmith.config.sections import Dataset
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.errors import DataError


@dataclass(frozen=True)
class FormatSpec:
    """The settings of one dataset: its section, and the chat template where its format uses one."""

    dataset: Dataset
    train_on_inputs: bool = False
    template: ChatTemplate | None = None


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
