"""Reads the messages of a row: role and content, reasoning and tool calls, and the flags that say what is trained."""

import json
from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.format import missing_column
from tunesmith.data.messages import REASONING, Message, Part, Range, Text, Thinking, ToolCall, WireMessage, text_message
from tunesmith.data.row_access import is_empty, left_to_template
from tunesmith.data.thinking import split_thinking
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

OTHER_REASONING = ("reasoning", "thinking")
"""Keys of the reasoning in a message by other servers' APIs, such as OpenRouter, vLLM and Ollama."""

CALL_ROLES = ("function_call", "tool_call")
"""Roles of messages whose content is the JSON of a call, in the files of LLaMA-Factory and ms-swift."""


def read_messages(values: dict[str, Any], dataset: Dataset, *, system: bool = True) -> tuple[Message, ...]:
    """Return the row's messages, with `system` after its own system message.

    Raises:
        DataError: the column is missing or empty, or a message lacks its role or content.
    """
    items = message_list(values, dataset)
    is_legacy = any(isinstance(item, dict) and item.get("function_call") for item in items)
    messages = [_read_message(number, item, dataset, is_legacy=is_legacy) for number, item in enumerate(items, 1)]
    for message in messages:
        left_to_template(values, dataset.field_messages or "messages", message.fields)
    if dataset.drop_system_message:
        values.get(dataset.field_system)  # it is left out on purpose, so it counts as read
        messages = messages[messages[0].role == "system" :]
    elif system and messages[0].role != "system" and (text := read_system(values, dataset.field_system)):
        messages.insert(0, text_message("system", text))
    if not messages:
        raise DataError("the row has no message except the system message")
    return tuple(messages)


def read_system(values: dict[str, Any], column: str) -> str:
    """Return the system message in a column: a text, or a list of messages of that role; empty if there is none.

    Raises:
        DataError: the column holds something else.
    """
    value = values.get(column)
    if isinstance(value, str) or value is None:
        return value or ""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) and item.get("role", "system") == "system" for item in items):
        raise DataError(f"column {column} should hold a system message; found {value!r:.60}")
    return "\n".join(Message("", tuple(read_texts(item.get("content"), f"column {column}"))).content for item in items)


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
    column, tools = dataset.field_tools, values.get(dataset.field_tools)
    if is_empty(tools) and column == "tools":  # the older form of OpenAI's API
        column, tools = "functions", values.get("functions")
    if is_empty(tools):
        return None
    tools = from_json(tools, f"column {column}")
    if is_empty(tools):
        return None
    if not isinstance(tools, list):
        raise DataError(f"column {column} should hold a list of tools; found {type(tools).__name__}")
    return [_read_tool(tool, column) for tool in tools]


def _read_tool(tool: Any, column: str) -> dict[str, Any]:
    tool = from_json(tool, f"a tool in column {column}")
    if column == "functions":
        tool = {"type": "function", "function": tool}
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        raise DataError(f"column {column} should hold a list of schemas, each a mapping; found {tool!r:.60}")
    if "function" not in tool or not isinstance(function.get("parameters"), str):
        return dict(tool)
    parameters = from_json(function["parameters"], f"parameters of tool {function.get('name')}")
    return {**tool, "function": function | {"parameters": parameters}}


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


def _read_message(number: int, item: Any, dataset: Dataset, *, is_legacy: bool) -> Message:
    """Return a message; a legacy conversation of OpenAI's API has `function_call` and the role function."""
    if not isinstance(item, dict):
        raise DataError(f"message {number} should hold role and content; found {item!r:.80}")
    fields = _renamed(number, item, dataset)
    thinking_key = dataset.template_thinking_key
    role = dataset.common_role(role_text(number, fields.pop("role")))
    role = "tool" if is_legacy and role == "function" else role
    texts = read_texts(fields.pop("content", None), f"message {number}")
    thoughts = read_texts(fields.pop(thinking_key), f"message {number}") if thinking_key in fields else None
    calls = read_tool_calls(fields.pop("tool_calls"), number) if fields.get("tool_calls") else []
    if role in CALL_ROLES:
        calls = _calls_in(Message(role, tuple(texts)).content, role, number)
        role, texts = "assistant", [Text("")]
    train = _read_flag(number, item, dataset)
    details = item.get(dataset.message_field_training_detail) if dataset.message_field_training_detail else None
    if details is not None:
        content = "".join(text.text for text in texts)
        texts = [Text(content, outside(details, len(content), number))]
        train = bool(details) if train is None else train
    if dataset.split_thinking and role == "assistant":
        texts, thoughts = _split_thinking(texts, thoughts)
    parts = (*_thinking_parts(thoughts), *texts, *map(ToolCall, calls))
    return Message(role, parts, None if train is None else bool(train), fields)


