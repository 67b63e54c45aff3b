"""Reads the messages of a row: role and content, reasoning and tool calls, and the flags that say what is trained."""

import json
from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.format import missing_column
from tunesmith.data.messages import Message, Part, Range, Text, Thinking, ToolCall, WireMessage, text_message
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

THINKING = (
    ("<think>", "</think>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


def read_messages(values: dict[str, Any], dataset: Dataset) -> tuple[Message, ...]:
    """Return the row's messages.

    Raises:
        DataError: the column is missing or empty, or a message lacks its role or content.
    """
    messages = [_read_message(number, item, dataset) for number, item in enumerate(message_list(values, dataset), 1)]
    system = values.get(dataset.field_system)
    if isinstance(system, str) and system and messages[0].role != "system":
        messages.insert(0, text_message("system", system))
    if dataset.drop_system_message and messages[0].role == "system":
        messages = messages[1:]
    if not messages:
        raise DataError("the row has no message except the system message")
    return tuple(messages)


def message_list(values: dict[str, Any], dataset: Dataset) -> list[Any]:
    """Return the column of messages, which may be a list or its JSON text.

    Raises:
        DataError: it is missing, empty, or something else.
    """
    column = dataset.field_messages or "messages"
    items = values.get(column)
    if items is None:
        raise missing_column(values, column, "field_messages", dataset)
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except json.JSONDecodeError as error:
            raise DataError(f"column {column} is text, and no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(items, list) or not items:
        raise DataError(f"column {column} should hold a list of messages; found {items!r:.80}")
    return items


def read_tools(values: dict[str, Any], dataset: Dataset) -> list[Any] | None:
    """Return the row's tool schemas as a list; text is read as JSON.

    Raises:
        DataError: they are something else.
    """
    tools = values.get(dataset.field_tools)
    tools = None if _is_empty(tools) else from_json(tools, f"column {dataset.field_tools}")
    if _is_empty(tools):
        return None
    if not isinstance(tools, list):
        raise DataError(f"column {dataset.field_tools} should hold a list of tools; found {type(tools).__name__}")
    return [_read_tool(tool) for tool in tools]


def _is_empty(value: Any) -> bool:
    """Return whether an optional value counts as absent."""
    return value in (None, [], "") or (isinstance(value, str) and not value.strip())


def _without_empty(message: WireMessage) -> WireMessage:
    return {key: value for key, value in message.items() if key in ("role", "content") or not _is_empty(value)}


def _read_tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("parameters"), str):
        return tool
    parameters = from_json(function["parameters"], f"parameters of tool {function.get('name')}")
    return tool | {"function": function | {"parameters": parameters}}


def from_json(value: Any, name: str) -> Any:
    """Return a value that may be written as JSON text.

    Raises:
        DataError: the text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise DataError(f"{name} should be JSON: {error.msg} at column {error.colno}: {value[:40]!r}") from None


def _read_message(number: int, item: Any, dataset: Dataset) -> Message:
    if not isinstance(item, dict):
        raise DataError(f"message {number} should hold role and content; found {item!r:.80}")
    fields = _renamed(number, item, dataset)
    thinking_key = dataset.template_thinking_key
    role = dataset.common_role(str(fields.pop("role")))
    texts = read_texts(fields.pop("content", None), f"message {number}")
    thoughts = read_texts(fields.pop(thinking_key), f"message {number}") if thinking_key in fields else None
    calls = read_tool_calls(fields.pop("tool_calls"), number) if fields.get("tool_calls") else []
    train = item.get(dataset.message_field_training) if dataset.message_field_training else None
    details = item.get(dataset.message_field_training_detail) if dataset.message_field_training_detail else None
    if details is not None:
        content = "".join(text.text for text in texts)
        texts = [Text(content, outside(details, len(content), number))]
        train = bool(details) if train is None else train
    if dataset.split_thinking and role == "assistant":
        texts, thoughts = _split_thinking(texts, thoughts)
    parts: list[Part] = [*texts]
    if thoughts is not None:
        thinking = Message("", tuple(thoughts))
        parts.insert(0, Thinking(thinking.content, thinking.masked))
    parts += [ToolCall(call) for call in calls]
    return Message(role, tuple(parts), None if train is None else bool(train), fields)


def _renamed(number: int, item: dict[str, Any], dataset: Dataset) -> WireMessage:
    """Return a message with its keys by the template's names, without those that are empty or only flags."""
    names = {
        "role": dataset.message_field_role or ("role" if "role" in item else "from"),
        "content": dataset.message_field_content
        or ("content" if "content" in item or "value" not in item else "value"),
        dataset.template_thinking_key: dataset.field_thinking,
        **dataset.message_property_mappings,
    }
    flags = {dataset.message_field_training, dataset.message_field_training_detail}
    message = {key: value for key, value in item.items() if key not in {*names.values(), *flags}}
    message |= {key: item[name] for key, name in names.items() if item.get(name) is not None}
    message = _without_empty(message)
    for key in ("role", "content"):
        if key not in message and not (key == "content" and message.get("tool_calls")):
            keys = ", ".join(map(str, item))
            raise DataError(
                f"message {number} has no {key}; found {keys}. Set message_property_mappings: {{{key}: ...}}"
            )
    return message


def read_tool_calls(calls: Any, number: int) -> list[Any]:
    """Return the calls with their arguments as mappings; text is read as JSON.

    Raises:
        DataError: it is no JSON.
    """
    parsed = []
    for call in from_json(calls, f"message {number}: tool_calls") or []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and "arguments" in function:
            arguments = from_json(function["arguments"], f"message {number}: arguments of {function.get('name')}")
            call = call | {"function": function | {"arguments": arguments}}
        parsed.append(call)
    return parsed


def read_texts(content: Any, where: str) -> list[Text]:
    """Return a content, which may be a text or a list of parts; a part that is not trained is masked.

    Raises:
        DataError: a part is no text.
    """
    if content is None or isinstance(content, str):
        return [Text(content or "")]
    if not isinstance(content, list):
        raise DataError(f"{where}: content should be text; found {type(content).__name__}")
    return [_read_part(part, where) for part in content]


def _read_part(part: Any, where: str) -> Text:
    text = None
    if isinstance(part, dict) and part.get("type", "text") == "text":
        text = part.get("text") or part.get("content") or part.get("value") or ""
    if not isinstance(text, str):
        raise DataError(f"{where}: a part of the content is no text: {part!r:.60}; images are not supported")
    train = part["train"] if part.get("train") is not None else part.get("weight") not in (0, 0.0)
    return Text(text, () if train or not text else ((0, len(text)),))


def outside(details: Any, length: int, number: int) -> tuple[Range, ...]:
    """Return the characters that no `{begin_offset, end_offset, train: true}` names; the end is part of a range.

    Raises:
        DataError: a detail is something else, or outside the content.
    """
    trained: list[Range] = []
    for detail in details:
        try:
            start, end, train = detail["begin_offset"], detail["end_offset"], detail["train"]
            fits = 0 <= start <= end < length
        except (TypeError, KeyError):
            fits = False
        if not fits:
            raise DataError(
                f"message {number}: a training detail needs begin_offset, end_offset (below {length}) and train; "
                f"found {detail!r}"
            )
        if train:
            trained.append((start, end + 1))
    masked, last = [], 0
    for start, end in sorted(trained):
        if start > last:
            masked.append((last, start))
        last = max(last, end)
    return tuple(masked + ([(last, length)] if last < length else []))


def _split_thinking(texts: Sequence[Text], thoughts: list[Text] | None) -> tuple[list[Text], list[Text] | None]:
    """Return content and reasoning, with reasoning between tags taken out of the content."""
    content = Message("", tuple(texts))
    split = split_thinking(content.content)
    if split is None:
        return list(texts), thoughts
    thinking, answer = split
    return [Text(answer, content.masked)], [Text(thinking)]


def split_thinking(content: str) -> tuple[str, str] | None:
    """Return reasoning and answer of a content that holds its reasoning between tags, or None."""
    for start_tag, end_tag in THINKING:
        if start_tag in content and end_tag in content:
            start, end = content.find(start_tag), content.find(end_tag)
            answer = content[end + len(end_tag) :].lstrip()
            if all(tag in answer for tag in SOLUTION):
                answer = answer[answer.find(SOLUTION[0]) + len(SOLUTION[0]) : answer.find(SOLUTION[1])].strip()
            return content[start + len(start_tag) : end].strip(), answer
    return None
