"""`type: sharegpt`: conversations of `from` and `value` in a layout of FastChat.

All that stands before an answer is tokenized as one text, as a server does; answers are trained without their role,
with an end token. Axolotl of 2024 tokenized each turn alone: see `data/axolotl/sharegpt.py`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import groupby
from typing import Any, Literal, NamedTuple

from tunesmith.data.formats.conversation import answer, items_of, require_training, text_of
from tunesmith.data.formats.fastchat import Layout, Part, find_layout, fixed_text, written
from tunesmith.data.formats.format import INSTRUCT_KEYS, Format, FormatSpec, text_column, tokenizer_of
from tunesmith.data.formats.marks import marks_for
from tunesmith.data.messages import Conversation, Message, text_message
from tunesmith.data.prefix import prompt_is_prefix
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Rendered, Segment
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


def _read(values: dict[str, Any], spec: FormatSpec, loader: Keys | None = None) -> Conversation:
    """Read a list of messages, with the keys of a loader, or those of the first message."""
    names = speaker_names(values, spec.dataset)
    roles = roles_of(spec.dataset)
    messages = []
    for own, name, text, item in named_items(values, spec.dataset, loader):
        # `field_model: assistant` means what it says, though assistant is gpt's name
        messages.append(message_of(name, text, roles.get(name, roles.get(own)), item.get("weight"), names))
    return Conversation(tuple(messages))


def roles_of(dataset: Dataset) -> dict[str, str]:
    """Return the names of user and model with their roles."""
    return {dataset.field_human or "human": "user", dataset.field_model or "gpt": "assistant"}


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


def message_of(name: str, text: str, role: str | None, weight: Any, names: Any) -> Message:
    """Return a message; `names` are what the row calls user and model, `role` is one of these or None.

    A weight of 0 masks an answer; any weight but 1 keeps a prompt masked where prompts are trained.
    """
    train = None if weight is None or weight == 1 else weight != 0
    if role is None:
        return text_message("system" if name == "system" else "other", text, train, name=name)
    if names and len(names) > 1:
        return text_message(role, text, train, name=str(names[role == "assistant"]))
    return text_message(role, text, train)


_GLAIVE = re.compile("(USER|ASSISTANT|FUNCTION RESPONSE): ")
_GLAIVE_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "other"}


def _read_glaive(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read a chat that is one text, with its speakers in capitals."""
    before, *pieces = _GLAIVE.split(text_column(values, "chat", None, spec.dataset))
    if before.strip():
        raise DataError(f"column chat should begin with USER: or another speaker; found {before.strip()[:40]!r}")
    system = str(values.get("system") or "").removeprefix("SYSTEM: ")
    turns = [(_GLAIVE_ROLES[name], text.strip()) for name, text in zip(pieces[::2], pieces[1::2], strict=True)]
    messages = [text_message("system", system)] if system else []
    for role, texts in groupby(turns, key=lambda turn: turn[0]):
        text = "".join(text for _, text in texts)
        messages.append(text_message(role, text, name="tool") if role == "other" else text_message(role, text))
    return Conversation(tuple(messages))


def _exchanges(*pairs: tuple[str, str]) -> Conversation:
    roles = ("user", "assistant")
    return Conversation(
        tuple(text_message(role, text) for pair in pairs for role, text in zip(roles, pair, strict=True))
    )


