"""Conversations that are laid out as text without a chat template: what their types share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tunesmith.data.formats.messages import message_list
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


class Message(NamedTuple):
    """A message of a conversation.

    Attributes:
        name: who speaks: human, gpt, system, or another role by its own name.
        text: what is said.
        speaker: 0 for the user, 1 for the model, None for others.
        weight: 0 leaves an answer untrained.
        written: name to write in place of the layout's.
    """

    name: str
    text: str
    speaker: int | None = None
    weight: float = 1
    written: str = ""


class Conversation(NamedTuple):
    """A type: how its rows are read, and how a conversation is laid out."""

    read: Callable[[dict[str, Any], FormatSpec], list[Message]]
    render: Callable[[Sequence[Message], FormatSpec], Rendered]

    def format(self, values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
        """Render a row."""
        return [self.render(self.read(values, spec), spec)]


def items_of(values: dict[str, Any], dataset: Dataset, column: str = "conversations") -> list[Any]:
    """Return the list of messages in `field_messages`, or in `column` if that is not set."""
    return message_list(values, dataset.model_copy(update={"field_messages": dataset.field_messages or column}))


def text_of(number: int, item: Any, role_key: str, text_key: str) -> tuple[str, str]:
    """Return role and text of a message; null is an empty text.

    Raises:
        DataError: it has none.
    """
    if not isinstance(item, dict) or item.get(role_key) is None or text_key not in item:
        found = ", ".join(map(str, item)) if isinstance(item, dict) else repr(item)[:60]
        raise DataError(f"message {number} should hold {role_key} and {text_key}; found {found}")
    text = "" if item[text_key] is None else item[text_key]
    if not isinstance(text, str):
        raise DataError(f"message {number}: {text_key} should be text; found {text!r:.60}")
    return str(item[role_key]), text


def tokenizer_of(spec: FormatSpec) -> Tokenizer:
    """Return the tokenizer, on whose begin and end tokens these layouts depend."""
    assert spec.tokenizer is not None, "the spec of a conversation is made with its tokenizer"
    return spec.tokenizer


def answer(header: str, rest: str, *, inputs: bool, ends: int) -> Span:
    """Return a trained answer; its header is trained too with `inputs`."""
    return Span(header + rest, True, head="" if inputs else header.rstrip(), ends=ends)


def require_training(spans: Sequence[Span], answers: Sequence[str], spec: FormatSpec) -> None:
    """Raise a DataError if nothing is trained, or only empty answers are."""
    if not any(span.train for span in spans):
        raise DataError("no turn is trained: the conversation has no answer of the model, or all have weight 0")
    if answers and not any(text.strip() for text in answers) and not spec.train_on_inputs:
        raise DataError("every answer is empty: there is nothing to train")
