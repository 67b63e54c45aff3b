"""`type: chat_template` with `mask: axolotl`: the labels of Axolotl 0.21, token for token, faults included.

Axolotl renders each trained turn twice more, with its content replaced by a placeholder, and trains the tokens in
which the renders differ; then it looks for an end token within three tokens after them. What the template writes and
the model must emit before the content (`<think>`, a channel) is never trained, nor is the end of an empty turn, and the
cost is quadratic in the turns. The rules are those of its `prompt_strategies/chat_template.py`, told in our words.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.data.formats import chat as served
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.messages import message_list, read_texts, read_tool_calls, read_tools
from tunesmith.data.row_access import track_messages, with_values
from tunesmith.data.thinking import split_thinking
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer, template_properties
from tunesmith.data.types import MASKED, Example
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

PLACEHOLDERS = ("[[dummy_message]]", "zzdummymessagezz")
"""Two that share neither their first nor their last character, so that one of them shows each border."""

ROLES = {"human": "user", "gpt": "assistant"}

NEAR = 3
"""An end token counts as a turn's if it stands within so many tokens after its content."""

Message = dict[str, Any]
Detail = dict[str, Any]


def encode_chat(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return the tokens and labels of a conversation as Axolotl writes them.

    Raises:
        DataError: the row does not fit, or the template refuses it.
    """
    dataset, template = spec.dataset, spec.template
    assert template is not None, "the spec of a chat dataset is made with its template"
    values = with_values(values, _without_none(values))
    messages = _messages(values, dataset, template)
    flags = (dataset.message_field_training, dataset.message_field_training_detail)
    if not (dataset.roles_to_train or dataset.train_on_eos or dataset.train_on_eot or any(flags)):
        return [_last_turn_only(messages, spec, template)]
    return [_Labeller(messages, read_tools(values, dataset), spec, template).label()]


def turn_ends(spec: FormatSpec, tokenizer: Tokenizer, template: ChatTemplate) -> set[int]:
    """Return the ids of the tokens that end a turn: `eot_tokens`, or the end token.

    Raises:
        ConfigError: one of them is several tokens, or `train_on_eos` and `train_on_eot` disagree about it.
    """
    end = tokenizer.eos_token
    wanted = list(spec.eot_tokens) if spec.eot_tokens is not None else [end] if end else []
    ids = {token: tokenizer.encode(token, add_special_tokens=False) for token in wanted}
    if wanted != [end]:
        wanted = [token for token in wanted if token in template.text]
        for token in wanted:
            if len(ids[token]) != 1:
                raise ConfigError(
                    f"`eot_tokens`: {token} is {len(ids[token])} tokens of this vocabulary: {ids[token]}; name one "
                    "that is a token, or choose the `chat_template` that the model was made with"
                )
        eos, eot = spec.dataset.train_on_eos, spec.dataset.train_on_eot or spec.dataset.train_on_eos
        if end in wanted and eos != eot:
            raise ConfigError(f"`train_on_eos: {eos}` and `train_on_eot: {eot}` disagree about {end}, which is both")
    return {ids[token][0] for token in wanted if len(ids[token]) == 1}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _messages(values: dict[str, Any], dataset: Dataset, template: ChatTemplate) -> list[Message]:
    """Return the messages with Axolotl's keys, training flags among them."""
    items = track_messages(values, dataset.field_messages or "messages", message_list(values, dataset))
    names = _names(dataset)
    first = items[0].get(names["role"]) if isinstance(items[0], dict) else None
    found: list[Message] = []
    if _role(str(first), dataset) != "system" and "system" in values:
        found.append({"role": "system", "content": values["system"]})
    for number, item in enumerate(items, 1):
        if not isinstance(item, dict) or item.get(names["role"]) is None:
            raise DataError(f"message {number} has no {names['role']}; found {item!r:.80}")
        found.append(_message(number, item, names, dataset, template))
    return found[1:] if dataset.drop_system_message and found[0]["role"] == "system" else found


def _names(dataset: Dataset) -> dict[str, str]:
    given = dict(dataset.message_property_mappings)
    for key, old in (("role", dataset.message_field_role), ("content", dataset.message_field_content)):
        if old:
            given.setdefault(key, old)
    return (
        {"role": "role", "content": "content", **given}
        if given
        else {
            "role": "role",
            "content": "content",
            dataset.template_thinking_key: dataset.field_thinking,
        }
    )


def _role(name: str, dataset: Dataset) -> str:
    known = {alias: role for role, aliases in dataset.roles.items() for alias in aliases} or ROLES
    return known.get(name, name)


def _message(
    number: int, item: dict[str, Any], names: dict[str, str], dataset: Dataset, template: ChatTemplate
) -> Message:
    message = {key: item[name] for key, name in names.items() if item.get(name) is not None}
    message["role"] = _role(str(message["role"]), dataset)
    thinking = dataset.template_thinking_key
    if dataset.split_thinking and message["role"] == "assistant":
        split = split_thinking(str(message.get("content", "")))
        message |= {thinking: split[0], "content": split[1]} if split else {}
    rest = item.keys() - set(names.values())
    message |= {key: item[key] for key in sorted(rest & template_properties(template.text))}
    if message.get("tool_calls"):
        message["tool_calls"] = read_tool_calls(message["tool_calls"], number)
    flags = {"training": dataset.message_field_training, "training_detail": dataset.message_field_training_detail}
    message |= {flag: item[key] for flag, key in flags.items() if key and item.get(key) is not None}
    for key, flag in (("content", "training_detail"), (thinking, "reasoning_training_detail")):
        if isinstance(message.get(key), list):
            _join_parts(message, key, flag, number)
    return message


def _join_parts(message: Message, key: str, flag: str, number: int) -> None:
    """Make one text of a content in parts; `flag` gets the details if a part says whether it is trained."""
    parts = message[key]
    message[key] = "".join(text.text for text in read_texts(parts, f"message {number}"))
    if any(part.get("train") is not None or part.get("weight") is not None for part in parts):
        message[flag] = _part_details(parts)


def _part_details(parts: list[dict[str, Any]]) -> list[Detail]:
    """Return content parts as details, whose end is the last character of the part."""
    details, offset = [], 0
    for part in parts:
        text = part.get("text") or part.get("content") or part.get("value") or ""
        train = part["train"] if part.get("train") is not None else part.get("weight") not in (0, 0.0)
        if text:
            details.append({"begin_offset": offset, "end_offset": offset + len(text) - 1, "train": train})
        offset += len(text)
    return details


def _last_turn_only(messages: list[Message], spec: FormatSpec, template: ChatTemplate) -> Example:
    """Without roles and end tokens to train, Axolotl goes an older way: all that follows the last prompt is trained."""
    tokenizer = template.tokenizer
    prompt = template.render(messages[:-1], add_generation_prompt=True)
    full = template.render(messages)
    prompt_ids, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, full))
    ids = prompt_ids + ids[len(prompt_ids) :]
    masked = 0 if spec.train_on_inputs else len(prompt_ids)
    return Example(ids, [MASKED] * masked + ids[masked:], full)


