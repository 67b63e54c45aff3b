"""What a server's error says: its message, and which field of the request it refuses.

Vendors name a refused field in their own words and with their own status: in `param` (OpenAI), in `loc` (pydantic, as
Mistral and vLLM), or in a sentence.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from tunesmith.generation.exchange import whole

OPTIONAL = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "",
    "temperature": "",
    "seed": "",
    "response_format": "",
    "skip_special_tokens": "",
}
"""Field without which a request can be sent again -> the field that replaces it."""
_OTHER_NAMES = {
    "response_format": r"response[_ ]?format|json[_ ]schema|structured[_ ]outputs?|guided[_ ]json|json mode"
}
"""How a sentence names a field, if not by its name."""
_REFUSES = re.compile(
    r"no .{0,40}support|n[o']t (be )?(support|permit|allow|accept|recogni|implement|enabled|available|valid)"
    r"|unsupported|unknown|unrecogni|unexpected|unavailable|extra|cannot|invalid|forbidden|disabled|only|must|required",
    re.IGNORECASE,
)
"""Words of a sentence that refuses a field."""
_UNKNOWN = re.compile(r"max_completion_tokens|support|permit|recogni|unknown|unexpected|extra", re.IGNORECASE)
"""Words that refuse the field itself, not its value: `max_tokens` is also named where a prompt is too long."""
_VALUES = {"input", "ctx", "url", "type", "status", "code", "callstack"}
"""Keys of an error that hold no words of the server, such as a repetition of the request."""


def error_message(text: str) -> str:
    """Return the words of an error, at most 300 characters."""
    try:
        content = json.loads(text)
        error = (content[0] if isinstance(content, list) else content)["error"]
        return whole(str(error["message"])[:300])
    except (ValueError, LookupError, TypeError, AttributeError):
        return " ".join(text[:300].split())


def find_refused_field(text: str, body: Collection[str]) -> str | None:
    """Return the optional field of the request `body` that an error refuses, if it names one.

    A server that lists the fields that it knows names the refused one first.
    """
    try:
        parts = list(_parts("", json.loads(text)))
    except (ValueError, RecursionError):
        parts = [("", text)]
    message = " ".join(part for key, part in parts if key not in ("param", "loc"))
    fields = [name for name in OPTIONAL if name in body and (_UNKNOWN.search(message) or not name.startswith("max_"))]
    names = [part.split(".")[0] for key, part in parts if key in ("param", "loc")]
    named = next((name for name in names if name in fields), None)
    return named or (_first_mention(message, fields) if _REFUSES.search(message) else None)


def _first_mention(message: str, fields: list[str]) -> str | None:
    """Return the field that a message names first."""
    starts = {}
    for name in fields:
        pattern = rf"(?<![\w-])({_OTHER_NAMES.get(name, name)})(?![\w-])"
        if match := re.search(pattern, message, re.IGNORECASE):
            starts[name] = match.start()
    return min(starts, key=starts.__getitem__, default=None)


def _parts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the strings in an error, each with the key that it is under."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in _VALUES:
                yield from _parts(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(key, item)
    elif isinstance(value, str):
        yield key, value
