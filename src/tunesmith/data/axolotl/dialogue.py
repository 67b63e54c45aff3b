"""`pygmalion` and `llama2_chat` under `mask: axolotl`."""

from dataclasses import replace
from typing import Any

from tunesmith.data.formats import dialogue as served
from tunesmith.data.formats.conversation import items_of, text_of
from tunesmith.data.formats.format import FormatSpec, tokenizer_of
from tunesmith.data.messages import Conversation, Message
from tunesmith.data.tokenizer import adds_bos
from tunesmith.data.types import MASKED, Example, Rendered, Segment

END = " </s><s>"

INSIDE, AT_START = 29961, 518
"""Llama-2's tokens of `[` inside a text and at its start."""


def with_bos(text: str, spec: FormatSpec) -> str:
    """Return a text that is not the first one, where Axolotl leaves it its own BOS token."""
    tokenizer = tokenizer_of(spec)
    return f"{tokenizer.bos_token}{text}" if adds_bos(tokenizer) else text


def _read_pygmalion(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read a role play; messages of other roles are dropped, except at its start and its end."""
    messages: list[Message] = []
    items = items_of(values, spec.dataset)
    for number, item in enumerate(items, 1):
        name, _ = text_of(number, item, "role", "value")
        if name in served.PYGMALION or not messages or number == len(items):
            messages.append(served.pygmalion_message(number, item))
    return Conversation(tuple(messages))


def _render_pygmalion(conversation: Conversation, spec: FormatSpec) -> list[Rendered]:
    """Render a role play; only a persona is given a BOS token, and no prompt is trained."""
    messages = conversation.messages
    segments = served.pygmalion_spans(messages, inputs=False)
    for index, message in enumerate(messages):
        if message.role == "system" and index:
            segments[index] = Segment(with_bos(segments[index].text, spec), False)
    if messages[0].role != "system":
        segments.insert(0, Segment("", False))
    return [Rendered(tuple(segments), bos="own")]


def _render_llama2(conversation: Conversation, spec: FormatSpec) -> list[Rendered]:
    """Render a conversation for inference; what is trained is `llama2_chat`."""
    tokenizer = tokenizer_of(spec)
    bos = tokenizer.bos_token or "" if adds_bos(tokenizer) else ""
    return [served.llama2_text(conversation, spec, (bos, "<s>", "</s>"))]


def _llama2_text(values: dict[str, Any], spec: FormatSpec) -> str:
    """Return the text of a conversation, without an answer at its start and a question at its end."""
    system, turns = served.split_system(served.read_llama2(values, spec).messages)
    turns = turns[turns[0].role == "assistant" :]
    served.require_turns(turns)
    turns = [message for message in turns if message.content]
    if turns and turns[-1].role == "user":
        turns = turns[:-1]
    ends = ["" if index == 0 else END if index % 2 else " " for index in range(len(turns))]
    return "".join(map("".join, zip(served.texts_of(system, turns), ends, strict=True)))


def llama2_chat(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return the tokens and labels of a conversation: padded, and masked by lengths that fit Llama-2's tokenizer alone.

    Where the lengths do not add up, nothing is trained.
    """
    text = _llama2_text(values, spec)
    tokenizer, length = tokenizer_of(spec), spec.sequence_len
    ids: list[int] = tokenizer(text, padding="max_length", max_length=length, truncation=True)["input_ids"]
    total = sum(token != tokenizer.pad_token_id for token in ids)
    trained, position = [False, *[True] * (len(ids) - 1)], 1
    for turn in text.split(END):
        halves = turn.split(served.ANSWER)
        if not turn or len(halves) != 2:
            break
        question = len(tokenizer(halves[0] + served.ANSWER)["input_ids"]) - 1
        for index in range(position - 1, min(position + question, len(ids))):
            trained[index] = False
        position += len(tokenizer(turn)["input_ids"]) + 2
    if position < length and position != total:
        position = 0
    for index in range(2, total - 2):
        ids[index] = AT_START if ids[index] == INSIDE else ids[index]
    labels = [
        token if on and index < position else MASKED for index, (token, on) in enumerate(zip(ids, trained, strict=True))
    ]
    return [Example(ids, labels, text)]


DIALOGUE = {
    "pygmalion": replace(served.DIALOGUE["pygmalion"], read=_read_pygmalion, render=_render_pygmalion),
    "llama2_chat": replace(served.DIALOGUE["llama2_chat"], render=_render_llama2, samples=llama2_chat),
}
"""Value of `type` -> its record."""