class _Labeller:
    """One conversation: its text, its tokens, and the labels as they are written."""

    def __init__(
        self, messages: list[Message], tools: list[Any] | None, spec: FormatSpec, template: ChatTemplate
    ) -> None:
        self.messages, self.tools, self.spec, self.template = messages, tools, spec, template
        self.tokenizer = template.tokenizer
        self.turn_ends = turn_ends(spec, self.tokenizer, template)
        self.text = template.render(messages, tools=tools)
        batch = self.tokenizer(self.text, add_special_tokens=False, return_offsets_mapping=True)
        self.ids: list[int] = batch["input_ids"]
        self.starts = [start for start, _ in batch["offset_mapping"]]
        self.ends = [end for _, end in batch["offset_mapping"]]
        self.labels = [MASKED] * len(self.ids)

    def label(self) -> Example:
        """Return the example."""
        dataset = self.spec.dataset
        eos, eot = dataset.train_on_eos, dataset.train_on_eot or dataset.train_on_eos
        kinds: list[tuple[str | None, Callable[[int], bool]]] = [
            (eot, lambda token: token in self.turn_ends),
            (eos, lambda token: token == self.tokenizer.eos_token_id),
        ]
        last = [-1, -1]
        for index, message in enumerate(self.messages):
            trained = self._is_trained(message)
            if not trained and "all" not in (eos, eot):
                continue
            end = self._content(index, message, trained)
            for kind, (ends, is_end) in enumerate(kinds):
                position = self._find(is_end, end)
                if position == -1:
                    continue
                last[kind] = position
                if ends == "all" or (ends == "turn" and trained):
                    self.labels[position] = self.ids[position]
        for position, (ends, _) in zip(last, kinds, strict=True):
            if ends == "last" and position != -1:
                self.labels[position] = self.ids[position]
        return Example(self.ids, self.labels, self.text)

    def _find(self, is_end: Callable[[int], bool], start: int) -> int:
        """Return the position of the first end token from `start` on, or -1 if it is not near."""
        position = next((i for i in range(start, len(self.ids)) if is_end(self.ids[i])), -1)
        return position if abs(position - start) <= NEAR else -1

    def _is_trained(self, message: Message) -> bool:
        """Whether a turn is trained: by its own flag, by details of its parts, or by its role."""
        details = (message.get("training_detail"), message.get("reasoning_training_detail"))
        if message.get("training") is not None:
            return bool(message["training"])
        if any(detail is not None for detail in details):
            return any(bool(detail) for detail in details)
        dataset = self.spec.dataset
        roles = [_role(role, dataset) for role in dataset.roles_to_train or []]
        return self.spec.train_on_inputs or message.get("role") in roles

    def _content(self, index: int, message: Message, trained: bool) -> int:
        """Label the content of a turn; return the token at which it ends, or -1."""
        key = self.spec.dataset.template_thinking_key
        detail, thinking_detail = message.get("training_detail"), message.get("reasoning_training_detail")
        thinks = message.get(key) is not None
        keep = {key: message[key]} if (detail or thinking_detail) and thinks else {}
        start, end = self._span(index, lambda text: {"role": message.get("role"), "content": text, **keep})
        if trained and start != -1:
            if detail:
                self._details(str(message.get("content")), detail, start)
            elif not thinking_detail:
                self.labels[start:end] = self.ids[start:end]
        if trained and thinking_detail and thinks:
            content = message.get("content", "")
            begin, _ = self._span(index, lambda text: {"role": message.get("role"), "content": content, key: text})
            if begin != -1:
                self._details(str(message[key]), thinking_detail, begin)
        return end

    def _span(self, index: int, replaced: Callable[[str], Message]) -> tuple[int, int]:
        """Return the tokens in which the text differs from those with a placeholder in turn `index`, or (-1, -1)."""
        if index == 0 and self.messages[0].get("role") == "system" and "mistral" in self.tokenizer.name_or_path.lower():
            return -1, -1
        spans = []
        for placeholder in PLACEHOLDERS:
            messages = [*self.messages[:index], replaced(placeholder), *self.messages[index + 1 :]]
            spans.append(_difference(self.text, self.template.render(messages, tools=self.tools)))
        first, last = min(start for start, _ in spans), max(end for _, end in spans)
        start, end = bisect_right(self.ends, first), bisect_left(self.starts, last)
        return (start, end) if first < last and start < end and start < len(self.ids) else (-1, -1)

    def _details(self, text: str, details: Sequence[Detail], start: int) -> None:
        """Label the tokens of a content that lie in trained details; the content's own tokens decide where."""
        for offset in _tokens_in_details(text, details, self.tokenizer):
            if start + offset < len(self.ids):
                self.labels[start + offset] = self.ids[start + offset]


