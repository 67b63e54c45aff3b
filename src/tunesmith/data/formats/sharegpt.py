"""`type: sharegpt`: conversations of `from` and `value` in a layout of FastChat, as Axolotl of 2024 tokenised them.

Each turn is tokenised alone, its role with it; the model's turns are trained without the role, with an end token.
"""

import re
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, Literal, NamedTuple

from tunesmith.data.formats.conversation import (
    Conversation,
    Message,
    answer,
    items_of,
    require_training,
    text_of,
    tokenizer_of,
    with_begin,
)
from tunesmith.data.formats.fastchat import CHATGLM3, GEMMA, Layout, Part, find_layout, written
from tunesmith.data.formats.spec import Format, FormatSpec, text_column
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError

USUAL = {"user": "human", "human": "human", "assistant": "gpt", "gpt": "gpt", "system": "system"}

OTHER_ROLES = {
    "chatml": "<|im_start|>{role}",
    "chatml_glaive": "<|im_start|>{role}",
    "zephyr": "<|{role}|>",
    "vicuna_v1.1": "{role}",
    "llama3": "{role}",
}
"""Layouts that can name a third speaker, and how."""
UPSTREAM_ROLES = {
    "chatml": "<|im_start|>{role}",
    "zephyr": "<|{role}|>",
    "vicuna_v1.1": "{role}",
    "llama3": "<|start_header_id|>{role}<|end_header_id|>",
}
"""The same in Axolotl, which writes the header of llama3 twice and refuses chatml_glaive by mistake."""

VICUNA = "vicuna_v1.1"
"""The layout of types that name none."""

Kind = Literal["opening", "input", "output", ""]

SETTABLE = ("chatml", "chatml_glaive", "llama3")
"""Layouts whose system text `default_system_message` replaces."""


class Keys(NamedTuple):
    """How the messages of a loader name things.

    Attributes:
        role: key of the role.
        text: key of the text.
        names: roles by other names.
        only: there are no roles besides these.
        column: column of the messages, where it is not conversations.
    """

    role: str
    text: str
    names: dict[str, str]
    only: bool = False
    column: str = "conversations"


LOADERS = {
    "load_role": Keys("role", "value", {}),
    "load_guanaco": Keys("role", "text", {"prompter": "human", "assistant": "gpt"}, only=True),
    "load_ultrachat": Keys("role", "content", {"user": "human", "assistant": "gpt"}, only=True, column="messages"),
}


def _guessed(first: Any) -> Keys:
    found = first if isinstance(first, dict) else {}
    text = "text" if "text" in found else "content" if "content" in found else "value"
    return Keys("role" if "role" in found else "from", text, USUAL)


def _read(values: dict[str, Any], spec: FormatSpec, loader: Keys | None = None) -> list[Message]:
    """Read a list of messages, with the keys of a loader, or those of the first message."""
    dataset = spec.dataset
    items = items_of(values, dataset, loader.column if loader else "conversations")
    keys = loader or (Keys("from", "value", {}) if dataset.strict else _guessed(items[0]))
    speakers = {dataset.field_human or "human": 0, dataset.field_model or "gpt": 1}
    names = values.get("roles") if (dataset.conversation or VICUNA) == VICUNA else None
    found = []
    for number, item in enumerate(items, 1):
        own, text = text_of(number, item, keys.role, keys.text)
        if keys.only and own not in keys.names:
            raise DataError(f"message {number}: role {own} is none of {', '.join(keys.names)}")
        name = keys.names.get(own, own)
        speaker = speakers.get(name)
        if speaker is None and not spec.upstream:
            speaker = speakers.get(own)  # `field_model: assistant` means what it says, though assistant is gpt's name
        weight = item.get("weight") if loader is None or not spec.upstream else None
        written_as = str(names[speaker]) if names and len(names) > 1 and speaker is not None else ""
        found.append(Message(name, text, speaker, 1 if weight is None else weight, written_as))
    return found


_GLAIVE = re.compile("(USER|ASSISTANT|FUNCTION RESPONSE): ")
_GLAIVE_NAMES = {"USER": "human", "ASSISTANT": "gpt", "FUNCTION RESPONSE": "tool"}


