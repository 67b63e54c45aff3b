"""Conversations, rendered by a chat template, with served-prompt masking.

For assistant message i, let P_i be what a server would feed the model: the messages before it, with the generation
prompt. In the loss is exactly what the model must generate after P_i, through the token that ends its turn. If the
template keeps what it wrote of earlier messages, one sample trains all of them. If it rewrites them (Qwen3 drops old
thinking), each trained message is a sample of its own, rendered as the last one, as it is when served. A template for
which P_i is not a prefix of the text of message i cannot be served as trained: its row is refused, with the first
difference.

Contents are found by one more render with markers in their place. The text between contents is the same in each row,
so the ends of messages in it are found by exact rendering once (`_SpanFinder`) and looked up after that: the cost is
linear in the number of messages.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.data.formats.format import Columns, Format, FormatSpec, template_of
from tunesmith.data.formats.messages import read_messages, read_tools
from tunesmith.data.messages import Conversation, Message, Tools, WireMessage
from tunesmith.data.prefix import CHOOSE_OTHER, describe_difference, prompt_is_prefix
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import DataError

_MARK = "\ue000"
"""A character of no language, to find the offset of a content in a template's text."""

PLAIN_KEYS = {"role", "content", "name", "tool_call_id"}
"""Keys of a message whose text a template may leave out."""


