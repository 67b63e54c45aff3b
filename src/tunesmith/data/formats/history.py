"""`type: chat_template.instruction`: an instruction and its answer after earlier turns, rendered by the chat template.

These are LLaMA-Factory's rows: instruction, input, output, system, tools, and `history`, which is a list of pairs of a
question and its answer, or of messages.
"""

from collections.abc import Iterator
from typing import Any

from tunesmith.data.formats.chat import CHAT_KEYS, chat_prompt, render_chat, wire_prompt
from tunesmith.data.formats.format import INSTRUCT_KEYS, Columns, Format, FormatSpec, text_column
from tunesmith.data.formats.messages import from_json, read_messages, read_system, read_tools
from tunesmith.data.messages import Conversation, Message, text_message
from tunesmith.data.row_access import is_empty
from tunesmith.errors import DataError

HISTORY = ("history", "chat_history", "conversation_history")
"""Columns of earlier turns, of which the first that is filled counts."""


def read_exchange(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read the system message, earlier turns, the instruction with its input, and the answer.

    Raises:
        DataError: the row lacks a column, or its answer is blank.
    """
    dataset = spec.dataset
    instruction = text_column(values, dataset.field_instruction, "field_instruction", dataset)
    context, output = values.get(dataset.field_input), dataset.field_output
    if not is_empty(context):
        instruction = f"{instruction}\n{text_column(values, dataset.field_input, 'field_input', dataset)}"
    answer = text_column(values, output, "field_output", dataset)
    if not answer.strip():
        raise DataError(f"column {output} is blank: there is nothing to train")
    earlier = tuple(_read_history(values, spec))
    system = "" if earlier and earlier[0].role == "system" else read_system(values, dataset.field_system)
    messages = (text_message("system", system),) if system else ()
    exchange = (text_message("user", instruction), text_message("assistant", answer))
    return Conversation((*messages, *earlier, *exchange), read_tools(values, dataset))


def _read_history(values: dict[str, Any], spec: FormatSpec) -> Iterator[Message]:
    """Yield the earlier turns."""
    column = next((name for name in HISTORY if not is_empty(values.get(name))), None)
    if column is None:
        return
    items = from_json(values[column], f"column {column}")
    if isinstance(items, list) and all(isinstance(item, dict) and "role" in item for item in items):
        yield from read_messages(values, spec.dataset.model_copy(update={"field_messages": column}), system=False)
        return
    for item in items if isinstance(items, list) else [items]:
        if not isinstance(item, list) or len(item) != 2 or not all(isinstance(text, str) for text in item):
            raise DataError(
                f"column {column} should hold pairs of a question and its answer, or messages; found {item!r:.60}"
            )
        yield text_message("user", item[0])
        yield text_message("assistant", item[1])


def _columns(order: int, instruction: str, output: str) -> tuple[Columns, ...]:
    keys = {
        key: value
        for key, value in (("field_instruction", instruction), ("field_output", output))
        if value not in ("instruction", "output")
    }
    return tuple(Columns(order, (name, instruction, output), keys) for name in (*HISTORY, "tools"))


HISTORY_FORMATS = {
    "chat_template.instruction": Format(
        "chat_template.instruction",
        read_exchange,
        render_chat,
        prompt=chat_prompt,
        ask=wire_prompt,
        columns=(
            *_columns(4, "instruction", "output"),
            *_columns(4, "prompt", "response"),
            *_columns(4, "query", "response"),
            *_columns(4, "question", "answer"),
        ),
        keys=CHAT_KEYS | INSTRUCT_KEYS,
        templated=True,
        turns=True,
    )
}
"""Value of `type` -> its record."""
