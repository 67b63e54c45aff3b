"""`type: sharegpt`: conversations of `from` and `value` in a layout of FastChat, as Axolotl of 2024 tokenised them.

Each turn is tokenised alone, its role with it; the model's turns are trained without the role, with an end token.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
)
from tunesmith.data.formats.fastchat import Layout, Part, find_layout, written
from tunesmith.data.formats.spec import Format, FormatSpec, text_column
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

USUAL = {"user": "human", "human": "human", "assistant": "gpt", "gpt": "gpt", "system": "system"}

OTHER_ROLES = {
    "chatml": "<|im_start|>{role}",
    "chatml_glaive": "<|im_start|>{role}",
    "zephyr": "<|{role}|>",
    "vicuna_v1.1": "{role}",
    "llama3": "{role}",
}
"""Layouts that can name a third speaker, and how."""

VICUNA = "vicuna_v1.1"
"""The layout of types that name none."""

Kind = Literal["input", "output", ""]

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
    names = speaker_names(values, spec.dataset)
    speakers = speakers_of(spec.dataset)
    found = []
    for own, name, text, item in named_items(values, spec.dataset, loader):
        # `field_model: assistant` means what it says, though assistant is gpt's name
        found.append(message_of(name, text, speakers.get(name, speakers.get(own)), item.get("weight"), names))
    return found


def speakers_of(dataset: Dataset) -> dict[str, int]:
    """Return the roles of user and model with their numbers."""
    return {dataset.field_human or "human": 0, dataset.field_model or "gpt": 1}


def speaker_names(values: dict[str, Any], dataset: Dataset) -> Any:
    """Return what a row calls user and model, in the layout that takes names from the row."""
    return values.get("roles") if (dataset.conversation or VICUNA) == VICUNA else None


def named_items(
    values: dict[str, Any], dataset: Dataset, loader: Keys | None
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield the messages of a row: their role, its usual name, their text, and the message itself.

    Raises:
        DataError: one lacks role or text, or the loader does not know its role.
    """
    items = items_of(values, dataset, loader.column if loader else "conversations")
    keys = loader or (Keys("from", "value", {}) if dataset.strict else _guessed(items[0]))
    for number, item in enumerate(items, 1):
        own, text = text_of(number, item, keys.role, keys.text)
        if keys.only and own not in keys.names:
            raise DataError(f"message {number}: role {own} is none of {', '.join(keys.names)}")
        yield own, keys.names.get(own, own), text, item


def message_of(name: str, text: str, speaker: int | None, weight: Any, names: Any) -> Message:
    """Return a message; `names` are what the row calls user and model."""
    written_as = str(names[speaker]) if names and len(names) > 1 and speaker is not None else ""
    return Message(name, text, speaker, 1 if weight is None else weight, written_as)


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
    layout, tokenizer = find_layout(name), tokenizer_of(spec)
    opening, said = split_opening(messages, name, layout, spec)
    require_system_written(messages, name, layout)
    turns = [(role_of(message, name, layout, OTHER_ROLES), message.text) for message in said]
    closed = writes_end(name, layout, tokenizer)
    spans: list[Span] = []
    answers = []
    for part in written(layout, opening.text, turns):
        message = said[part.message] if part.message >= 0 else opening
        if _is_output(part, message, layout, spec.dataset):
            spans.append(answer_span(part, message, layout, spec, ends=0 if closed and message.text else 1))
            answers += [message.text] if message.weight != 0 else []
        else:
            text = header_of(part, message, layout) + part.text
            spans.append(Span(text, spec.train_on_inputs and message.weight == 1))
    require_training(spans, answers, spec)
    spans = [span for span in spans if span.text]
    has_bos = bool(tokenizer.bos_token) and spans[0].text.startswith(tokenizer.bos_token)  # some layouts write one
    return Rendered(tuple(spans), bos="never" if has_bos else "own")


