"""What the rows and their samples tell: turns, contents, ends, begins, borders between prompt and answer."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from tunesmith.checks.catalogue import Tally
from tunesmith.checks.report import Figures
from tunesmith.checks.text import iterate_strings
from tunesmith.checks.tokenizer import TokenFacts
from tunesmith.data.comparison import RowComparison
from tunesmith.data.formats.chat import trained_turns
from tunesmith.data.formats.format import Format, FormatSpec
from tunesmith.data.formats.messages import read_messages
from tunesmith.data.masks import describe_marks, format_of
from tunesmith.data.messages import Conversation, Message
from tunesmith.data.prefix import first_difference
from tunesmith.data.samples import EncodedRow
from tunesmith.data.shown import says, squeezed, stands
from tunesmith.data.thinking import without_thinking
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Example, Rendered, Segment
from tunesmith.errors import DataError
from tunesmith.sections.data import SERVER_ROLES


@dataclass
class Look:
    """What the checks of rows know of a dataset, and note of it.

    Attributes:
        spec: its settings.
        tokenizer: the model's.
        facts: what is known of the tokenizer.
        ends: ids of the tokens that end an answer.
        end_texts: their texts.
        comparison: selects what of a row is compared with others.
        own_system: system text that the chat template puts in by itself, or None.
        marks: what replaces marks of the layout.
        last_ends: ids with which answers did end.
        used: ids that are new to the vocabulary or beyond it.
    """

    spec: FormatSpec
    tokenizer: Tokenizer
    facts: TokenFacts
    ends: frozenset[int]
    end_texts: tuple[str, ...]
    comparison: RowComparison
    own_system: str | None = None
    marks: str = ""
    last_ends: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)

    @property
    def record(self) -> Format:
        """The record of the type."""
        return format_of(self.spec)

    def end_of(self, ids: Sequence[int], last: int) -> int | None:
        """Return the end token at position `last`, or before the whitespace there; None if there is none."""
        while last > 0 and ids[last] not in self.ends and self.tokenizer.decode([ids[last]]).isspace():
            last -= 1
        return ids[last] if ids[last] in self.ends else None

    def record_ids(self, ids: Sequence[int]) -> None:
        """Record the ids that are new to the vocabulary or beyond it."""
        self.used.update(self.facts.new.intersection(ids))
        if self.facts.rows is not None:
            self.used.update(token for token in ids if token >= self.facts.rows)

    @property
    def trains_parts(self) -> bool:
        """Whether parts of answers, or prompts too, are in the loss, so that ends of turns are not its ends."""
        return bool(self.spec.dataset.message_field_training_detail) or self.spec.train_on_inputs

    @property
    def wants_end(self) -> bool:
        """Whether each trained turn is meant to end with a trained end token."""
        dataset = self.spec.dataset
        chat = not self.record.roles or (dataset.train_on_eot or dataset.train_on_eos) in ("turn", "all")
        return chat and not self.record.writes_ends and ".py" not in dataset.kind


def look_at(
    spec: FormatSpec, tokenizer: Tokenizer, facts: TokenFacts, comparison: RowComparison, own_system: str | None
) -> Look:
    """Return what the checks know of a dataset before its first row."""
    texts = spec.template.ends() if spec.template else tuple(filter(None, [tokenizer.eos_token]))
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    single = {token[0] for token in ids if len(token) == 1} | ({facts.eos} if facts.eos is not None else set())
    return Look(spec, tokenizer, facts, frozenset(single), texts, comparison, own_system, describe_marks(spec))


def check_row(item: EncodedRow, turns: Sequence[Message], look: Look, tally: Tally, figures: Figures) -> None:
    """Count the findings of a row in `tally` and its turns in `figures`; `turns` are those of `turns_in`."""
    if turns:
        _count_roles(turns, look, figures)
    for code, detail in chain(_turn_findings(item, turns, look), _sample_findings(item, look)):
        tally.add(code, detail)


def _turn_findings(item: EncodedRow, turns: Sequence[Message], look: Look) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the turns of a row, and with its texts before they are tokenized."""
    for name in item.unread:
        yield "column-unread", name
    texts = [rendered.text for rendered in item.rendered]
    if turns:
        yield from _conversation(turns, look)
        if texts and texts[0]:
            yield from _contents(turns, look, texts)
    if not look.record.writes_ends:
        yield from _control_tokens(item, turns, look)


