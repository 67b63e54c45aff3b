"""Parts `tokens` and `prompts`: what rows become for training, and what of them inference feeds the model."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adapters
from plan import Group, groups

HERE = Path(__file__).parent
PROMPTED = (adapters.SMOLLM, "llama3_1", "mistral_v1")
"""Tokenizers of the part `prompts`."""


def digest(value: Any, length: int = 8) -> str:
    """Return a hash of plain values."""
    written = json.dumps(value, ensure_ascii=True, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()[:length]


def attempt(call: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """Return the result and no message, or the class of the error and its message."""
    try:
        return call(*arguments), ""
    except Exception as error:  # also a fault of ours is frozen: it should stay the same, or be seen
        return {"error": type(error).__name__}, f"{type(error).__name__}: {error}"


def line(results: list[tuple[Any, str]]) -> str:
    """Return what is kept of a group: rows accepted + refused, the hash of results, and that of the wording."""
    refused = sum(bool(message) for _, message in results)
    words = [sorted(re.findall(r"\w+", message)) for _, message in results]  # some name columns in no fixed order
    wording = digest(words, 4) if refused else "-"
    return f"{len(results) - refused}+{refused} {digest([result for result, _ in results])} {wording}"


def _tokens(group: Group) -> list[tuple[Any, str]]:
    tokenizer = adapters.find_tokenizer(group.tokenizer)
    return [attempt(adapters.encoded, row, group.dataset, group.config, tokenizer) for row in group.rows()]


def _prompts(group: Group) -> list[tuple[Any, str]]:
    tokenizer = adapters.find_tokenizer(group.tokenizer)
    rows = group.rows()[:3]
    settings = (group.dataset, group.config, tokenizer)
    found = [attempt(call, row, *settings) for call in (adapters.asked, adapters.reference) for row in rows]
    return [*found, *(attempt(adapters.typed, row, *settings) for row in rows[:1])]


def _prompted() -> Iterator[Group]:
    return (group for group in groups() if group.tokenizer in PROMPTED and "rl" not in group.config)


def _computed(which: Iterator[Group], compute: Callable[[Group], list[tuple[Any, str]]]) -> dict[str, Any]:
    with adapters.inside(HERE):
        return {group.name: line(compute(group)) for group in which if _is_here(group)}


def _is_here(group: Group) -> bool:
    return group.tokenizer is None or adapters.find_tokenizer(group.tokenizer) is not None


def tokens() -> dict[str, Any]:
    """Return the kept line of each group, by its name."""
    return _computed(groups(), _tokens)


def prompts() -> dict[str, Any]:
    """Return the same for the prompts of inference."""
    return _computed(_prompted(), _prompts)


def shown(part: str, name: str) -> Iterator[str]:
    """Yield the rows of a group as JSON, one a line, with what became of each."""
    compute = _tokens if part == "tokens" else _prompts
    with adapters.inside(HERE):
        for group in groups():
            if group.name == name:
                rows = group.rows()
                for number, (result, message) in enumerate(compute(group)):
                    row = rows[number % len(rows)] if part == "tokens" else None
                    told = {"number": number, "row": row, "result": result, "message": message}
                    yield json.dumps(told, ensure_ascii=False, default=str)
