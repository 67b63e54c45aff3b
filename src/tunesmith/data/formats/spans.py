"""Where the contents and the turns of a conversation stand in the text that a chat template renders.

Contents are found by one more render with markers in their place. The text between contents is the same in each row,
so the ends of messages in it are found by exact rendering once and looked up after that: the cost is linear in the
number of messages.
"""

import re
from typing import Any, NamedTuple

from tunesmith.data.messages import Tools, WireMessage
from tunesmith.data.prefix import CHOOSE_OTHER, describe_difference, prompt_is_prefix
from tunesmith.data.shown import says
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.errors import DataError

_MARK = "\ue000"
"""A character of no language, to find the offset of a content in a template's text."""

PLAIN_KEYS = {"role", "content", "name", "tool_call_id"}
"""Keys of a message whose text a template may leave out."""


class RewrittenError(Exception):
    """The text of earlier turns is not what it was when they were last."""


class Place(NamedTuple):
    """Where a turn's content stands in the text; `exact` if it stands there as it is, but for space around it."""

    start: int
    end: int
    exact: bool


class SpanFinder:
    """Finds the borders of turns in the text of one conversation.

    Each border is found by rendering the turns up to it, once for each kind of border; what was found is kept in
    `template.learnt` as the text between the last content and the border, and looked up in the next place.
    `written` are the indices of the messages whose content the template writes, whatever it is.
    """

    def __init__(self, template: ChatTemplate, messages: list[WireMessage], tools: Tools, full: str) -> None:
        self.template, self.messages, self.tools, self.full = template, messages, tools, full
        self.careful = False
        self.written = set[int]()
        self.last_user = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
        self.kinds = [(m["role"], bool(_text(m).strip()), *sorted(m.keys() - {"content"})) for m in messages]

    def _key(self, what: str, index: int) -> tuple[Any, ...]:
        return (what, index == 0, index > self.last_user, bool(self.tools), *self.kinds[max(0, index - 1) : index + 2])

    def _render(self, count: int, **options: bool) -> str:
        return self.template.render(self.messages[:count], tools=self.tools, **options)

    def find_contents(self) -> list[Place]:
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
            if place.exact or not content or message["role"] == "assistant":
                continue
            if index not in self.written or not says(content, [self.full]):
                raise self._left_out(index)
        return found

    def require_written(self, index: int) -> None:
        """Raise an error if the template leaves out what turn `index` says, such as a text beside calls of tools.

        Raises:
            DataError: also where the turn is the last one.
            RewrittenError: maybe only where others follow.
        """
        if index not in self.written and _text(self.messages[index]).strip():
            error = self._left_out(index)
            raise error if index == len(self.messages) - 1 else RewrittenError(str(error))

    def _left_out(self, index: int) -> DataError:
        message = self.messages[index]
        return DataError(
            f"the chat template leaves out message {index + 1} ({message['role']}): {_text(message).strip()[:40]!r}; "
            "choose another `chat_template`"
        )

    def _shows_reasoning(self, message: dict[str, Any]) -> bool:
        """Whether the text shows all that a message says besides its content, such as its reasoning."""
        said = [value for key, value in message.items() if key not in PLAIN_KEYS and isinstance(value, str)]
        return all(value.strip() in self.full for value in said)

    def _marked_contents(self) -> list[Place] | None:
        """Find all contents by one render with a mark in place of each; None if their text changes what is around."""
        marked = [
            message | {"content": f"{_MARK}{index}{_MARK}"} if _text(message).strip() else message
            for index, message in enumerate(self.messages)
        ]
        pieces = re.split(f"{_MARK}(\\d+){_MARK}", self.template.render(marked, tools=self.tools))
        shown = [int(number) for number in pieces[1::2]]
        self.written = set(shown)
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
        found: list[Place] = []
        for index in range(len(self.messages)):
            last = found[-1].end if found else 0
            found.append(places.get(index, Place(last, last, False)))
        return found

    def _find_content(self, index: int, cursor: int) -> Place:
        content = _text(self.messages[index]).strip()
        if not content:
            return Place(cursor, cursor, False)
        marked = [*self.messages[:index], self.messages[index] | {"content": _MARK}]
        try:
            start = self.template.render(marked, tools=self.tools).find(_MARK)
        except DataError:  # a template may refuse a conversation that ends here
            start = -1
        place = _shown(_text(self.messages[index]), self.full, start) if start >= cursor else None
        return place or Place(cursor, cursor, False)

    def prompt_end(self, index: int, places: list[Place]) -> int:
        """Return where the prompt for turn `index` ends.

        Raises:
            DataError: the text of the turn does not begin with its prompt.
        """
        return self._border("fed", index, index - 1, places)

    def turn_end(self, index: int, places: list[Place]) -> int:
        """Return where the text of turn `index` ends."""
        return len(self.full) if index == len(self.messages) - 1 else self._border("through", index, index, places)

    def _border(self, what: str, index: int, before: int, places: list[Place]) -> int:
        place, following = places[before], places[before + 1]
        key = self._key(what, index) if place.exact else None
        header_key = self._key("header", before + 1) if what == "through" and following.exact else None
        border = None if self.careful else self._look_up(key, header_key, place, following)
        if border is not None:
            return border
        text = self._render(index, add_generation_prompt=True) if what == "fed" else self._render(index + 1)
        if not prompt_is_prefix(text, self.full):
            self._refuse(index)
        if self.careful:
            return len(text)
        if key:
            self.template.learnt[key] = self.full[place.end : len(text)]
        elif header_key and following.start >= len(text):
            self.template.learnt[header_key] = self.full[len(text) : following.start]
        return len(text)

    def _look_up(self, key: Any, header_key: Any, place: Place, following: Place) -> int | None:
        """Return a border by what is known to follow the content before it, or to precede the one after it."""
        known, header = (one and self.template.learnt.get(one) for one in (key, header_key))
        if known is not None and self.full.startswith(known, place.end):
            return place.end + len(known)
        if header is not None and self.full.endswith(header, 0, following.start):
            return following.start - len(header)
        return None

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
        raise RewrittenError(f"the chat template rewrites earlier turns: {describe_difference(alone, self.full)}")


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _shown(content: str, full: str, start: int, following: str = "") -> Place | None:
    """Return the place of a content that begins at `start`, as it is or stripped; None if it does not."""
    for shown in (content, content.strip(), content.lstrip(), content.rstrip()):
        if shown and full.startswith(shown + following, start):
            return Place(start, start + len(shown), True)
    return None