def _sample_findings(item: EncodedRow, look: Look) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the samples of a row; nothing of those that cannot be trained on."""
    for rendered, examples in zip(item.rendered, item.examples, strict=True):
        if isinstance(examples, str):
            continue
        for index, example in enumerate(examples):
            yield from _tokens(example, rendered, look, first=index == 0)
        if isinstance(rendered, Rendered) and look.spec.mask != "axolotl" and rendered.overflow != "windows":
            decoded = _decoded(rendered, [token for example in examples for token in example.input_ids], look)
            yield from _roundtrip(rendered, decoded, look)
            yield from _segments(rendered, decoded, look)


def turns_in(values: dict[str, Any], look: Look) -> list[Message]:
    """Return the turns of a row; none of a type without roles."""
    dataset = look.spec.dataset
    if look.record.templated and not look.record.roles:
        content = look.record.read(values, look.spec)
        return list(content.messages) if isinstance(content, Conversation) else []
    if not look.record.roles:
        return []
    if dataset.field_messages is None and dataset.kind.startswith("sharegpt"):
        dataset = dataset.model_copy(update={"field_messages": "conversations"})
    try:
        return list(read_messages(values, dataset))
    except DataError:
        return []


def _count_roles(turns: Sequence[Message], look: Look, figures: Figures) -> None:
    trained = trained_turns(turns, look.spec)
    for index, turn in enumerate(turns):
        count, length, num_trained = figures.by_role.get(turn.role, (0, 0, 0))
        is_trained = index in trained and trained[index].content
        figures.by_role[turn.role] = (count + 1, length + len(turn.content), num_trained + is_trained)


def _conversation(turns: Sequence[Message], look: Look) -> Iterator[tuple[str, str]]:
    """Yield what the roles and contents tell by themselves."""
    roles = [turn.role for turn in turns]
    yield from _role_order(roles)
    for role in dict.fromkeys(roles) if look.spec.template else ():
        if role not in SERVER_ROLES:
            yield "role-unknown", f"{role}: set `roles: {{user: [{role}]}}` if it is the user's"
    if roles[-1] == "user":
        yield "ends-unanswered", f"turn {len(roles)} is user"
    if look.own_system and roles[0] != "system":
        yield "default-system", repr(look.own_system[:60])
    for number, turn in enumerate(turns, 1):
        has_thinking = bool(turn.thinking and turn.thinking.text)
        if not turn.content.strip() and not turn.tool_calls and not has_thinking:
            yield "empty-turn", f"turn {number}, {turn.role}"


def _role_order(roles: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield turns whose role does not follow that of the turn before them."""
    for number, (role, previous) in enumerate(zip(roles, ["", *roles], strict=False), 1):
        if role == previous and role in ("user", "assistant"):
            yield "roles-not-alternating", f"turns {number - 1} and {number} are both {role}"
        elif role == "system" and number > 1:
            yield "roles-not-alternating", f"turn {number} is system"
        elif role == "assistant" and previous in ("", "system"):
            yield "roles-not-alternating", f"turn {number}, the first, is assistant"