def read_chat(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read a row of messages."""
    return Conversation(read_messages(values, spec.dataset), read_tools(values, spec.dataset))


def render_chat(conversation: Conversation, spec: FormatSpec) -> list[Rendered]:
    """Render a conversation; its trained turns are masked as described above.

    Raises:
        DataError: nothing is trained, or the template cannot be served as trained.
    """
    turns, tools, first = conversation
    require_answer(turns[first:])
    template = template_of(spec)
    messages = [turn.to_wire(spec.dataset.template_thinking_key) for turn in turns]
    if spec.train_on_inputs:
        return [Rendered((Segment(template.render(messages, tools=tools), True),), tokenize_whole=True)]
    trained = {index: parts for index, parts in trained_turns(turns, spec).items() if index >= first}
    if not trained:
        roles = sorted({turn.role for turn in turns})
        raise DataError(f"no turn is trained: roles_to_train is {spec.dataset.roles_to_train}, the row has {roles}")
    try:
        return [_render_sample(turns, messages, trained, template, tools)]
    except _Rewritten as rewritten:
        if len(turns) == 1 or not any(turns[index].role == "assistant" for index in trained):
            raise DataError(str(rewritten)) from None
        return [
            _render_sample(turns[: index + 1], messages[: index + 1], {index: trained[index]}, template, tools)
            for index in trained
        ]


def chat_prompt(conversation: Conversation, spec: FormatSpec) -> Rendered:
    """Render the messages so far as the prompt for the next answer."""
    messages = [message.to_wire(spec.dataset.template_thinking_key) for message in conversation.messages]
    return wire_prompt(messages, spec, conversation.tools)


def wire_prompt(messages: Sequence[WireMessage], spec: FormatSpec, tools: Tools = None) -> Rendered:
    """Render messages as a client sends them as the prompt for the next answer."""
    text = template_of(spec).render(messages, add_generation_prompt=True, tools=tools)
    return Rendered((Segment(text, False),), tokenize_whole=True)


def require_answer(messages: Sequence[Message]) -> None:
    """Raise a DataError for a conversation without an answer."""
    answers = [message for message in messages if message.role == "assistant"]
    if not any(message.content.strip() or message.tool_calls for message in answers):
        raise DataError("no assistant turn has content: there is nothing to train")


class _Trained(NamedTuple):
    """What of a turn is trained: its content, and the token that ends it."""

    content: bool
    end: bool


def trained_turns(turns: Sequence[Message], spec: FormatSpec) -> dict[int, _Trained]:
    """Return what is trained of each turn of which anything is."""
    roles = [spec.dataset.common_role(role) for role in spec.dataset.roles_to_train or []]
    ends = spec.dataset.train_on_eot or spec.dataset.train_on_eos
    found = {}
    for index, turn in enumerate(turns):
        content = turn.role in roles if turn.train is None else turn.train
        end = ends == "all" or (ends == "turn" and content) or (ends == "last" and index == len(turns) - 1)
        if content or end:
            found[index] = _Trained(content, end)
    return found


class _Rewritten(Exception):
    """The text of earlier turns is not what it was when they were last."""


def _render_sample(
    turns: Sequence[Message],
    messages: list[WireMessage],
    trained: dict[int, _Trained],
    template: ChatTemplate,
    tools: Tools,
) -> Rendered:
    """Return one sample of a conversation, in which the turns of `trained` are trained."""
    full = template.render(messages, tools=tools)
    finder = _SpanFinder(template, messages, tools, full)
    places = finder.find_contents()
    ranges: list[tuple[int, int, bool]] = []
    prompt_ends = []
    for index, part in trained.items():
        is_generated = turns[index].role == "assistant" and index > 0  # nothing is fed before a first turn
        has_prompt = is_generated and part.content
        start = finder.prompt_end(index, places) if has_prompt else places[index].start
        ranges += _turn_ranges(turns[index], part, places[index], start, finder.turn_end(index, places), finder)
        prompt_ends += [start] if has_prompt else []
    if prompt_ends:
        finder.verify(max(index for index in trained if turns[index].role == "assistant" and trained[index].content))
    return Rendered(_spans(full, ranges), tokenize_whole=True, prompt_ends=tuple(prompt_ends))


def _turn_ranges(
    turn: Message, part: _Trained, place: "_Place", start: int, turn_end: int, finder: "_SpanFinder"
) -> list[tuple[int, int, bool]]:
    """Return the trained characters of a turn, and the masked ones in them, which have True as the third item."""
    is_hidden = not place.exact and bool(turn.content.strip() or (turn.thinking and turn.thinking.text))
    content_end = max(place.end, start)
    stop = _stop(finder.full, content_end, turn_end, finder.template, last=bool(turn.tool_calls) or is_hidden)
    if not part.content:
        return [(*stop, False)] if stop else []
    end = content_end
    if stop:
        end = stop[1] if part.end else stop[0]
    return [(start, end, False), *_masked_ranges(turn, finder.full, start, place)]


def _masked_ranges(turn: Message, full: str, start: int, place: "_Place") -> list[tuple[int, int, bool]]:
    """Return the characters of a trained turn that its flags mask.

    Raises:
        DataError: they are not found, because the template changes the text.
    """
    thinking, masked = turn.thinking, turn.masked
    thinking_start = full.find(thinking.text, start, place.start) if thinking and thinking.masked else 0
    if thinking_start < 0 or (masked and not place.exact):
        raise DataError("the chat template changes a text of which only parts are trained, so that they are not found")
    shift = turn.content.find(full[place.start : place.end]) if masked else 0  # space that the template strips
    ranges = [
        (max(place.start, place.start + first - shift), min(place.end, place.start + last - shift))
        for first, last in masked
    ]
    ranges += [(thinking_start + first, thinking_start + last) for first, last in (thinking.masked if thinking else ())]
    return [(first, last, True) for first, last in ranges if first < last]


def _stop(text: str, start: int, end: int, template: ChatTemplate, *, last: bool) -> tuple[int, int] | None:
    """Return the characters of what ends a turn whose content ends at `start`, or None.

    It is the first end token; where the content is not found, or calls of tools follow, which hold any text, the last.
    An end token that follows at once (Cohere's response and turn end apart) belongs to it.
    """
    find = text.rfind if last else text.find
    for stops in (template.ends(), template.stops):
        found = [(place, place + len(stop)) for stop in stops if (place := find(stop, start, end)) >= 0]
        if found:
            begin, over = max(found) if last else min(found)
            eos = template.tokenizer.eos_token or ""
            return begin, over + (len(eos) if eos and text.startswith(eos, over) else 0)
    return None


def _spans(text: str, parts: list[tuple[int, int, bool]]) -> tuple[Segment, ...]:
    """Return the text in segments; `parts` are its trained characters, and the masked ones in them."""
    holes = [(begin, end) for begin, end, hole in parts if hole]
    segments: list[Segment] = []
    last = 0
    for start, end in sorted((begin, end) for begin, end, hole in parts if not hole):
        segments.append(Segment(text[last:start], False))
        last = start
        for begin, over in sorted(hole for hole in holes if start <= hole[0] < end):
            segments += [Segment(text[last:begin], True), Segment(text[begin : min(over, end)], False, masked=True)]
            last = min(over, end)
        segments.append(Segment(text[last:end], True))
        last = end
    return tuple(segment for segment in [*segments, Segment(text[last:], False)] if segment.text)


class _Place(NamedTuple):
    """Where a turn's content stands in the text; `exact` if it stands there as it is, but for space around it."""

    start: int
    end: int
    exact: bool


class _SpanFinder:
    """Finds the borders of turns in the text of one conversation.

    Each border is found by rendering the turns up to it, once for each kind of border; what was found is kept in
    `template.learnt` as the text between the last content and the border, and looked up in the next place.
    """

    def __init__(self, template: ChatTemplate, messages: list[WireMessage], tools: Tools, full: str) -> None:
        self.template, self.messages, self.tools, self.full = template, messages, tools, full
        self.careful = False
        self.last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
        self.kinds = [(m["role"], bool(_text(m).strip()), *sorted(m.keys() - {"content"})) for m in messages]

    def _key(self, what: str, index: int) -> tuple[Any, ...]:
        return (what, index == 0, index > self.last_user, bool(self.tools), *self.kinds[max(0, index - 1) : index + 2])

    def _render(self, count: int, **options: bool) -> str:
        return self.template.render(self.messages[:count], tools=self.tools, **options)

    def find_contents(self) -> list[_Place]:
        """Return the place of each turn's content.

        Raises:
            DataError: the template leaves out what the system or the user says.
        """
        found = self._marked_contents()
        self.careful = found is None or not all(self._shows_reasoning(message) for message in self.messages)
        if found is None:
            found = []
            for index in range(len(self.messages)):
                found.append(self._find_content(index, found[-1].end if found else 0))
        for index, (message, place) in enumerate(zip(self.messages, found, strict=True)):
            content = _text(message).strip()
            if not place.exact and content and message["role"] in ("system", "user") and content not in self.full:
                raise DataError(
                    f"the chat template leaves out message {index + 1} ({message['role']}): {content[:40]!r}; "
                    "choose another `chat_template`"
                )
        return found

    def _shows_reasoning(self, message: dict[str, Any]) -> bool:
        """Whether the text shows all that a message says besides its content, such as its reasoning."""
        said = [value for key, value in message.items() if key not in PLAIN_KEYS and isinstance(value, str)]
        return all(value.strip() in self.full for value in said)

    def _marked_contents(self) -> list[_Place] | None:
        """Find all contents by one render with a mark in place of each; None if their text changes what is around."""
        marked = [
            message | {"content": f"{_MARK}{index}{_MARK}"} if _text(message).strip() else message
            for index, message in enumerate(self.messages)
        ]
        pieces = re.split(f"{_MARK}(\\d+){_MARK}", self.template.render(marked, tools=self.tools))
        shown = [int(number) for number in pieces[1::2]]
        if not self.full.startswith(pieces[0]) or shown != sorted(set(shown)):
            return None
        cursor, places = len(pieces[0]), {}
        for index, following in zip(shown, pieces[2::2], strict=True):
            place = _shown(_text(self.messages[index]), self.full, cursor, following)
            if place is None:
                return None
            places[index], cursor = place, place.end + len(following)
        if cursor != len(self.full):
            return None
        found: list[_Place] = []
        for index in range(len(self.messages)):
            last = found[-1].end if found else 0
            found.append(places.get(index, _Place(last, last, False)))
        return found

    def _find_content(self, index: int, cursor: int) -> _Place:
        content = _text(self.messages[index]).strip()
        if not content:
            return _Place(cursor, cursor, False)
        marked = [*self.messages[:index], self.messages[index] | {"content": _MARK}]
        try:
            start = self.template.render(marked, tools=self.tools).find(_MARK)
        except DataError:  # a template may refuse a conversation that ends here
            start = -1
        place = _shown(_text(self.messages[index]), self.full, start) if start >= cursor else None
        return place or _Place(cursor, cursor, False)

    def prompt_end(self, index: int, places: list[_Place]) -> int:
        """Return where the prompt for turn `index` ends.

        Raises:
            DataError: the text of the turn does not begin with its prompt.
        """
        return self._border("fed", index, index - 1, places)

    def turn_end(self, index: int, places: list[_Place]) -> int:
        """Return where the text of turn `index` ends."""
        return len(self.full) if index == len(self.messages) - 1 else self._border("through", index, index, places)

    def _border(self, what: str, index: int, before: int, places: list[_Place]) -> int:
        place, following = places[before], places[before + 1]
        key, header_key = self._key(what, index), self._key("header", before + 1)
        if not self.careful:
            known = self.template.learnt.get(key) if place.exact else None
            if known is not None and self.full.startswith(known, place.end):
                return place.end + len(known)
            header = self.template.learnt.get(header_key) if what == "through" and following.exact else None
            if header is not None and self.full.endswith(header, 0, following.start):
                return following.start - len(header)
        text = self._render(index, add_generation_prompt=True) if what == "fed" else self._render(index + 1)
        if not prompt_is_prefix(text, self.full):
            self._refuse(index)
        if self.careful:
            return len(text)
        if place.exact:
            self.template.learnt[key] = self.full[place.end : len(text)]
        elif what == "through" and following.exact and following.start >= len(text):
            self.template.learnt[header_key] = self.full[len(text) : following.start]
        return len(text)

    def verify(self, index: int) -> None:
        """Render the prompt of turn `index` and compare: what was looked up must be what is served."""
        if not prompt_is_prefix(self._render(index, add_generation_prompt=True), self.full):
            self._refuse(index)

    def _refuse(self, index: int) -> None:
        """Raise what is wrong with turn `index`: rewritten later, or not servable at all."""
        served = self._render(index, add_generation_prompt=True)
        alone = self.full if index == len(self.messages) - 1 else self._render(index + 1)
        if self.messages[index]["role"] == "assistant" and not prompt_is_prefix(served, alone):
            raise DataError(
                f"the prompt that a server feeds before turn {index + 1} is not how the training text starts: "
                + describe_difference(served, alone)
                + CHOOSE_OTHER
            )
        raise _Rewritten(f"the chat template rewrites earlier turns: {describe_difference(alone, self.full)}")


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _shown(content: str, full: str, start: int, following: str = "") -> _Place | None:
    """Return the place of a content that begins at `start`, as it is or stripped; None if it does not."""
    for shown in (content, content.strip(), content.lstrip(), content.rstrip()):
        if shown and full.startswith(shown + following, start):
            return _Place(start, start + len(shown), True)
    return None


MESSAGE_KEYS = frozenset(
    {
        "message_field_role",
        "message_field_content",
        "message_property_mappings",
        "split_thinking",
        "drop_system_message",
        "field_tools",
        "field_thinking",
        "template_thinking_key",
        "roles",
        "field_system",
    }
)
"""Keys of a dataset that say how the messages of a chat are read."""
CHAT_KEYS = MESSAGE_KEYS | {
    "roles_to_train",
    "train_on_eos",
    "train_on_eot",
    "message_field_training",
    "message_field_training_detail",
    "chat_template",
    "chat_template_jinja",
}
"""The same, and what is trained of them."""

CHAT = {
    "chat_template": Format(
        "chat_template",
        read_chat,
        render_chat,
        prompt=chat_prompt,
        ask=wire_prompt,
        columns=(Columns(2, ("messages",)), Columns(3, ("conversations",), {"field_messages": "conversations"})),
        keys=CHAT_KEYS | {"field_messages"},
        templated=True,
        turns=True,
        roles=True,
    )
}
"""Value of `type` -> its record."""
