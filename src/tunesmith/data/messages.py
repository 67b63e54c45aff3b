"""Messages: what every dataset type of conversations is read into, and every renderer writes."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any, NamedTuple

Range = tuple[int, int]
"""Characters from a start up to an end, which is excluded."""
Tools = list[Any] | None
"""Schemas of the tools that a conversation may call."""
WireMessage = dict[str, Any]
"""A message as chat templates and servers see it: role, content, and more."""
REASONING = "reasoning_content"
"""The usual key of the reasoning in a message."""


class Text(NamedTuple):
    """Text of a message, with the ranges of it that are masked though the message is trained."""

    text: str
    masked: tuple[Range, ...] = ()


class Thinking(NamedTuple):
    """Reasoning before an answer, with the ranges of it that are masked."""

    text: str
    masked: tuple[Range, ...] = ()


class ToolCall(NamedTuple):
    """A call of a tool, as the row has it; arguments are a mapping."""

    call: Any


Part = Text | Thinking | ToolCall


class Message(NamedTuple):
    """A message of a conversation.

    Attributes:
        role: system, user, assistant, tool, or another role by its own name.
        parts: its content.
        train: the row's own flag: whether the message is trained. None leaves it to the dataset's settings.
        fields: what else the row's message holds, such as `name`; a chat template may read it.
    """

    role: str
    parts: tuple[Part, ...] = ()
    train: bool | None = None
    fields: Mapping[str, Any] = MappingProxyType({})

    @property
    def content(self) -> str:
        """The text; empty for a message that only calls tools."""
        return "".join([part.text for part in self.parts if isinstance(part, Text)])

    @property
    def masked(self) -> tuple[Range, ...]:
        """The masked ranges of `content`."""
        texts = [part for part in self.parts if isinstance(part, Text)]
        offsets = accumulate((len(part.text) for part in texts), initial=0)
        return tuple(
            (offset + start, offset + end)
            for offset, part in zip(offsets, texts, strict=False)
            for start, end in part.masked
        )

    @property
    def thinking(self) -> Thinking | None:
        """The reasoning, if there is any."""
        return next((part for part in self.parts if isinstance(part, Thinking)), None)

    @property
    def tool_calls(self) -> list[Any]:
        """The calls of tools."""
        return [part.call for part in self.parts if isinstance(part, ToolCall)]

    @property
    def name(self) -> str:
        """The name that the row gives the writer, or the role."""
        return str(self.fields.get("name", self.role))

    def to_wire(self, thinking_key: str = REASONING) -> WireMessage:
        """Return the message as a chat template sees it; its reasoning stands under `thinking_key`."""
        message: WireMessage = {**self.fields, "role": self.role, "content": self.content}
        if (thinking := self.thinking) is not None:
            message[thinking_key] = thinking.text
        if calls := self.tool_calls:
            message["tool_calls"] = calls
        return message


class Conversation(NamedTuple):
    """A row as messages.

    Attributes:
        messages: in order.
        tools: schemas of the tools.
        first: index of the first message that may be trained.
    """

    messages: tuple[Message, ...]
    tools: Tools = None
    first: int = 0

    def until(self, index: int) -> "Conversation":
        """Return the conversation before message `index`."""
        return self._replace(messages=self.messages[:index])


def text_message(role: str, text: str, train: bool | None = None, **fields: Any) -> Message:
    """Return a message that is one text."""
    return Message(role, (Text(text),), train, fields)


def find_answer(messages: Sequence[Message]) -> int | None:
    """Return the index of the last answer that is trained and not blank; None if there is none."""
    answers = [
        index
        for index, message in enumerate(messages)
        if message.role == "assistant" and message.train is not False and message.content.strip()
    ]
    return answers[-1] if answers else None
