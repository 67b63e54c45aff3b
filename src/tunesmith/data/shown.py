"""Whether a rendered text shows what a row says: contents, calls of tools with their arguments, schemas of tools."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tunesmith.data.messages import Tools, WireMessage
from tunesmith.data.thinking import without_thinking
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.errors import DataError


class _Marks:
    """Values that stand in for the names and values of a row, each with what it stands for, in words.

    A name or a number may stand elsewhere in the text by chance; a mark is written only where the template writes it.
    """

    def __init__(self) -> None:
        self.meanings: dict[str, str] = {}

    def put(self, value: Any, place: str) -> Any:
        """Return a value of the same type that stands for `value`; blank texts, true, false and null stay."""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
            return value
        number = len(self.meanings) + 918_273_000
        mark = f"q{number}q" if isinstance(value, str) else number + (0.5 if isinstance(value, float) else 0)
        self.meanings[str(mark)] = f"{str(value)[:40]!r} of {place}"
        return mark

    def put_all(self, value: Any, place: str) -> Any:
        """Return a value with a mark for each text and number inside of it."""
        if isinstance(value, dict):
            return {key: self.put_all(item, place) for key, item in value.items()}
        if isinstance(value, list):
            return [self.put_all(item, place) for item in value]
        return self.put(value, place)


def require_tools_shown(messages: Sequence[WireMessage], tools: Tools, template: ChatTemplate) -> None:
    """Raise a DataError if the chat template leaves out a call of a tool, one of its arguments, or a tool."""
    missing = next(hidden_tools(messages, tools, template), None)
    if missing:
        raise DataError(f"the chat template leaves out {missing}; choose another `chat_template`")


def hidden_tools(messages: Sequence[WireMessage], tools: Tools, template: ChatTemplate) -> Iterator[str]:
    """Yield which parts of calls and of tools the template does not write, in words."""
    marks, marked, calls = _Marks(), list(messages), dict[int, set[str]]()
    for index, message in enumerate(messages):
        if message.get("tool_calls"):
            before = set(marks.meanings)
            places = [_marked_call(call, f"message {index + 1}", marks) for call in message["tool_calls"]]
            marked[index] = {**message, "tool_calls": places}
            calls[index] = set(marks.meanings) - before
    marked_tools = [_marked_tool(tool, marks) for tool in tools] if tools else tools
    if not marks.meanings:
        return
    text = template.render(marked, tools=marked_tools)
    hidden = {mark for mark in marks.meanings if mark not in text}
    for index, own in calls.items():
        if hidden & own:  # of a template that leaves out earlier calls, each answer is a sample of its own
            text = template.render(marked[: index + 1], tools=marked_tools)
            hidden -= {mark for mark in own if mark in text}
    yield from (words for mark, words in marks.meanings.items() if mark in hidden)


def _marked_call(call: Any, place: str, marks: _Marks) -> Any:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    place = f"the call of {function.get('name')} in {place}"
    marked = function | {"name": marks.put(function.get("name"), place)}
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        marked["arguments"] = {marks.put(key, place): marks.put_all(value, place) for key, value in arguments.items()}
    return call | {"function": marked} if "function" in call else marked


def _marked_tool(tool: Any, marks: _Marks) -> Any:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return tool
    place = f"the tool {function.get('name')}"
    marked = function | {"name": marks.put(function.get("name"), place)}
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    if isinstance(parameters, dict) and isinstance(properties, dict):
        named = {marks.put(name, place): value for name, value in properties.items()}
        marked["parameters"] = parameters | {"properties": named}
    return tool | {"function": marked} if "function" in tool else marked


def says(content: str, texts: Sequence[str]) -> bool:
    """Whether a content is shown: as it is, without its reasoning, or, if it is JSON, value by value."""
    if stands(content, texts) or stands(without_thinking(content), texts):
        return True
    if content.lstrip()[:1] not in ("{", "["):
        return False
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return not list(_hidden(_values(value), texts))


def stands(content: str, texts: Sequence[str]) -> bool:
    """Whether a content stands in one of the texts, but for whitespace and the escapes of JSON."""
    plain = content.strip()
    if any(plain in text for text in texts):
        return True
    escaped = (json.dumps(plain, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    forms = {squeezed(form) for form in (plain, *escaped)}
    return any(form in text for text in map(squeezed, texts) for form in forms)


def squeezed(text: str) -> str:
    """Return a text without whitespace."""
    return "".join(text.split())


def leaves(value: Any) -> Iterator[Any]:
    """Yield the values inside of lists and mappings."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def _values(value: Any) -> Iterator[str]:
    """Yield the texts and numbers of a value; true, false and null have other names in some templates."""
    for leaf in leaves(value):
        if isinstance(leaf, (str, int, float)) and not isinstance(leaf, bool):
            yield str(leaf)


def _hidden(parts: Iterator[str], texts: Sequence[str]) -> Iterator[str]:
    return (repr(part[:40]) for part in parts if part.strip() and not stands(part, texts))