def _read_glaive(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    """Read a chat that is one text, with its speakers in capitals."""
    before, *pieces = _GLAIVE.split(text_column(values, "chat", None, spec.dataset))
    if before.strip():
        raise DataError(f"column chat should begin with USER: or another speaker; found {before.strip()[:40]!r}")
    system = str(values.get("system") or "").removeprefix("SYSTEM: ")
    said = [(_GLAIVE_NAMES[name], text.strip()) for name, text in zip(pieces[::2], pieces[1::2], strict=True)]
    found = [Message("system", system)] if system else []
    for name, turns in groupby(said, key=lambda turn: turn[0]):
        found.append(Message(name, "".join(text for _, text in turns), {"human": 0, "gpt": 1}.get(name)))
    return found


def _exchanges(*pairs: tuple[str, str]) -> list[Message]:
    return [Message(*message) for user, model in pairs for message in (("human", user, 0), ("gpt", model, 1))]


def _read_joke(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    joke, why = (text_column(values, column, None, spec.dataset) for column in ("text", "explanation"))
    title = f"{values['title']} " if values.get("title") else ""
    return _exchanges(("Tell me a joke.", title + joke), ("Why is that joke funny?", why))


def _read_instruct(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    keys = {"field_instruction": spec.dataset.field_instruction, "field_output": spec.dataset.field_output}
    instruction, output = (text_column(values, column, key, spec.dataset) for key, column in keys.items())
    return _exchanges((instruction, output))


def _render(messages: Sequence[Message], spec: FormatSpec, default: str = VICUNA) -> Rendered:
    """Lay out a conversation.

    Raises:
        DataError: the layout has no place for a message, or nothing is trained.
    """
    name = spec.dataset.conversation or default
    layout = find_layout(name)
    opening, said = _opening(messages, name, layout, spec)
    parts = written(layout, opening.text, [(_role(message, name, layout, spec), message.text) for message in said])
    unwritten = layout.style is CHATGLM3 and not all(message.text for message in said)
    if spec.upstream and (abs(len(parts) - len(messages)) > 1 or unwritten):
        raise DataError(f"Axolotl refuses {len(messages)} messages that the layout {name} writes as {len(parts)} parts")
    eos, bos = tokenizer_of(spec).eos_token, tokenizer_of(spec).bos_token
    closed = name == "chatml" and layout.ends[0] == f"{eos}\n"  # the layout's own end token is the tokenizer's
    spans: list[Span] = []
    answers = []
    for part in parts:
        message = said[part.message] if part.message >= 0 else opening
        kind = _kind(part, message, layout, spec)
        if spec.upstream and not spans and kind != "opening":
            spans.append(Span("", False))  # only what opens a conversation is given a begin token
        header = part.role
        if message.written and message.speaker is not None:
            header = header.replace(layout.roles[message.speaker], message.written)
        if kind == "output":
            ends = 0 if closed and (message.text or spec.upstream) else 1
            if message.weight == 0:
                spans.append(Span(header + part.text, False, ends=ends))
                continue
            spans.append(answer(header, part.text, inputs=spec.train_on_inputs, ends=ends))
            answers.append(message.text)
        elif kind:
            text = with_begin(part.text, spec) if kind == "opening" and spans else header + part.text
            spans.append(Span(text, spec.train_on_inputs and message.weight == 1))
    require_training(spans, answers, spec)
    if spec.upstream:
        return Rendered(tuple(spans), bos="own")
    spans = [span for span in spans if span.text]
    begun = bool(bos) and spans[0].text.startswith(bos)  # some layouts write one themselves
    return Rendered(tuple(spans), bos="never" if begun else "own")


def _opening(messages: Sequence[Message], name: str, layout: Layout, spec: FormatSpec) -> tuple[Message, list[Message]]:
    """Return the system turn, which may be the layout's own, and what is said after it."""
    if len(messages) < 2:
        raise DataError(f"a conversation needs two messages or more; found {len(messages)}")
    own = spec.default_system_message if name in SETTABLE else None
    system, said = Message("system", own or layout.system), list(messages)
    if said[0].name == "system":
        system = said.pop(0)
        if system.text and "{system}" not in layout.template and (layout.style is GEMMA or not spec.upstream):
            raise DataError(f"the layout {name} has no place for a system turn; found {system.text[:40]!r}")
    if spec.upstream and said[0].speaker is None:
        system = system._replace(weight=said.pop(0).weight)  # a first turn of another role is dropped without a word
    return system, said


def _role(message: Message, name: str, layout: Layout, spec: FormatSpec) -> str:
    """Return what a layout calls the speaker of a message."""
    if message.speaker is not None:
        return layout.roles[message.speaker]
    forms = UPSTREAM_ROLES if spec.upstream else OTHER_ROLES
    if name not in forms:
        raise DataError(
            f"role {message.name} is not the user's or the model's, and the layout {name} has no place for others; "
            f"set field_human or field_model, or `conversation` to one of {', '.join(forms)}"
        )
    return forms[name].format(role=message.name)


def _kind(part: Part, message: Message, layout: Layout, spec: FormatSpec) -> Kind:
    """Return what a part is to the model; empty if it is nothing, which Axolotl leaves out without a word."""
    if not spec.upstream and part.opens:
        return "opening"
    if not spec.upstream and message.speaker is not None:
        return "output" if message.speaker else "input"
    role, more = part.role.lower(), spec.dataset.roles
    if any(name.lower() in role for name in (layout.roles[0], *layout.roles[2:], *more.get("input", []))):
        return "input"
    if any(name.lower() in role for name in (layout.roles[1], *more.get("output", []))):
        return "output"
    if role.strip() and not spec.upstream:
        raise DataError(f"role {message.name} is neither heard nor trained; set roles: {{input: [{message.name}]}}")
    return "" if role.strip() else "opening"


SHAREGPT_TYPES = {
    "sharegpt": Conversation(_read, _render),
    **{f"sharegpt.{name}": Conversation(partial(_read, loader=keys), _render) for name, keys in LOADERS.items()},
    "sharegpt.load_glaive": Conversation(_read_glaive, partial(_render, default="chatml_glaive")),
}
SHAREGPT_TYPES |= {
    name.replace("sharegpt", "sharegpt_simple"): kind for name, kind in SHAREGPT_TYPES.items()
}  # of 2023
SHAREGPT_TYPES |= {
    "sharegpt:chat": SHAREGPT_TYPES["sharegpt"],
    "sharegpt_jokes": Conversation(_read_joke, _render),
    "instruct": Conversation(_read_instruct, _render),
}
SHAREGPT: dict[str, Format] = {name: kind.format for name, kind in SHAREGPT_TYPES.items()}
