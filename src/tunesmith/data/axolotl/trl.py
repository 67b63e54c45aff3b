"""Rows of `prompt` and `completion` under `mask: axolotl`: what TRL, to which Axolotl leaves them, makes of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tunesmith.data.formats import prompt_completion as served
from tunesmith.data.formats.format import Document, FormatSpec, template_of, tokenizer_of
from tunesmith.data.formats.messages import read_tools
from tunesmith.data.formats.prompt_completion import (
    COLUMNS,
    are_messages,
    cut_at_prompt,
    require_template,
    texts_of_pair,
    to_wire,
)
from tunesmith.data.formats.prompt_completion import read_conversation as read_served
from tunesmith.data.messages import Conversation, Tools
from tunesmith.data.prefix import first_difference
from tunesmith.data.tokenizer import ChatTemplate, eos_of
from tunesmith.data.types import MASKED, Example
from tunesmith.errors import DataError


def prompt_completion(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return the tokens of a row; those after the common start with the prompt's tokens are trained."""
    if are_messages(values, COLUMNS, spec.dataset):
        return [_encode_chat(read_conversation(values, spec), spec)]
    tokenizer, (prompt, completion) = tokenizer_of(spec), texts_of_pair(values, spec)
    eos, _ = eos_of(tokenizer)
    end = "" if completion.endswith(eos) else eos
    ids = tokenizer(prompt + completion + end).input_ids
    return [_after_prompt(tokenizer(prompt).input_ids, ids, prompt + completion, spec)]


def read_pair(values: dict[str, Any], spec: FormatSpec) -> Conversation | Document:
    """Read a row: one conversation, or the tokens of a prompt and a completion of text."""
    if are_messages(values, COLUMNS, spec.dataset):
        return read_conversation(values, spec)
    return Document(tuple(prompt_completion(values, spec)))


def read_conversation(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read both columns of messages as one conversation, without the row's system column."""
    conversation = read_served({name: values[name] for name in COLUMNS if name in values}, spec)
    return conversation._replace(tools=read_tools(values, spec.dataset))


def prompt_and_completion(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row: the prompt that is fed, and what follows it."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return texts_of_pair(values, spec)
    return cut_at_prompt(read_conversation(values, spec), spec, common_prompt)


def _encode_chat(conversation: Conversation, spec: FormatSpec) -> Example:
    require_template(spec)
    template, tools = template_of(spec), conversation.tools
    messages = to_wire(conversation.messages, spec.dataset)
    prompt = template.render(messages[: conversation.first], add_generation_prompt=True, tools=tools)
    full = template.render(messages, tools=tools)
    prompt_ids, ids = template.tokenizer([prompt, full], add_special_tokens=False)["input_ids"]
    return _after_prompt(prompt_ids, ids, full, spec)


def _after_prompt(prompt: list[int], ids: list[int], text: str, spec: FormatSpec) -> Example:
    start = 0 if spec.train_on_inputs else first_difference(prompt, ids)
    return Example(ids, [MASKED] * start + ids[start:], text)


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
        text = text[: first_difference(text, full)]
    return text


PROMPT_COMPLETION = {
    name: replace(record, read=read_pair, samples=prompt_completion, texts=prompt_and_completion)
    for name, record in served.PROMPT_COMPLETION.items()
}
"""Value of `type` -> its record."""