def split_opening(
    messages: Sequence[Message], name: str, layout: Layout, spec: FormatSpec
) -> tuple[Message, list[Message]]:
    """Return the system turn, which may be the layout's own, and what is said after it."""
    if len(messages) < 2:
        raise DataError(f"a conversation needs two messages or more; found {len(messages)}")
    if messages[0].name == "system":
        return messages[0], list(messages[1:])
    own = spec.default_system_message if name in SETTABLE else None
    return Message("system", own or layout.system), list(messages)


def require_system_written(messages: Sequence[Message], name: str, layout: Layout) -> None:
    """Raise a DataError if a conversation has a system turn and its layout none."""
    system = messages[0]
    if system.name == "system" and system.text and "{system}" not in layout.template:
        raise DataError(f"the layout {name} has no place for a system turn; found {system.text[:40]!r}")


def writes_end(name: str, layout: Layout, tokenizer: Tokenizer) -> bool:
    """Whether the layout's own end token is the tokenizer's."""
    return name == "chatml" and layout.ends[0] == f"{tokenizer.eos_token}\n"


def header_of(part: Part, message: Message, layout: Layout) -> str:
    """Return what stands before the text of a message, with the name that the row gives its speaker."""
    if message.written and message.speaker is not None:
        return part.role.replace(layout.roles[message.speaker], message.written)
    return part.role


def answer_span(part: Part, message: Message, layout: Layout, spec: FormatSpec, *, ends: int) -> Span:
    """Return an answer, which is not trained if its weight is 0."""
    header = header_of(part, message, layout)
    if message.weight == 0:
        return Span(header + part.text, False, ends=ends)
    return answer(header, part.text, inputs=spec.train_on_inputs, ends=ends)


def role_of(message: Message, name: str, layout: Layout, others: Mapping[str, str]) -> str:
    """Return what a layout calls the speaker of a message; `others` are the layouts that can name a third one."""
    if message.speaker is not None:
        return layout.roles[message.speaker]
    if name not in others:
        raise DataError(
            f"role {message.name} is not the user's or the model's, and the layout {name} has no place for others; "
            f"set field_human or field_model, or `conversation` to one of {', '.join(others)}"
        )
    return others[name].format(role=message.name)


def _is_output(part: Part, message: Message, layout: Layout, dataset: Dataset) -> bool:
    if part.opens:
        return False
    if message.speaker is not None:
        return message.speaker == 1
    kind = kind_by_name(part, layout, dataset)
    if not kind:
        raise DataError(f"role {message.name} is neither heard nor trained; set roles: {{input: [{message.name}]}}")
    return kind == "output"


def kind_by_name(part: Part, layout: Layout, dataset: Dataset) -> Kind:
    """Return what a part is to the model by the name of its speaker; empty if that tells nothing."""
    role, more = part.role.lower(), dataset.roles
    if any(name.lower() in role for name in (layout.roles[0], *layout.roles[2:], *more.get("input", []))):
        return "input"
    if any(name.lower() in role for name in (layout.roles[1], *more.get("output", []))):
        return "output"
    return ""


def types_of(read: Callable[..., list[Message]], render: Callable[..., Rendered]) -> dict[str, Conversation]:
    """Return the types, whose messages `read` takes from a row and `render` lays out."""
    types = {"sharegpt": Conversation(read, render)}
    types |= {f"sharegpt.{name}": Conversation(partial(read, loader=keys), render) for name, keys in LOADERS.items()}
    types["sharegpt.load_glaive"] = Conversation(_read_glaive, partial(render, default="chatml_glaive"))
    types |= {name.replace("sharegpt", "sharegpt_simple"): kind for name, kind in types.items()}  # of 2023
    return types | {
        "sharegpt:chat": types["sharegpt"],
        "sharegpt_jokes": Conversation(_read_joke, render),
        "instruct": Conversation(_read_instruct, render),
    }


SHAREGPT_TYPES = types_of(_read, _render)
SHAREGPT: dict[str, Format] = {name: kind.format for name, kind in SHAREGPT_TYPES.items()}