def _contents(turns: Sequence[Message], look: Look, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what of the turns does not stand in the text, and what stands at the edges of answers."""
    trained = trained_turns(turns, look.spec)
    for index, turn in enumerate(turns):
        location = f"turn {index + 1}, {turn.role}"
        for code, text in _dropped(turn, texts, is_trained=index in trained):
            yield code, f"{location}: {text.strip()[:40]!r}"
        if index in trained and turn.content.strip():
            yield from _answer(turn.content, look, location, any(turn.content in text for text in texts))


def _dropped(turn: Message, texts: Sequence[str], *, is_trained: bool) -> Iterator[tuple[str, str]]:
    """Yield the parts of a turn that stand in none of the texts."""
    content, thinking = turn.content, turn.thinking.text if turn.thinking else ""
    if content.strip() and not says(content, texts):
        yield "content-dropped", content
    elif is_trained and without_thinking(content) != content and not stands(content, texts):
        yield "reasoning-dropped", content
    if is_trained and thinking.strip() and not stands(thinking, texts):
        yield "reasoning-dropped", thinking
    name = turn.fields.get("name") if turn.role in ("user", "assistant") else None
    if isinstance(name, str) and not stands(name, texts):
        yield "name-dropped", name


def _answer(content: str, look: Look, location: str, is_verbatim: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the text of an answer; `is_verbatim` if it stands as it is in the training text."""
    if is_verbatim and content != content.strip():
        edge = content[: len(content) - len(content.lstrip())] or content[len(content.rstrip()) :]
        yield "answer-edge-space", f"{location} {'begins' if content[0].isspace() else 'ends'} with {edge[:20]!r}"
    for end_text in look.end_texts:
        offset = content.rstrip().removesuffix(end_text).find(end_text)
        if offset >= 0:
            yield "end-in-answer", f"{location} holds {end_text} after {content[:offset][-20:]!r}"


def _control_tokens(item: EncodedRow, turns: Sequence[Message], look: Look) -> Iterator[tuple[str, str]]:
    """Yield control tokens in the texts of a row, except end tokens in answers."""
    if look.facts.control is None:
        return
    segments = [
        segment for rendered in item.rendered if isinstance(rendered, Rendered) for segment in rendered.segments
    ]
    trained = (segment.text[len(segment.header) :] for segment in segments if segment.train)
    answers = "\n".join(trained) if not turns else ""
    texts = (
        [(turn.content, turn.role == "assistant") for turn in turns]
        if turns
        else [(text, text.strip() in answers) for text in iterate_strings(item.row.values)]
    )
    for text, is_answer in texts:
        for match in look.facts.control.finditer(text):
            if not (is_answer and match[0] in look.end_texts):
                yield "control-token-in-text", f"{match[0]} after {text[: match.start()][-20:]!r}"


def _tokens(example: Example, rendered: Rendered | Example, look: Look, *, first: bool) -> Iterator[tuple[str, str]]:
    """Yield what the token ids and labels of a sample show."""
    ids, facts = example.input_ids, look.facts
    if first and facts.bos is not None:
        yield from _bos(ids, look)
    if facts.unk is not None and facts.unk in ids and str(look.tokenizer.unk_token) not in example.text:
        yield "unknown-token", f"{ids.count(facts.unk)} of {len(ids)} tokens"
    look.record_ids(ids)
    trained_positions = [index for index, label in enumerate(example.labels) if label >= 0]
    if not trained_positions:
        return
    if (end := look.end_of(ids, trained_positions[-1])) is not None:
        look.last_ends.add(end)
    has_masked = isinstance(rendered, Rendered) and any(segment.masked for segment in rendered.segments)
    if look.wants_end and not has_masked and not look.trains_parts:
        yield from _ends(ids, trained_positions, look)


def _bos(ids: Sequence[int], look: Look) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the BOS token of a row."""
    bos = look.facts.bos
    if list(ids[:2]) == [bos, bos]:
        yield "bos-doubled", f"{look.tokenizer.bos_token} {look.tokenizer.bos_token}"
    if look.facts.adds_bos and list(ids[:1]) != [bos] and look.spec.dataset.kind != "input_output":
        yield "bos-missing", f"the first token is {look.tokenizer.convert_ids_to_tokens(ids[0]) if ids else 'none'}"


def _ends(ids: Sequence[int], trained_positions: Sequence[int], look: Look) -> Iterator[tuple[str, str]]:
    """Yield answers whose end token is doubled or not in the loss; `trained_positions` are those in the loss."""
    for position, following in zip(trained_positions, [*trained_positions[1:], len(ids) + 1], strict=True):
        if following == position + 1 and ids[position] == ids[following] and ids[position] in look.ends:
            yield "end-doubled", str(look.tokenizer.convert_ids_to_tokens(ids[position]))
        elif following != position + 1 and look.end_of(ids, position) is None:
            tail = look.tokenizer.decode(ids[max(0, position - 5) : position + 1])
            yield "end-untrained", f"the last trained token of an answer is in {tail!r}"


def _decoded(rendered: Rendered, ids: Sequence[int], look: Look) -> str:
    has_added_bos = ids[:1] == [look.facts.bos] and not rendered.text.startswith(str(look.tokenizer.bos_token))
    return str(look.tokenizer.decode(list(ids)[int(has_added_bos) :], clean_up_tokenization_spaces=False))


def full_text(rendered: Rendered, tokenizer: Tokenizer) -> str:
    """Return the text with the EOS tokens that follow its segments."""
    end = str(tokenizer.eos_token)
    return "".join(
        segment.text + end * (segment.eos_count - segment.text.endswith(end)) if segment.text else ""
        for segment in rendered.segments
    )


def _roundtrip(rendered: Rendered, decoded: str, look: Look) -> Iterator[tuple[str, str]]:
    """Yield that the tokens do not say what the text says, but for whitespace and composed letters."""
    expected, decoded_text = squeezed(full_text(rendered, look.tokenizer)), squeezed(decoded)
    if expected != decoded_text:
        expected, decoded_text = unicodedata.normalize("NFC", expected), unicodedata.normalize("NFC", decoded_text)
    if expected != decoded_text:
        index = first_difference(expected, decoded_text)
        difference = f"{expected[index : index + 20]!r} comes back as {decoded_text[index : index + 20]!r}"
        yield "roundtrip-differs", f"after {expected[:index][-15:]!r}, {difference}"


def _segments(rendered: Rendered, decoded: str, look: Look) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with prompts and answers of a text that is tokenized per segment."""
    if rendered.tokenize_whole or look.record.splits:
        return
    yield from _boundaries(rendered, decoded)
    if look.spec.dataset.kind == "input_output" or look.record.roles:
        return
    for segment in rendered.segments:
        if segment.train and segment.text.strip():
            yield from _answer(segment.text[len(segment.header) :], look, "the answer", True)


def _boundaries(rendered: Rendered, decoded: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong where a prompt ends and its answer starts."""
    for previous, segment in zip((Segment("", False), *rendered.segments), rendered.segments, strict=False):
        prompt = ("" if previous.train else previous.text) + segment.header
        answer = segment.text[len(segment.header) :]
        if not segment.train or not prompt or not answer:
            continue
        joint_text = prompt[-8:] + answer[:8]
        if prompt[-1] in " \t":
            yield "prompt-ends-in-space", repr(prompt[-20:])
        elif prompt[-1] == ":" and answer[0].isalnum() and joint_text in decoded:
            yield "answer-glued", repr(joint_text)
