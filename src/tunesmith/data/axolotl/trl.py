"""Rows of `prompt` and `completion` under `mask: axolotl`: what TRL, to which Axolotl leaves them, makes of them."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.chat import Tools, parting, template_of
from tunesmith.data.formats.conversation import tokenizer_of
from tunesmith.data.formats.messages import Turn, tools_of
from tunesmith.data.formats.prompt_completion import (
    COLUMNS,
    are_messages,
    cut_at_prompt,
    require_template,
    texts_of_pair,
)
from tunesmith.data.formats.prompt_completion import turns_of_pair as served_turns
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import MASKED, Example
from tunesmith.errors import DataError


def prompt_completion(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return the tokens of a row; those after the common start with the prompt's tokens are trained."""
    if are_messages(values, COLUMNS, spec.dataset):
        return [_chat(values, spec)]
    tokenizer, (prompt, completion) = tokenizer_of(spec), texts_of_pair(values, spec)
    end = "" if completion.endswith(tokenizer.eos_token) else tokenizer.eos_token
    ids = tokenizer(prompt + completion + end).input_ids
    return [_after_prompt(tokenizer(prompt).input_ids, ids, prompt + completion, spec)]


def prompt_and_completion(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row: the prompt that is fed, and what follows it."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return texts_of_pair(values, spec)
    return cut_at_prompt(turns_of_pair(values, spec), values, spec, common_prompt)


def _chat(values: dict[str, Any], spec: FormatSpec) -> Example:
    require_template(spec)
    turns, first = turns_of_pair(values, spec)
    template, tools = template_of(spec), tools_of(values, spec.dataset)
    messages = [turn.message for turn in turns]
    prompt = template.render(messages[:first], add_generation_prompt=True, tools=tools)
    full = template.render(messages, tools=tools)
    prompt_ids, ids = template.tokenizer([prompt, full], add_special_tokens=False)["input_ids"]
    return _after_prompt(prompt_ids, ids, full, spec)


def _after_prompt(prompt: list[int], ids: list[int], text: str, spec: FormatSpec) -> Example:
    start = 0 if spec.train_on_inputs else parting(prompt, ids)
    return Example(ids, [MASKED] * start + ids[start:], text)


def turns_of_pair(values: dict[str, Any], spec: FormatSpec) -> tuple[list[Turn], int]:
    """Return all turns of a row without its system column, and the index of the first one of its completion."""
    return served_turns({name: values[name] for name in COLUMNS if name in values}, spec)


def common_prompt(
    messages: Sequence[dict[str, Any]], fulls: Sequence[str], template: ChatTemplate, tools: Tools
) -> str:
    """Return the prompt of a conversation, truncated to the text with which each of `fulls` begins."""
    role = messages[-1]["role"]
    if role not in ("user", "tool", "assistant"):
        raise DataError(f"the prompt ends with a message of {role}; it should be the user's, a tool's or the model's")
    goes_on = role == "assistant"
    text = template.render(messages, add_generation_prompt=not goes_on, continue_final_message=goes_on, tools=tools)
    for full in fulls:
        text = text[: parting(text, full)]
    return text