def _read_joke(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    joke, why = (text_column(values, column, None, spec.dataset) for column in ("text", "explanation"))
    title = f"{values['title']} " if values.get("title") else ""
    return _exchanges(("Tell me a joke.", title + joke), ("Why is that joke funny?", why))


def _read_instruct(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    keys = {"field_instruction": spec.dataset.field_instruction, "field_output": spec.dataset.field_output}
    instruction, output = (text_column(values, column, key, spec.dataset) for key, column in keys.items())
    return _exchanges((instruction, output))


def _render(conversation: Conversation, spec: FormatSpec, default: str = VICUNA) -> list[Rendered]:
    """Render a conversation in its FastChat layout.

    Raises:
        DataError: the layout has no place for a message, or nothing is trained.
    """
    name, messages = spec.dataset.conversation or default, conversation.messages
    layout, tokenizer = find_layout(name), tokenizer_of(spec)
    opening, turns = split_opening(messages, name, layout, spec)
    require_system_written(messages, name, layout)
    names = [(role_of(turn, name, layout, OTHER_ROLES), turn.content) for turn in turns]
    parts = written(layout, opening.content, names, marks_for(tokenizer))
    segments, answers = _segments(
        [(part, turns[part.message] if part.message >= 0 else opening) for part in parts], layout, spec
    )
    require_training(segments, answers, inputs=spec.train_on_inputs)
    bos = tokenizer.bos_token
    has_bos = bool(bos) and segments[0].text.startswith(bos or "")  # some layouts write one
    return [Rendered(tuple(segments), bos="never" if has_bos else "own")]


def _segments(
    parts: Sequence[tuple[Part, Message]], layout: Layout, spec: FormatSpec
) -> tuple[list[Segment], list[str]]:
    """Return the segments of a conversation, and the answers in it that are trained."""
    segments: list[Segment] = []
    answers: list[str] = []
    prompt: Segment | None = None
    is_answered = True
    for part, message in parts:
        is_answered = _is_output(part, message, layout, spec.dataset)
        if is_answered:
            segment, after = _answer(part, message, layout, spec)
            segments += _joined(prompt, segment)
            prompt = Segment(after, spec.train_on_inputs) if after else None
            answers += [message.content] if message.train is not False else []
        else:
            text = header_of(part, message, layout) + part.text
            *before, prompt = _joined(prompt, Segment(text, spec.train_on_inputs and message.train is None))
            segments += before
    segments += [prompt] if prompt and not is_answered else []
    return [segment for segment in segments if segment.text], answers


def _answer(part: Part, message: Message, layout: Layout, spec: FormatSpec) -> tuple[Segment, str]:
    """Return an answer, and what the layout writes after its EOS token, which stands before the next prompt."""
    tokenizer, header = tokenizer_of(spec), header_of(part, message, layout)
    content = message.content.strip()
    end = part.text.rfind(content) + len(content) if content else 0
    eos = tokenizer.eos_token or ""
    start = part.text.find(eos, end) if eos else -1
    split = len(part.text) if start < 0 else start + len(eos)
    own = part._replace(text=part.text[:split])
    segment = answer_span(own, message, layout, spec, ends=int(start < 0))
    if segment.header:
        segment = segment._replace(header=_fed_header(header, tokenizer))
    return segment, part.text[split:]


@lru_cache(maxsize=256)
def _fed_header(header: str, tokenizer: Tokenizer) -> str:
    """Return the part of a role's header that the prompt ends with: without the space, which merges with the answer.

    A line break stays, as in FastChat's own prompts, unless it becomes other tokens before an answer.
    """
    ids = tokenizer(f"{header}x", add_special_tokens=False)["input_ids"]
    fed = header.rstrip(" ")
    fed_ids = tokenizer(fed, add_special_tokens=False)["input_ids"]
    return fed if prompt_is_prefix(fed_ids, ids) else header.rstrip()


def _joined(prompt: Segment | None, following: Segment) -> list[Segment]:
    """Return a prompt with what follows it as one segment, if all in the loss is at the end of it."""
    if prompt is None:
        return [following]
    if prompt.train and (following.header or not following.train):
        return [prompt, following]
    header = prompt.header if prompt.train else prompt.text + following.header
    return [following._replace(text=prompt.text + following.text, header=header if following.train else "")]


def split_opening(
    messages: Sequence[Message], name: str, layout: Layout, spec: FormatSpec
) -> tuple[Message, list[Message]]:
    """Return the system message, which may be the layout's own, and the other messages."""
    if len(messages) < 2:
        raise DataError(f"a conversation needs two messages or more; found {len(messages)}")
    if messages[0].role == "system":
        return messages[0], list(messages[1:])
    own = spec.default_system_message if name in SETTABLE else None
    return text_message("system", own or layout.system), list(messages)


def require_system_written(messages: Sequence[Message], name: str, layout: Layout) -> None:
    """Raise a DataError if a conversation has a system message and its layout none."""
    system = messages[0]
    if system.role == "system" and system.content and "{system}" not in layout.template:
        raise DataError(f"the layout {name} has no place for a system turn; found {system.content[:40]!r}")


def writes_end(name: str, layout: Layout, tokenizer: Tokenizer) -> bool:
    """Whether the layout's own end token is the tokenizer's."""
    return name == "chatml" and layout.ends[0] == f"{tokenizer.eos_token}\n"


def layout_text(dataset: Dataset, default: str = VICUNA) -> str:
    """Return all that the layout of a dataset itself may write."""
    return fixed_text(find_layout(dataset.conversation or default))


SPEAKERS = ("user", "assistant")
"""Roles that each layout has names for."""


def header_of(part: Part, message: Message, layout: Layout) -> str:
    """Return what stands before the text of a message, with the name that the row gives its writer."""
    if message.role in SPEAKERS and "name" in message.fields:
        return part.role.replace(layout.roles[SPEAKERS.index(message.role)], message.name)
    return part.role


def answer_span(part: Part, message: Message, layout: Layout, spec: FormatSpec, *, ends: int) -> Segment:
    """Return an answer, which is masked if its weight is 0."""
    header = header_of(part, message, layout)
    if message.train is False:
        return Segment(header + part.text, False, eos_count=ends)
    return answer(header, part.text, inputs=spec.train_on_inputs, ends=ends)


def role_of(message: Message, name: str, layout: Layout, others: Mapping[str, str]) -> str:
    """Return what a layout calls the writer of a message; `others` are the layouts that can name a third one."""
    if message.role in SPEAKERS:
        return layout.roles[SPEAKERS.index(message.role)]
    if name not in others:
        raise DataError(
            f"role {message.name} is not the user's or the model's, and the layout {name} has no place for others; "
            f"set field_human or field_model, or `conversation` to one of {', '.join(others)}"
        )
    return others[name].format(role=message.name)


def _is_output(part: Part, message: Message, layout: Layout, dataset: Dataset) -> bool:
    if part.opens:
        return False
    if message.role in SPEAKERS:
        return message.role == "assistant"
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


STYLE_KEYS = frozenset({"conversation", "default_system_message"})
KEYS = STYLE_KEYS | {"roles", "field_messages", "field_human", "field_model", "strict"}


def formats_of(read: Callable[..., Conversation], render: Callable[..., list[Rendered]]) -> dict[str, Format]:
    """Return the types, whose messages `read` takes from a row and `render` writes."""
    reads: dict[str, Callable[..., Conversation]] = {
        "sharegpt": read,
        **{f"sharegpt.{name}": partial(read, loader=keys) for name, keys in LOADERS.items()},
        "sharegpt.load_glaive": _read_glaive,
    }
    renders = {"sharegpt.load_glaive": partial(render, default="chatml_glaive")}
    formats = {
        name: Format(
            name, reader, renders.get(name, render), keys=KEYS, turns=True, roles=True, layout_text=layout_text
        )
        for name, reader in reads.items()
    }
    older = {name.replace("sharegpt", "sharegpt_simple"): record for name, record in formats.items()}  # of 2023
    more = {"sharegpt:chat": formats["sharegpt"], "sharegpt_jokes": replace(formats["sharegpt"], read=_read_joke)}
    glaive = formats["sharegpt.load_glaive"]
    formats[glaive.name] = replace(glaive, layout_text=partial(layout_text, default="chatml_glaive"))
    single = {
        "instruct": Format("instruct", _read_instruct, render, keys=INSTRUCT_KEYS | STYLE_KEYS, layout_text=layout_text)
    }
    more["sharegpt_jokes"] = replace(more["sharegpt_jokes"], roles=False)
    older = {name: replace(record, roles=False) for name, record in older.items()}
    named = {name: replace(record, name=name) for name, record in (older | more).items()}
    return formats | named | single


SHAREGPT = formats_of(_read, _render)
"""Value of `type` -> its record."""
