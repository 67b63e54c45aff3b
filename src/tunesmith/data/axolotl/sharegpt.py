"""`type: sharegpt` under `mask: axolotl`: parts are heard or trained by the name in front of them."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.axolotl.dialogue import with_bos
from tunesmith.data.formats import sharegpt as served
from tunesmith.data.formats.conversation import Message, tokenizer_of
from tunesmith.data.formats.fastchat import CHATGLM3, GEMMA, find_layout, written
from tunesmith.data.formats.spec import Format, FormatSpec
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError

OTHER_ROLES = {
    "chatml": "<|im_start|>{role}",
    "zephyr": "<|{role}|>",
    "vicuna_v1.1": "{role}",
    "llama3": "<|start_header_id|>{role}<|end_header_id|>",
}
"""Layouts that can name a third speaker: the header of llama3 is written twice, chatml_glaive is refused by mistake."""


def _read(values: dict[str, Any], spec: FormatSpec, loader: served.Keys | None = None) -> list[Message]:
    """Read a list of messages; those of a loader have no weight."""
    names, speakers = served.speaker_names(values, spec.dataset), served.speakers_of(spec.dataset)
    return [
        served.message_of(name, text, speakers.get(name), None if loader else item.get("weight"), names)
        for _, name, text, item in served.named_items(values, spec.dataset, loader)
    ]


def _render(messages: Sequence[Message], spec: FormatSpec, default: str = served.VICUNA) -> Rendered:
    """Lay out a conversation; a part whose name is unknown is left out.

    Raises:
        DataError: the layout has no place for a message, or writes too many parts or too few.
    """
    name = spec.dataset.conversation or default
    layout = find_layout(name)
    opening, said = served.split_opening(messages, name, layout, spec)
    if layout.style is GEMMA:
        served.require_system_written(messages, name, layout)
    if said[0].speaker is None:
        opening = opening._replace(weight=said.pop(0).weight)  # a first turn of another role is dropped
    turns = [(served.role_of(message, name, layout, OTHER_ROLES), message.text) for message in said]
    parts = written(layout, opening.text, turns)
    unwritten = layout.style is CHATGLM3 and not all(message.text for message in said)
    if abs(len(parts) - len(messages)) > 1 or unwritten:
        raise DataError(f"Axolotl refuses {len(messages)} messages that the layout {name} writes as {len(parts)} parts")
    ends = 0 if served.writes_end(name, layout, tokenizer_of(spec)) else 1
    spans: list[Span] = []
    for part in parts:
        message = said[part.message] if part.message >= 0 else opening
        kind = served.kind_by_name(part, layout, spec.dataset)
        opens = not kind and not part.role.strip()
        if not spans and not opens:
            spans.append(Span("", False))  # only what opens a conversation is given a BOS token
        if kind == "output":
            spans.append(served.answer_span(part, message, layout, spec, ends=ends))
        elif kind or opens:
            later_opening = opens and spans
            text = with_bos(part.text, spec) if later_opening else served.header_of(part, message, layout) + part.text
            spans.append(Span(text, spec.train_on_inputs and message.weight == 1))
    return Rendered(tuple(spans), bos="own")


SHAREGPT_TYPES = served.types_of(_read, _render)
SHAREGPT: dict[str, Format] = {name: kind.format for name, kind in SHAREGPT_TYPES.items()}
