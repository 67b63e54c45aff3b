"""Structured output: the JSON value in a reply, also inside prose or a code fence, validated by a schema."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.generation.exchange import whole

_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_BRACKET = re.compile(r"[{\[]")
_MAX_FAULT = 300
"""Characters of a fault that are shown."""


class Fit(NamedTuple):
    """The valid JSON value of a text, serialized again, or the fault why there is none."""

    text: str
    fault: str


def fit(text: str, schema: dict[str, Any]) -> Fit:
    """Return the first JSON value in a text that is valid by a schema; else the fault of the first value.

    Raises:
        ConfigError: a `$ref` of the schema cannot be resolved.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    validator = Draft202012Validator(schema)
    fault = "it holds no JSON value"
    for number, value in enumerate(_values(_THOUGHT.sub("", text))):
        try:
            error = best_match(validator.iter_errors(value))
        except Unresolvable as reference_error:
            raise ConfigError(f"the JSON schema has a `$ref` that leads nowhere: {reference_error}") from None
        if error is None:
            return Fit(whole(json.dumps(value, ensure_ascii=False)), "")
        if number == 0:
            path = "" if error.json_path == "$" else f"{error.json_path}: "
            fault = (path + error.message)[:_MAX_FAULT]
    return Fit("", fault)


def _values(text: str) -> Iterator[object]:
    """Yield the JSON values in a text: the complete text, the content of fences, and what starts with a bracket."""
    for part in (text, *_FENCE.findall(text)):
        try:
            yield json.loads(part)
        except (ValueError, RecursionError):
            continue
    decoder = json.JSONDecoder()
    start = 0
    while bracket := _BRACKET.search(text, start):
        start = bracket.start() + 1
        try:
            value, start = decoder.raw_decode(text, bracket.start())
        except (ValueError, RecursionError):
            continue
        yield value
