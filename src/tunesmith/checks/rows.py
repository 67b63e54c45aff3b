"""What the rows and their samples tell: turns, contents, ends, begins, borders between prompt and answer."""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.checks.catalogue import Tally
from tunesmith.checks.report import Figures
from tunesmith.checks.text import iterate_strings
from tunesmith.checks.tokenizer import TokenFacts
from tunesmith.data.formats.chat import trained_turns
from tunesmith.data.formats.format import Format, FormatSpec
from tunesmith.data.formats.messages import THINKING, read_messages
from tunesmith.data.masks import describe_marks, format_of
from tunesmith.data.messages import Message
from tunesmith.data.prefix import first_difference
from tunesmith.data.samples import EncodedRow
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Example, Rendered, Segment
from tunesmith.errors import DataError

_THOUGHT = re.compile("|".join(f"{re.escape(begin)}.*?{re.escape(end)}" for begin, end in THINKING), re.DOTALL)


@dataclass
class Look:
    """What the checks of rows know of a dataset, and note of it.

    Attributes:
        spec: its settings.
        tokenizer: the model's.
        facts: what is known of the tokenizer.
        ends: ids of the tokens that end an answer.
        end_texts: their texts.
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
    own_system: str | None = None
    marks: str = ""
    last_ends: set[int] = field(default_factory=set)
    used: set[int] = field(default_factory=set)

    @property
    def record(self) -> Format:
        """The record of the type."""
        return format_of(self.spec)

    def end_of(self, ids: Sequence[int], last: int) -> int | None:
        """Return the end token at place `last`, or before the whitespace there; None if there is none."""
        while last > 0 and ids[last] not in self.ends and self.tokenizer.decode([ids[last]]).isspace():
            last -= 1
        return ids[last] if ids[last] in self.ends else None

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


def look_at(spec: FormatSpec, tokenizer: Tokenizer, facts: TokenFacts, own_system: str | None) -> Look:
    """Return what the checks know of a dataset before its first row."""
    texts = spec.template.ends() if spec.template else tuple(filter(None, [tokenizer.eos_token]))
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    single = {token[0] for token in ids if len(token) == 1} | ({facts.eos} if facts.eos is not None else set())
    return Look(spec, tokenizer, facts, frozenset(single), texts, own_system, describe_marks(spec))


def check_row(item: EncodedRow, turns: Sequence[Message], look: Look, tally: Tally, figures: Figures) -> None:
    """Count what is to be found in a row, in `tally` and `figures`; `turns` are those of `turns_in`."""
    texts = [rendered.text for rendered in item.rendered]
    if turns:
        _count_roles(turns, look, figures)
        for code, detail in _conversation(turns, look):
            tally.add(code, detail)
        if texts and texts[0]:
            for code, detail in _contents(turns, look, texts):
                tally.add(code, detail)
    if not look.record.writes_ends:
        _control_tokens(item, turns, look, tally)
    for rendered, examples in zip(item.rendered, item.examples, strict=True):
        if isinstance(examples, str):
            continue
        for index, example in enumerate(examples):
            for code, detail in _tokens(example, rendered, look, first=index == 0):
                tally.add(code, detail)
        if isinstance(rendered, Rendered) and look.spec.mask != "axolotl" and rendered.overflow != "windows":
            decoded = _decoded(rendered, [token for example in examples for token in example.input_ids], look)
            for code, detail in [*_roundtrip(rendered, decoded, look), *_borders(rendered, decoded, look)]:
                tally.add(code, detail)


def turns_in(values: dict[str, Any], look: Look) -> list[Message]:
    """Return the turns of a row; none of a type without roles."""
    if not look.record.roles:
        return []
    dataset = look.spec.dataset
    if dataset.field_messages is None and dataset.kind.startswith("sharegpt"):
        dataset = dataset.model_copy(update={"field_messages": "conversations"})
    try:
        return list(read_messages(values, dataset))
    except DataError:
        return []


def _count_roles(turns: Sequence[Message], look: Look, figures: Figures) -> None:
    trained = trained_turns(turns, look.spec)
    for index, turn in enumerate(turns):
        count, length, on = figures.by_role.get(turn.role, (0, 0, 0))
        is_trained = index in trained and trained[index].content
        figures.by_role[turn.role] = (count + 1, length + len(turn.content), on + is_trained)


def _conversation(turns: Sequence[Message], look: Look) -> Iterator[tuple[str, str]]:
    """Yield what the roles and contents tell by themselves."""
    roles = [turn.role for turn in turns]
    for number, (role, before) in enumerate(zip(roles, ["", *roles], strict=False), 1):
        if role == before and role in ("user", "assistant"):
            yield "roles-not-alternating", f"turns {number - 1} and {number} are both {role}"
        elif role == "system" and number > 1:
            yield "roles-not-alternating", f"turn {number} is system"
        elif role == "assistant" and before in ("", "system"):
            yield "roles-not-alternating", f"turn {number}, the first, is assistant"
    if roles[-1] == "user":
        yield "ends-unanswered", f"turn {len(roles)} is user"
    if look.own_system and roles[0] != "system":
        yield "default-system", repr(look.own_system[:60])
    for number, turn in enumerate(turns, 1):
        has_thinking = bool(turn.thinking and turn.thinking.text)
        if not turn.content.strip() and not turn.tool_calls and not has_thinking:
            yield "empty-turn", f"turn {number}, {turn.role}"


def _contents(turns: Sequence[Message], look: Look, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what of the turns does not stand in the text, and what stands at the edges of answers."""
    trained = trained_turns(turns, look.spec)
    for index, turn in enumerate(turns):
        where = f"turn {index + 1}, {turn.role}"
        if turn.content.strip() and not _stands(turn.content, texts):
            said = _THOUGHT.sub("", turn.content)
            if not _stands(said, texts):
                yield "content-dropped", f"{where}: {turn.content.strip()[:40]!r}"
            elif index in trained:
                yield "reasoning-dropped", f"{where}: {turn.content.strip()[:40]!r}"
        thought = turn.thinking.text if turn.thinking else ""
        if index in trained and thought.strip() and not _stands(thought, texts):
            yield "reasoning-dropped", f"{where}: {thought.strip()[:40]!r}"
        if index in trained and turn.content.strip():
            yield from _answer(turn.content, look, where, any(turn.content in text for text in texts))


