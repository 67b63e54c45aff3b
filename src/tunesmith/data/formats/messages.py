"""The messages of a row, as templates know them: role and content, with the flags that say what is trained."""

import json
from typing import Any, NamedTuple

from tunesmith.data.formats.spec import missing_column
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

Range = tuple[int, int]
"""Characters from a begin up to an end that is not part of it."""

THINKING = (
    ("<think>", "</think>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


class Turn(NamedTuple):
    """A message and what of it is trained.

    Attributes:
        message: what the template sees.
        train: the row's own flag for the turn, or None.
        holes: characters of the content that are not trained.
        thinking: the reasoning, if it is text.
        thinking_holes: characters of the reasoning that are not trained.
    """

    message: dict[str, Any]
    train: bool | None = None
    holes: tuple[Range, ...] = ()
    thinking: str = ""
    thinking_holes: tuple[Range, ...] = ()

    @property
    def role(self) -> str:
        """The message's role."""
        return str(self.message["role"])

    @property
    def content(self) -> str:
        """The message's text; empty for a turn that only calls tools."""
        return str(self.message["content"])


def turns_of(values: dict[str, Any], dataset: Dataset) -> list[Turn]:
    """Return the row's messages.

    Raises:
        DataError: the column is missing or empty, or a message lacks its role or content.
    """
    turns = [_turn(number, item, dataset) for number, item in enumerate(message_list(values, dataset), 1)]
    system = values.get(dataset.field_system)
    if isinstance(system, str) and system and turns[0].role != "system":
        turns.insert(0, Turn({"role": "system", "content": system}))
    if dataset.drop_system_message and turns[0].role == "system":
        turns = turns[1:]
    if not turns:
        raise DataError("the row holds no message but the system's")
    return turns


def message_list(values: dict[str, Any], dataset: Dataset) -> list[Any]:
    """Return the column of messages, which may be a list or its JSON text.

    Raises:
        DataError: it is missing, empty, or something else.
    """
    column = dataset.field_messages or "messages"
    found = values.get(column)
    if found is None:
        raise missing_column(values, column, "field_messages", dataset)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except json.JSONDecodeError as error:
            raise DataError(f"column {column} is text, and no JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(found, list) or not found:
        raise DataError(f"column {column} should hold a list of messages; found {found!r:.80}")
    return found


def tools_of(values: dict[str, Any], dataset: Dataset) -> list[Any] | None:
    """Return the row's tool schemas as a list; text is read as JSON.

    Raises:
        DataError: they are something else.
    """
    tools = values.get(dataset.field_tools)
    if tools is None:
        return None
    tools = from_json(tools, f"column {dataset.field_tools}")
    if not isinstance(tools, list):
        raise DataError(f"column {dataset.field_tools} should hold a list of tools; found {type(tools).__name__}")
    return [_tool(tool) for tool in tools]


def _tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("parameters"), str):
        return tool
    parameters = from_json(function["parameters"], f"parameters of tool {function.get('name')}")
    return tool | {"function": function | {"parameters": parameters}}


def from_json(value: Any, what: str) -> Any:
    """Return a value that may be written as JSON text.

    Raises:
        DataError: the text is no JSON.
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise DataError(f"{what} should be JSON: {error.msg} at column {error.colno}: {value[:40]!r}") from None


def _turn(number: int, item: Any, dataset: Dataset) -> Turn:
    if not isinstance(item, dict):
        raise DataError(f"message {number} should hold role and content; found {item!r:.80}")
    message = _named(number, item, dataset)
    content, holes = joined_parts(message.get("content"), f"message {number}")
    thinking, thinking_holes = joined_parts(message.get(dataset.template_thinking_key), f"message {number}")
    if thinking:
        message[dataset.template_thinking_key] = thinking
    flag = item.get(dataset.message_field_training) if dataset.message_field_training else None
    details = item.get(dataset.message_field_training_detail) if dataset.message_field_training_detail else None
    if details is not None:
        holes = outside(details, len(content), number)
        flag = bool(details) if flag is None else flag
    message |= {"role": dataset.common_role(str(message["role"])), "content": content}
    if dataset.split_thinking and message["role"] == "assistant":
        message |= split_thinking(content, dataset.template_thinking_key)
    return Turn(message, None if flag is None else bool(flag), holes, thinking, thinking_holes)


def _named(number: int, item: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
    """Return a message with its keys by the template's names."""
    names = {
        "role": dataset.message_field_role or ("role" if "role" in item else "from"),
        "content": dataset.message_field_content
        or ("content" if "content" in item or "value" not in item else "value"),
        dataset.template_thinking_key: dataset.field_thinking,
        **dataset.message_property_mappings,
    }
    flags = {dataset.message_field_training, dataset.message_field_training_detail}
    message = {k: value for k, value in item.items() if k not in {*names.values(), *flags} and value is not None}
    message |= {key: item[name] for key, name in names.items() if item.get(name) is not None}
    for key in ("role", "content"):
        if key not in message and not (key == "content" and message.get("tool_calls")):
            keys = ", ".join(map(str, item))
            raise DataError(
                f"message {number} has no {key}; found {keys}. Set message_property_mappings: {{{key}: ...}}"
            )
    if message.get("tool_calls"):
        message["tool_calls"] = tool_calls(message["tool_calls"], number)
    return message


def tool_calls(calls: Any, number: int) -> Any:
    """Return the calls with their arguments as mappings; text is read as JSON.

    Raises:
        DataError: it is no JSON.
    """
    found = []
    for call in from_json(calls, f"message {number}: tool_calls"):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and "arguments" in function:
            arguments = from_json(function["arguments"], f"message {number}: arguments of {function.get('name')}")
            call = call | {"function": function | {"arguments": arguments}}
        found.append(call)
    return found


def joined_parts(content: Any, where: str) -> tuple[str, tuple[Range, ...]]:
    """Return the text of a content that may be a list of parts, and the characters of parts that are not trained.

    Raises:
        DataError: a part is no text.
    """
    if content is None or isinstance(content, str):
        return content or "", ()
    if not isinstance(content, list):
        raise DataError(f"{where}: content should be text; found {type(content).__name__}")
    text, holes = "", []
    for part in content:
        piece = part.get("text") or part.get("content") or part.get("value") or "" if isinstance(part, dict) else None
        if not isinstance(piece, str) or (isinstance(part, dict) and part.get("type", "text") != "text"):
            raise DataError(f"{where}: a part of the content is no text: {part!r:.60}; images are not supported")
        flag = part.get("train") if part.get("train") is not None else part.get("weight") not in (0, 0.0)
        if not flag and piece:
            holes.append((len(text), len(text) + len(piece)))
        text += piece
    return text, tuple(holes)


def outside(details: Any, length: int, number: int) -> tuple[Range, ...]:
    """Return the characters that no `{begin_offset, end_offset, train: true}` names; the end is part of a range.

    Raises:
        DataError: a detail is something else, or outside the content.
    """
    inside: list[Range] = []
    for detail in details:
        try:
            begin, end, train = detail["begin_offset"], detail["end_offset"], detail["train"]
            fits = 0 <= begin <= end < length
        except (TypeError, KeyError):
            fits = False
        if not fits:
            raise DataError(
                f"message {number}: a training detail needs begin_offset, end_offset (below {length}) and train; "
                f"found {detail!r}"
            )
        if train:
            inside.append((begin, end + 1))
    holes, last = [], 0
    for begin, end in sorted(inside):
        if begin > last:
            holes.append((last, begin))
        last = max(last, end)
    return tuple(holes + ([(last, length)] if last < length else []))


def split_thinking(content: str, key: str) -> dict[str, str]:
    """Return reasoning and answer of a content that begins with its reasoning between tags; else nothing."""
    for begin, end in THINKING:
        if begin in content and end in content:
            place, over = content.find(begin), content.find(end)
            rest = content[over + len(end) :].lstrip()
            if all(tag in rest for tag in SOLUTION):
                rest = rest[rest.find(SOLUTION[0]) + len(SOLUTION[0]) : rest.find(SOLUTION[1])].strip()
            return {key: content[place + len(begin) : over].strip(), "content": rest}
    return {}