def _thinking_parts(thoughts: list[Text] | None) -> list[Part]:
    if thoughts is None:
        return []
    thinking = Message("", tuple(thoughts))
    return [Thinking(thinking.content, thinking.masked)]


def role_text(number: int, role: Any) -> str:
    """Return a role as text; a number is written out.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(role, (str, int)) or isinstance(role, bool):
        raise DataError(f"message {number}: its role should be text; found {role!r:.60}")
    return str(role)


def _read_flag(number: int, item: dict[str, Any], dataset: Dataset) -> Any:
    """Return whether a message is trained, by its own flag or OpenAI's `weight`; None leaves it to the settings.

    Raises:
        DataError: the weight is another than 0 or 1.
    """
    if dataset.message_field_training:
        return item.get(dataset.message_field_training)
    weight = item.get("weight")
    if weight not in (None, 0, 1):
        raise DataError(f"message {number}: `weight` should be 0 (not trained) or 1; found {weight!r:.40}")
    return False if weight == 0 else None


def _renamed(number: int, item: dict[str, Any], dataset: Dataset) -> WireMessage:
    """Return a message with its keys by the template's names, without those that are empty, flags or ignored."""
    item = {key: value for key, value in item.items() if key not in dataset.ignored_columns}
    names = _own_names(item, dataset)
    flags = {dataset.message_field_training or "weight", dataset.message_field_training_detail}
    thinking = item.get(names[dataset.template_thinking_key])
    repeated = {key for key in OTHER_REASONING if item.get(key) == thinking}
    read = {*names.values(), *flags, *repeated}
    message = {key: value for key, value in item.items() if key not in read}
    message |= {key: item[name] for key, name in names.items() if item.get(name) is not None}
    message = {key: value for key, value in message.items() if key in ("role", "content") or not is_empty(value)}
    if "function_call" in message and not message.get("tool_calls"):
        message["tool_calls"] = [{"type": "function", "function": message.pop("function_call")}]
    _require_keys(number, message, item)
    return message


def _own_names(item: dict[str, Any], dataset: Dataset) -> dict[str, str]:
    """Return the template's names of role, content and reasoning -> the message's own."""
    role = "role" if "role" in item else "from"
    content = "content" if "content" in item or "value" not in item else "value"
    return {
        "role": dataset.message_field_role or role,
        "content": dataset.message_field_content or content,
        dataset.template_thinking_key: _thinking_key(item, dataset),
        **dataset.message_property_mappings,
    }


def _require_keys(number: int, message: WireMessage, item: dict[str, Any]) -> None:
    """Raise a DataError if a message lacks its role, or its content where it calls no tool."""
    for key in ("role", "content"):
        if key not in message and not (key == "content" and message.get("tool_calls")):
            keys = ", ".join(map(str, item))
            raise DataError(
                f"message {number} has no {key}; found {keys}. Set message_property_mappings: {{{key}: ...}}"
            )


def _thinking_key(item: dict[str, Any], dataset: Dataset) -> str:
    """Return the key of the reasoning; without the one that the dataset names, OpenRouter's or Ollama's."""
    others = OTHER_REASONING if dataset.field_thinking == REASONING else ()
    return next((key for key in (dataset.field_thinking, *others) if item.get(key)), dataset.field_thinking)


def read_tool_calls(calls: Any, number: int) -> list[Any]:
    """Return the calls with their arguments as mappings; text is read as JSON, and a bare function is put into a call.

    Raises:
        DataError: it is no JSON, or no list of calls.
    """
    parsed = []
    calls = from_json(calls, f"message {number}: tool_calls") or []
    for call in calls if isinstance(calls, list) else [calls]:
        if isinstance(call, dict) and "function" not in call and "name" in call:
            call = {"type": "function", "function": call}
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DataError(
                f"message {number}: a call should hold name and arguments of a function; found {call!r:.60}"
            )
        if "arguments" in function:
            arguments = from_json(function["arguments"], f"message {number}: arguments of {function.get('name')}")
            call = call | {"function": function | {"arguments": arguments}}
        parsed.append(call)
    return parsed


def _calls_in(content: str, role: str, number: int) -> list[Any]:
    """Return the calls of a message that is nothing else: the JSON of one, or of a list of them."""
    value = from_json(content, f"message {number} ({role})")
    if calls := read_tool_calls(value, number):
        return calls
    raise DataError(f"message {number} ({role}) should hold a call; found {content!r:.60}")


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
