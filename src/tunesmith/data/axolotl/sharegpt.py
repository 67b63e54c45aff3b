"""`type: sharegpt` under `mask: axolotl`: parts are heard or trained by the name in front of them."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.axolotl.dialogue import with_bos
from tunesmith.data.formats import sharegpt as served
from tunesmith.data.formats.fastchat import CHATGLM3, GEMMA, Layout, Part, find_layout, written
from tunesmith.data.formats.format import FormatSpec, tokenizer_of
from tunesmith.data.messages import Conversation, Message
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import DataError

OTHER_ROLES = {
    "chatml": "<|im_start|>{role}",
    "zephyr": "<|{role}|>",
    "vicuna_v1.1": "{role}",
    "llama3": "<|start_header_id|>{role}<|end_header_id|>",
}
"""Layouts that can name a third speaker: the header of llama3 is written twice, chatml_glaive is refused by mistake."""


def _read(values: dict[str, Any], spec: FormatSpec, loader: served.Keys | None = None) -> Conversation:
    """Read a list of messages; those of a loader have no weight."""
    names, roles = served.speaker_names(values, spec.dataset), served.roles_of(spec.dataset)
    messages = [
        served.message_of(name, text, roles.get(name), None if loader else item.get("weight"), names)
        for _, name, text, item in served.named_items(values, spec.dataset, loader)
    ]
    return Conversation(tuple(messages))


def _render(conversation: Conversation, spec: FormatSpec, default: str = served.VICUNA) -> list[Rendered]:
    """Render a conversation; a part whose name is unknown is left out.

    Raises:
        DataError: the layout has no place for a message, or writes too many parts or too few.
    """
    name, messages = spec.dataset.conversation or default, conversation.messages
    layout = find_layout(name)
    opening, turns = served.split_opening(messages, name, layout, spec)
    if layout.style is GEMMA:
        served.require_system_written(messages, name, layout)
    if turns[0].role not in served.SPEAKERS:
        opening = opening._replace(train=turns.pop(0).train)  # a first turn of another role is dropped
    names = [(served.role_of(turn, name, layout, OTHER_ROLES), turn.content) for turn in turns]
    parts = written(layout, opening.content, names)
    is_unwritten = layout.style is CHATGLM3 and not all(turn.content for turn in turns)
    if abs(len(parts) - len(messages)) > 1 or is_unwritten:
        raise DataError(f"Axolotl refuses {len(messages)} messages that the layout {name} writes as {len(parts)} parts")
    messages_of_parts = [(part, turns[part.message] if part.message >= 0 else opening) for part in parts]
    return [Rendered(tuple(_segments(messages_of_parts, name, layout, spec)), bos="own")]


def _segments(parts: Sequence[tuple[Part, Message]], name: str, layout: Layout, spec: FormatSpec) -> list[Segment]:
    """Return the segments of the parts of a conversation, each with its message."""
    ends = 0 if served.writes_end(name, layout, tokenizer_of(spec)) else 1
    segments: list[Segment] = []
    for part, message in parts:
        kind = served.kind_by_name(part, layout, spec.dataset)
        opens = not kind and not part.role.strip()
        if not segments and not opens:
            segments.append(Segment("", False))  # only what opens a conversation is given a BOS token
        if kind == "output":
            segments.append(served.answer_span(part, message, layout, spec, ends=ends))
        elif opens and segments:
            segments.append(Segment(with_bos(part.text, spec), spec.train_on_inputs and message.train is None))
        elif kind or opens:
            text = served.header_of(part, message, layout) + part.text
            segments.append(Segment(text, spec.train_on_inputs and message.train is None))
    return segments


SHAREGPT = served.formats_of(_read, _render)
"""Value of `type` -> its record."""
