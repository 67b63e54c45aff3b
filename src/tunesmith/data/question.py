"""Prompts: the part of a row, or of a person's words, that inference feeds the model.

The record of the dataset type renders them and stops where training begins, so that the prompt that is served is the
prompt that was trained.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.chat import require_answer
from tunesmith.data.formats.format import Content, Document, Format, FormatSpec
from tunesmith.data.formats.prompt_completion import ask as ask_pair
from tunesmith.data.formats.prompt_completion import holds_messages
from tunesmith.data.formats.raw import ask_text, ask_without_bos
from tunesmith.data.masks import format_of
from tunesmith.data.messages import Conversation, Message, find_answer, text_message
from tunesmith.data.source import read_rows
from tunesmith.data.tokenize import prompt_ids
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Rendered, Row
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

Turn = dict[str, str]
"""A message: role and content."""

STAND_IN = text_message("assistant", "(the answer)")
"""Stands for the answer that the model is asked for."""


class Question(NamedTuple):
    """A row as a prompt, and the answer that it holds.

    Attributes:
        input_ids: the prompt, token for token as it stands in the training sample.
        reference: the row's own answer.
        text: the question, for reading: the last user message, or the whole prompt of types with one turn.
    """

    input_ids: list[int]
    reference: str
    text: str


def question(
    values: dict[str, Any], spec: FormatSpec, tokenizer: Tokenizer, said: Sequence[Turn] = ()
) -> Question | None:
    """Return the prompt and the last answer of a row; None for a row that is trained from its first token on.

    Args:
        values: the row.
        spec: settings of its dataset.
        tokenizer: the model's.
        said: turns that follow the prompt, an answer and a turn of the user by turns, before the next answer.

    Raises:
        DataError: the row does not fit its type.
    """
    record = format_of(spec)
    spec = replace(spec, train_on_inputs=False)
    content = record.read(values, spec)
    if isinstance(content, Document):
        return _document_question(content, record, spec, tokenizer, said)
    index = _answer_index(content, record)
    if index == 0:
        return None
    before, answer = content.until(index), content.messages[index]
    if record.templated or record.turns:
        before = before._replace(messages=(*before.messages, *map(_message, said)))
        said = ()
    prompt = _prompt(before, answer, record, spec)
    if not prompt.segments:
        return None
    ids = _continue(_encode_prompt(prompt, record, spec, tokenizer), said, spec, tokenizer)
    users = [message.content for message in content.messages[:index] if message.role == "user"]
    if record.ask and not record.templated:
        return Question(ids, answer.content, prompt.text)
    return Question(ids, answer.content, users[-1] if users else "")


def open_question(
    values: dict[str, Any], spec: FormatSpec, tokenizer: Tokenizer, said: Sequence[Turn] = ()
) -> Question | None:
    """Return the prompt of a conversation whose last message waits for an answer; None for any other row.

    Args:
        values: the row.
        spec: settings of its dataset.
        tokenizer: the model's.
        said: as in `question`.

    Raises:
        DataError: the row does not fit its type.
    """
    record = format_of(spec)
    spec = replace(spec, train_on_inputs=False)
    content = record.read(values, spec) if record.templated or record.turns else None
    if (
        not isinstance(content, Conversation)
        or not content.messages
        or content.messages[-1].role not in ("user", "tool")
    ):
        return None
    content = content._replace(messages=(*content.messages, *map(_message, said)))
    ids = _encode_prompt(_prompt(content, STAND_IN, record, spec), record, spec, tokenizer)
    return Question(ids, "", next(turn.content for turn in reversed(content.messages) if turn.role != "assistant"))


def _document_question(
    document: Document, record: Format, spec: FormatSpec, tokenizer: Tokenizer, said: Sequence[Turn]
) -> Question | None:
    parts = _split_document(document)
    if parts is None:
        return None
    prompt, answer = parts
    ids = _continue(prompt_ids(prompt, tokenizer), said, spec, tokenizer)
    return Question(ids, answer, prompt.text)


def reference_answer(values: dict[str, Any], spec: FormatSpec) -> str:
    """Return the row's own answer, as `question` does but without tokens; empty for rows that hold none.

    Those are rows that are trained from their first token on, preference rows, and tokens.

    Raises:
        DataError: the row does not fit its type.
    """
    if spec.preferences or spec.dataset.kind == "pretokenized":
        return ""
    record = format_of(spec)
    content = _read_turns(values, record, replace(spec, train_on_inputs=False))
    if isinstance(content, Document):
        parts = _split_document(content)
        return parts[1] if parts else ""
    return str(content.messages[_answer_index(content, record)].content)


def _read_turns(values: dict[str, Any], record: Format, spec: FormatSpec) -> Content:
    """Read a row for its turns alone: faulty tools are no matter."""
    if record.templated:
        values = {name: value for name, value in values.items() if name != spec.dataset.field_tools}
    content: Content = record.read(values, spec)
    return content


def _answer_index(conversation: Conversation, record: Format) -> int:
    """Return the index of the answer that is asked for."""
    if record.templated:
        require_answer(conversation.messages)
        return max(index for index, turn in enumerate(conversation.messages) if turn.role == "assistant")
    index = find_answer(conversation.messages)
    if index is None:
        raise DataError("no turn of the model has content and a weight: there is nothing to ask for")
    return index


def _prompt(before: Conversation, answer: Message, record: Format, spec: FormatSpec) -> Rendered:
    """Return the prompt of a conversation for its next answer."""
    if record.prompt:
        return record.prompt(before, spec)
    answered = before._replace(messages=(*before.messages, answer))
    sample = record.render(answered, spec)[0]
    assert isinstance(sample, Rendered)
    return sample.prompt(last=True)


def _split_document(document: Document) -> tuple[Rendered, str] | None:
    """Return prompt and answer of a row that is no conversation; None if it is trained from its first token on."""
    texts = [
        sample
        for sample in document.samples
        if isinstance(sample, Rendered) and any(segment.train for segment in sample.segments)
    ]
    if not texts or not texts[0].prompt().segments:
        return None
    prompt = texts[0].prompt(last=True)
    return prompt, texts[0].text[len(prompt.text) :]


def _message(turn: Turn) -> Message:
    return text_message(turn["role"], turn["content"])


def _encode_prompt(prompt: Rendered, record: Format, spec: FormatSpec, tokenizer: Tokenizer) -> list[int]:
    (examples,) = record.encode([prompt], tokenizer, sequence_len=spec.sequence_len)
    if isinstance(examples, DataError):
        raise examples
    return examples[0].input_ids


def _continue(ids: list[int], said: Sequence[Turn], spec: FormatSpec, tokenizer: Tokenizer) -> list[int]:
    """Return a prompt of a type with one turn, continued: the answer, a blank line, the next turn's prompt."""
    for turn in said:
        if turn["role"] == "assistant":
            more = tokenizer(turn["content"] + "\n\n", add_special_tokens=False)["input_ids"]
        else:
            more = conversation_prompt([turn], spec, tokenizer)
            more = more[1:] if more[:1] == [tokenizer.bos_token_id] else more
        ids = [*ids, *more]
    return ids


