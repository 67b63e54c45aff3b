"""Whether a rendered text shows what a row says: contents, calls of tools with their arguments, schemas of tools."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tunesmith.data.messages import Tools, WireMessage
from tunesmith.data.thinking import without_thinking
from tunesmith.errors import DataError


def require_tools_shown(messages: Sequence[WireMessage], tools: Tools, texts: Sequence[str]) -> None:
    """Raise a DataError if the chat template leaves out a call of a tool, one of its arguments, or a tool."""
    missing = next(hidden_tools(messages, tools, texts), None)
    if missing:
        raise DataError(f"the chat template leaves out {missing}; choose another `chat_template`")


def hidden_tools(messages: Sequence[WireMessage], tools: Tools, texts: Sequence[str]) -> Iterator[str]:
    """Yield which calls of tools and which tools stand in none of the texts, in words."""
    for number, message in enumerate(messages, 1):
        for call in message.get("tool_calls") or ():
            function = call.get("function", call) if isinstance(call, dict) else {}
            for part in _hidden(_call_parts(function), texts):
                yield f"{part} of the call of {function.get('name')} in message {number}"
    for tool in tools or ():
        function = tool.get("function", tool) if isinstance(tool, dict) else {}
        for part in _hidden(_tool_parts(function), texts):
            yield f"{part} of the tool {function.get('name')}"


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


def _call_parts(function: Any) -> Iterator[str]:
    yield str(function.get("name"))
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        yield from arguments
    yield from _values(arguments)


def _tool_parts(function: Any) -> Iterator[str]:
    yield str(function.get("name"))
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    if isinstance(properties, dict):
        yield from properties


def _values(value: Any) -> Iterator[str]:
    """Yield the texts and numbers of a value; true, false and null have other names in some templates."""
    for leaf in leaves(value):
        if isinstance(leaf, (str, int, float)) and not isinstance(leaf, bool):
            yield str(leaf)


def _hidden(parts: Iterator[str], texts: Sequence[str]) -> Iterator[str]:
    return (repr(part[:40]) for part in parts if part.strip() and not stands(part, texts))
