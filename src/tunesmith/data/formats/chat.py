"""Conversations, rendered by a chat template, with served-prompt masking.

For assistant message i, let P_i be what a server would feed the model: the messages before it, with the generation
prompt. In the loss is exactly what the model must generate after P_i, through the token that ends its turn. If the
template keeps what it wrote of earlier messages, one sample trains all of them. If it rewrites them (Qwen3 drops old
thinking), each trained message is a sample of its own, rendered as the last one, as it is when served. A template for
which P_i is not a prefix of the text of message i cannot be served as trained: its row is refused, with the first
difference.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.data.formats.format import Columns, Format, FormatSpec, template_of
from tunesmith.data.formats.messages import read_messages, read_tools
from tunesmith.data.formats.spans import Place, RewrittenError, SpanFinder
from tunesmith.data.messages import Conversation, Message, Tools, WireMessage
from tunesmith.data.shown import require_tools_shown
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import DataError


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
        full = template.render(messages, tools=tools)
        SpanFinder(template, messages, tools, full).find_contents()  # refuses a text that lacks a message
        samples = [Rendered((Segment(full, True),), tokenize_whole=True)]
    else:
        samples = _render_samples(turns, messages, first, spec, template, tools)
    require_tools_shown(messages, tools, template)
    return samples


def _render_samples(
    turns: Sequence[Message],
    messages: list[WireMessage],
    first: int,
    spec: FormatSpec,
    template: ChatTemplate,
    tools: Tools,
) -> list[Rendered]:
    """Return one sample of a conversation, or one for each trained turn if the template rewrites earlier turns."""
    trained = {index: parts for index, parts in trained_turns(turns, spec).items() if index >= first}
    if not trained:
        roles = sorted({turn.role for turn in turns})
        raise DataError(f"no turn is trained: roles_to_train is {spec.dataset.roles_to_train}, the row has {roles}")
    try:
        return [_render_sample(turns, messages, trained, template, tools)]
    except RewrittenError as rewritten:
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
    template = template_of(spec)
    text = template.render(messages, add_generation_prompt=True, tools=tools)
    if spec.mask != "axolotl":
        require_tools_shown(messages, tools, template)
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


def _render_sample(
    turns: Sequence[Message],
    messages: list[WireMessage],
    trained: dict[int, _Trained],
    template: ChatTemplate,
    tools: Tools,
) -> Rendered:
    """Return one sample of a conversation, in which the turns of `trained` are trained."""
    full = template.render(messages, tools=tools)
    finder = SpanFinder(template, messages, tools, full)
    places = finder.find_contents()
    ranges: list[tuple[int, int, bool]] = []
    prompt_ends = []
    for index, part in trained.items():
        is_generated = turns[index].role == "assistant" and index > 0  # nothing is fed before a first turn
        has_prompt = is_generated and part.content
        start = finder.prompt_end(index, places) if has_prompt else places[index].start
        ranges += _turn_ranges(turns[index], part, places[index], start, finder.turn_end(index, places), finder)
        prompt_ends += [start] if has_prompt else []
        if part.content:
            finder.require_written(index)
    if prompt_ends:
        finder.verify(max(index for index in trained if turns[index].role == "assistant" and trained[index].content))
    return Rendered(_spans(full, ranges), tokenize_whole=True, prompt_ends=tuple(prompt_ends))


def _turn_ranges(
    turn: Message, part: _Trained, place: Place, start: int, turn_end: int, finder: SpanFinder
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


def _masked_ranges(turn: Message, full: str, start: int, place: Place) -> list[tuple[int, int, bool]]:
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
