"""Conversations that are written as text without a chat template: what their types share."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.messages import message_list, role_text
from tunesmith.data.row_access import track_messages
from tunesmith.data.types import Segment
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


def items_of(values: dict[str, Any], dataset: Dataset, column: str = "conversations") -> list[Any]:
    """Return the list of messages in `field_messages`, or in `column` if that is not set."""
    column = dataset.field_messages or column
    return track_messages(values, column, message_list(values, dataset.model_copy(update={"field_messages": column})))


def text_of(number: int, item: Any, role_key: str, text_key: str) -> tuple[str, str]:
    """Return role and text of a message; null is an empty text.

    Raises:
        DataError: it has none.
    """
    if not isinstance(item, dict) or item.get(role_key) is None or text_key not in item:
        keys = ", ".join(map(str, item)) if isinstance(item, dict) else repr(item)[:60]
        raise DataError(f"message {number} should hold {role_key} and {text_key}; found {keys}")
    text = "" if item[text_key] is None else item[text_key]
    if not isinstance(text, str):
        raise DataError(f"message {number}: {text_key} should be text; found {text!r:.60}")
    return role_text(number, item[role_key]), text


def answer(header: str, rest: str, *, inputs: bool, ends: int) -> Segment:
    """Return a trained answer; its header is trained too with `inputs`."""
    return Segment(header + rest, True, header="" if inputs else header.rstrip(), eos_count=ends)


def require_training(segments: Sequence[Segment], answers: Sequence[str], *, inputs: bool) -> None:
    """Raise a DataError if nothing is trained, or only empty answers are."""
    if not any(segment.train for segment in segments):
        raise DataError("no turn is trained: the conversation has no answer of the model, or all have weight 0")
    if answers and not any(text.strip() for text in answers) and not inputs:
        raise DataError("every answer is empty: there is nothing to train")
