"""Conversations, rendered by a chat template, with served-prompt masking.

For assistant turn i let P_i be what a server would feed the model: the turns before it, with the generation prompt.
Trained is exactly what the model must emit after P_i, through the token that ends its turn. Where the template keeps
what it wrote of earlier turns, one sample trains all turns of a conversation; where it rewrites them (Qwen3 drops old
thinking), each trained turn is a sample of its own, rendered as the last turn that it will be when served. A template
for which P_i is no prefix of the text of turn i cannot be served as trained; its row is refused with the place where
the two part.

Contents are found by one more render with marks in their place. The text between turns is the same in each row, so
that the borders of turns in it are found by exact rendering once (`_Learner`) and only looked up after that: the cost
is linear in the number of turns.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.data.formats.messages import Turn, tools_of, turns_of
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError

_MARK = "\ue000"
"""A character of no language, to find the place of a content in a template's text."""

PLAIN_KEYS = {"role", "content", "name", "tool_call_id"}
"""Keys of a message whose text a template may leave out of what it writes of the turn."""

Tools = list[Any] | None


def chat(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a conversation; the trained turns are masked as described above."""
    return conversation(turns_of(values, spec.dataset), spec, tools_of(values, spec.dataset))


def conversation(turns: Sequence[Turn], spec: FormatSpec, tools: Tools, first: int = 0) -> list[Rendered]:
    """Render turns, of which only those from index `first` on may be trained."""
    require_answer(turns[first:])
    template = template_of(spec)
    if spec.train_on_inputs:
        return [Rendered((Span(template.render([turn.message for turn in turns], tools=tools), True),), joint=True)]
    trained = {index: what for index, what in trained_turns(turns, spec).items() if index >= first}
    if not trained:
        roles = sorted({turn.role for turn in turns})
        raise DataError(f"no turn is trained: roles_to_train is {spec.dataset.roles_to_train}, the row has {roles}")
    try:
        return [_sample(turns, trained, template, tools)]
    except _Rewritten as rewritten:
        if len(turns) == 1 or not any(turns[index].role == "assistant" for index in trained):
            raise DataError(str(rewritten)) from None
        return [_sample(turns[: index + 1], {index: trained[index]}, template, tools) for index in trained]


def chat_prompt(messages: Sequence[dict[str, Any]], spec: FormatSpec, tools: Tools = None) -> Rendered:
    """Render the turns so far as the prompt for the next answer."""
    text = template_of(spec).render(messages, add_generation_prompt=True, tools=tools)
    return Rendered((Span(text, False),), joint=True)


def template_of(spec: FormatSpec) -> ChatTemplate:
    """Return the chat template of a dataset that has one."""
    assert spec.template is not None, "the spec of a chat dataset is made with its template"
    return spec.template


def require_answer(turns: Sequence[Turn]) -> None:
    """Raise a DataError for a conversation without an answer."""
    answers = [turn for turn in turns if turn.role == "assistant"]
    if not any(turn.content.strip() or turn.message.get("tool_calls") for turn in answers):
        raise DataError("no assistant turn has content: there is nothing to train")


class _Trained(NamedTuple):
    """What of a turn is trained: its content, and the token that ends it."""

    content: bool
    end: bool


def trained_turns(turns: Sequence[Turn], spec: FormatSpec) -> dict[int, _Trained]:
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


def _sample(turns: Sequence[Turn], trained: dict[int, _Trained], template: ChatTemplate, tools: Tools) -> Rendered:
    """Return one sample of a conversation, in which the turns of `trained` are trained."""
    messages = [turn.message for turn in turns]
    full = template.render(messages, tools=tools)
    learner = _Learner(template, messages, tools, full)
    places = learner.places()
    parts: list[tuple[int, int, bool]] = []
    prompts = []
    for index, what in trained.items():
        turn, place = turns[index], places[index]
        generated = turn.role == "assistant" and index > 0  # nothing is fed before a first turn
        start = learner.prompt_end(index, places) if generated and what.content else place.start
        through = learner.through(index, places)
        hidden = "tool_calls" in turn.message or (not place.exact and bool(turn.content.strip() or turn.thinking))
        stop = _stop(full, max(place.end, start), through, template, last=hidden)
        if not what.content:
            parts += [(*stop, False)] if stop else []
            continue
        if generated:
            prompts.append(start)
        end = stop[1] if stop and what.end else stop[0] if stop else max(place.end, start)
        parts.append((start, end, False))
        parts += _holes(turn, full, start, place)
    if prompts:
        learner.verify(max(index for index in trained if turns[index].role == "assistant" and trained[index].content))
    return Rendered(_spans(full, parts), joint=True, prompts=tuple(prompts))


def _holes(turn: Turn, full: str, start: int, place: "_Place") -> list[tuple[int, int, bool]]:
    """Return the characters of a trained turn that its flags leave out.

    Raises:
        DataError: they are not to be found, because the template changes the text.
    """
    found = []
    thinking = full.find(turn.thinking, start, place.start) if turn.thinking_holes else 0
    if thinking < 0 or (turn.holes and not place.exact):
        raise DataError("the chat template changes a text of which only parts are trained, so that they are not found")
    shift = turn.content.find(full[place.start : place.end]) if turn.holes else 0  # space that the template strips
    for begin, end in turn.holes:
        found.append((max(place.start, place.start + begin - shift), min(place.end, place.start + end - shift)))
    found += [(thinking + begin, thinking + end) for begin, end in turn.thinking_holes]
    return [(begin, end, True) for begin, end in found if begin < end]


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


def _spans(text: str, parts: list[tuple[int, int, bool]]) -> tuple[Span, ...]:
    """Return the text in spans; `parts` are its trained characters, and the holes in them."""
    holes = [(begin, end) for begin, end, hole in parts if hole]
    spans: list[Span] = []
    last = 0
    for start, end in sorted((begin, end) for begin, end, hole in parts if not hole):
        spans.append(Span(text[last:start], False))
        last = start
        for begin, over in sorted(hole for hole in holes if start <= hole[0] < end):
            spans += [Span(text[last:begin], True), Span(text[begin : min(over, end)], False, hole=True)]
            last = min(over, end)
        spans.append(Span(text[last:end], True))
        last = end
    return tuple(span for span in [*spans, Span(text[last:], False)] if span.text)


class _Place(NamedTuple):
    """Where a turn's content stands in the text; `exact` if it stands there as it is, but for space around it."""

    start: int
    end: int
    exact: bool


class _Learner:
    """Finds the borders of turns in the text of one conversation.

    Each border is found by rendering the turns up to it, once for each kind of border; what was found is kept in
    `template.learnt` as the text between the last content and the border, and looked up in the next place.
    """

    def __init__(self, template: ChatTemplate, messages: list[dict[str, Any]], tools: Tools, full: str) -> None:
        self.template, self.messages, self.tools, self.full = template, messages, tools, full
        self.careful = False
        self.last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
        self.kinds = [(m["role"], bool(_text(m).strip()), *sorted(m.keys() - {"content"})) for m in messages]

    def _key(self, what: str, index: int) -> tuple[Any, ...]:
        return (what, index == 0, index > self.last_user, bool(self.tools), *self.kinds[max(0, index - 1) : index + 2])

    def _render(self, count: int, **options: bool) -> str:
        return self.template.render(self.messages[:count], tools=self.tools, **options)

    def places(self) -> list[_Place]:
        """Return the place of each turn's content.

        Raises:
            DataError: the template leaves out what the system or the user says.
        """
        found = self._marked_places()
        self.careful = found is None or not all(self._keeps_reasoning(message) for message in self.messages)
        if found is None:
            found = []
            for index in range(len(self.messages)):
                found.append(self._exact_place(index, found[-1].end if found else 0))
        for index, (message, place) in enumerate(zip(self.messages, found, strict=True)):
            content = _text(message).strip()
            if not place.exact and content and message["role"] in ("system", "user") and content not in self.full:
                raise DataError(
                    f"the chat template leaves out message {index + 1} ({message['role']}): {content[:40]!r}; "
                    "choose another `chat_template`"
                )
        return found

    def _keeps_reasoning(self, message: dict[str, Any]) -> bool:
        """Whether the text shows all that a message says besides its content, such as its reasoning."""
        said = [value for key, value in message.items() if key not in PLAIN_KEYS and isinstance(value, str)]
        return all(value.strip() in self.full for value in said)

    def _marked_places(self) -> list[_Place] | None:
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

    def _exact_place(self, index: int, cursor: int) -> _Place:
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

    def through(self, index: int, places: list[_Place]) -> int:
        """Return where the text of turn `index` ends."""
        return len(self.full) if index == len(self.messages) - 1 else self._border("through", index, index, places)

    def _border(self, what: str, index: int, before: int, places: list[_Place]) -> int:
        place, following, key = places[before], places[before + 1], self._key(what, index)
        header_key = self._key("header", before + 1)
        known = self.template.learnt.get(key) if place.exact and not self.careful else None
        if known is not None and self.full.startswith(known, place.end):
            return place.end + len(known)
        header = self.template.learnt.get(header_key) if what == "through" and not self.careful else None
        if header is not None and following.exact and self.full.endswith(header, 0, following.start):
            return following.start - len(header)
        text = self._render(index, add_generation_prompt=True) if what == "fed" else self._render(index + 1)
        if not self.full.startswith(text):
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
        if not self.full.startswith(self._render(index, add_generation_prompt=True)):
            self._refuse(index)

    def _refuse(self, index: int) -> None:
        """Raise what is wrong with turn `index`: rewritten later, or not servable at all."""
        served = self._render(index, add_generation_prompt=True)
        alone = self.full if index == len(self.messages) - 1 else self._render(index + 1)
        if self.messages[index]["role"] == "assistant" and not alone.startswith(served):
            raise DataError(
                f"the prompt that a server feeds before turn {index + 1} is not how the training text goes on: "
                + difference(served, alone)
                + ". Choose another `chat_template`; trl has some made for training, such as trl:qwen3_training"
            )
        raise _Rewritten(f"the chat template rewrites earlier turns: {difference(alone, self.full)}")


def parting(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return the index at which two texts, or two lists of tokens, are no longer the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def difference(part: str, full: str) -> str:
    """Return in words where two texts part."""
    place = parting(part, full)
    return (
        f"after {part[max(0, place - 30) : place]!r} it has {part[place : place + 30]!r}, "
        f"the training text {full[place : place + 30]!r}"
    )


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _shown(content: str, full: str, start: int, following: str = "") -> _Place | None:
    """Return the place of a content that begins at `start`, as it is or stripped; None if it does not."""
    for shown in (content, content.strip(), content.lstrip(), content.rstrip()):
        if shown and full.startswith(shown + following, start):
            return _Place(start, start + len(shown), True)
    return None