def _difference(full: str, other: str) -> tuple[int, int]:
    """Return the characters of `full` that are left without the common beginning and the common end."""
    limit = min(len(full), len(other))
    start = _common(full, other, limit)
    return start, len(full) - _common(full[::-1], other[::-1], limit - start)


def _common(one: str, other: str, limit: int, block: int = 4096) -> int:
    count = 0
    while count + block <= limit and one[count : count + block] == other[count : count + block]:
        count += block
    while count < limit and one[count] == other[count]:
        count += 1
    return count


def _tokens_in_details(text: str, details: Sequence[Detail], tokenizer: Tokenizer) -> list[int]:
    """Return the indices of a text's tokens that lie wholly in a trained detail, widened to whole tokens."""
    begins = [
        begin for begin, _ in tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    ]
    places = list(zip(begins, [*(begin - 1 for begin in begins[1:]), len(text) - 1], strict=True))
    wide = [
        found
        for detail in details
        if detail["train"] and (found := _widened(detail["begin_offset"], detail["end_offset"], places))
    ]
    return [
        index
        for index, (begin, end) in enumerate(places)
        if any(begin >= first and end <= last for first, last in wide)
    ]


def _widened(begin: int, end: int, places: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return a range of characters widened to the tokens at its edges, or None if it holds none."""
    first = next((index for index, (start, _) in enumerate(places) if start >= begin), len(places))
    if first > 0 and places[first - 1][1] > begin:
        first -= 1
    last = next((index for index in reversed(range(len(places))) if places[index][1] <= end), -1)
    if last < len(places) - 1 and places[last + 1][0] < end:
        last += 1
    return (places[first][0], places[last][1]) if first <= last else None


CHAT = {name: replace(record, samples=encode_chat) for name, record in served.CHAT.items()}
"""Value of `type` -> its record."""