def _stands(content: str, texts: Sequence[str]) -> bool:
    """Whether a content stands in one of the texts, but for whitespace and the escapes of JSON."""
    plain = content.strip()
    if any(plain in text for text in texts):
        return True
    escaped = (json.dumps(plain, ensure_ascii=ascii)[1:-1] for ascii in (True, False))
    forms = {_squeezed(form) for form in (plain, *escaped)}
    squeezed = [_squeezed(text) for text in texts]
    return any(form in text for form in forms for text in squeezed)


def _answer(content: str, look: Look, where: str, shown: bool) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the text of an answer; `shown` if it stands as it is in the training text."""
    if shown and content != content.strip():
        edge = content[: len(content) - len(content.lstrip())] or content[len(content.rstrip()) :]
        yield "answer-edge-space", f"{where} {'begins' if content[0].isspace() else 'ends'} with {edge[:20]!r}"
    for end in look.end_texts:
        inside = content.rstrip().removesuffix(end).find(end)
        if inside >= 0:
            yield "end-in-answer", f"{where} holds {end} after {content[:inside][-20:]!r}"


def _control_tokens(item: EncodedRow, turns: Sequence[Message], look: Look, tally: Tally) -> None:
    """Count texts that hold the name of a control token; ends of answers are told apart."""
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
        for found in look.facts.control.finditer(text):
            if not (is_answer and found[0] in look.end_texts):
                tally.add("control-token-in-text", f"{found[0]} after {text[: found.start()][-20:]!r}")


def _tokens(example: Example, rendered: Rendered | Example, look: Look, *, first: bool) -> Iterator[tuple[str, str]]:
    """Yield what the token ids and labels of a sample show."""
    ids, facts = example.input_ids, look.facts
    if first and facts.bos is not None:
        yield from _bos(ids, look)
    if facts.unk is not None and facts.unk in ids and str(look.tokenizer.unk_token) not in example.text:
        yield "unknown-token", f"{ids.count(facts.unk)} of {len(ids)} tokens"
    look.used.update(facts.new.intersection(ids))
    if facts.rows is not None:
        look.used.update(token for token in ids if token >= facts.rows)
    trained = [index for index, label in enumerate(example.labels) if label >= 0]
    if not trained:
        return
    if (end := look.end_of(ids, trained[-1])) is not None:
        look.last_ends.add(end)
    has_masked = isinstance(rendered, Rendered) and any(segment.masked for segment in rendered.segments)
    if look.wants_end and not has_masked and not look.trains_parts:
        yield from _ends(ids, trained, look)


def _bos(ids: Sequence[int], look: Look) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the BOS token of a row."""
    bos = look.facts.bos
    if list(ids[:2]) == [bos, bos]:
        yield "bos-doubled", f"{look.tokenizer.bos_token} {look.tokenizer.bos_token}"
    if look.facts.adds_bos and list(ids[:1]) != [bos] and look.spec.dataset.kind != "input_output":
        yield "bos-missing", f"the first token is {look.tokenizer.convert_ids_to_tokens(ids[0]) if ids else 'none'}"