def keeps_history(dataset: Dataset) -> bool:
    """Whether a chat in this type continues from earlier turns; other types have one turn."""
    return dataset.kind in FORMATS and FORMATS[dataset.kind].turns


def continues_text(dataset: Dataset) -> bool:
    """Whether a question to a model of this type is a text to continue."""
    return dataset.kind in FORMATS and FORMATS[dataset.kind].ask in (ask_text, ask_without_bos, ask_pair)


def conversation_prompt(
    turns: list[Turn], spec: FormatSpec, tokenizer: Tokenizer, said: Sequence[Turn] = ()
) -> list[int]:
    """Return the tokens that the model is fed after `turns`, the last of which is the user's.

    Types with one turn take the last one as the instruction, or as the text to continue. What is `said` since, an
    answer and a turn of the user by turns, follows as in `question`.
    """
    record = format_of(spec)
    spec = replace(spec, train_on_inputs=False)
    if record.turns or (record.templated and spec.template and holds_messages(spec)):
        turns, said = [*turns, *said], ()
    if record.ask:
        ids = prompt_ids(record.ask(turns, spec), tokenizer)
    else:
        conversation = Conversation(tuple(map(_message, turns)))
        ids = _encode_prompt(_prompt(conversation, STAND_IN, record, spec), record, spec, tokenizer)
    return _continue(ids, said, spec, tokenizer)


def shared_system_turn(spec: FormatSpec, rows: int = 100) -> str | None:
    """Return the system turn that the first rows of a chat dataset have in common, or None.

    A model that was trained with one is meant to be asked with it.
    """
    if not keeps_history(spec.dataset):
        return None
    record = format_of(spec)
    systems: set[str | None] = set()
    try:
        for row in islice(read_rows(spec.dataset, spec.source), rows):
            if isinstance(row, Row):
                content = _read_turns(row.values, record, spec)
                first = content.messages[0] if isinstance(content, Conversation) else None
                systems.add(first.content if first and first.role == "system" else None)
    except DataError:
        return None
    return systems.pop() if len(systems) == 1 else None