def _ends(ids: Sequence[int], trained: Sequence[int], look: Look) -> Iterator[tuple[str, str]]:
    """Yield answers whose end token is doubled or not in the loss; `trained` are the positions in the loss."""
    for position, following in zip(trained, [*trained[1:], len(ids) + 1], strict=True):
        if following == position + 1 and ids[position] == ids[following] and ids[position] in look.ends:
            yield "end-doubled", str(look.tokenizer.convert_ids_to_tokens(ids[position]))
        elif following != position + 1 and look.end_of(ids, position) is None:
            tail = look.tokenizer.decode(ids[max(0, position - 5) : position + 1])
            yield "end-untrained", f"the last trained token of an answer is in {tail!r}"


def _decoded(rendered: Rendered, ids: Sequence[int], look: Look) -> str:
    begun = ids[:1] == [look.facts.bos] and not rendered.text.startswith(str(look.tokenizer.bos_token))
    return str(look.tokenizer.decode(list(ids)[int(begun) :], clean_up_tokenization_spaces=False))


def full_text(rendered: Rendered, tokenizer: Tokenizer) -> str:
    """Return the text with the end tokens that follow its segments."""
    end = str(tokenizer.eos_token)
    return "".join(
        segment.text + end * (segment.eos_count - segment.text.endswith(end)) if segment.text else ""
        for segment in rendered.segments
    )


def _roundtrip(rendered: Rendered, decoded: str, look: Look) -> Iterator[tuple[str, str]]:
    """Yield that the tokens do not say what the text says, but for whitespace and composed letters."""
    wanted, found = _squeezed(full_text(rendered, look.tokenizer)), _squeezed(decoded)
    if wanted != found:
        wanted, found = unicodedata.normalize("NFC", wanted), unicodedata.normalize("NFC", found)
    if wanted != found:
        place = first_difference(wanted, found)
        shown = f"{wanted[place : place + 20]!r} comes back as {found[place : place + 20]!r}"
        yield "roundtrip-differs", f"after {wanted[:place][-15:]!r}, {shown}"


def _borders(rendered: Rendered, decoded: str, look: Look) -> Iterator[tuple[str, str]]:
    """Yield what is wrong where the prompt ends and the answer begins, of texts tokenised in parts."""
    if rendered.tokenize_whole or look.record.splits:
        return
    for before, segment in zip((Segment("", False), *rendered.segments), rendered.segments, strict=False):
        prompt = ("" if before.train else before.text) + segment.header
        answer = segment.text[len(segment.header) :]
        if not segment.train or not prompt or not answer:
            continue
        glued = prompt[-8:] + answer[:8]
        if prompt[-1] in " \t":
            yield "prompt-ends-in-space", repr(prompt[-20:])
        elif prompt[-1] == ":" and answer[0].isalnum() and glued in decoded:
            yield "answer-glued", repr(glued)
    if look.spec.dataset.kind == "input_output" or look.record.roles:
        return
    for segment in rendered.segments:
        if segment.train and segment.text.strip():
            yield from _answer(segment.text[len(segment.header) :], look, "the answer", True)


def _squeezed(text: str) -> str:
    return "".join(text.split())
