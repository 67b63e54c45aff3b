"""Prompts: the part of a row, or of a person's words, that inference feeds the model.

The formats' own code renders them and stops where training begins, so that the prompt that is served is the prompt
that was trained.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from tunesmith.data import source as data_source
from tunesmith.data.formats.chat import chat_prompt, require_answer
from tunesmith.data.formats.conversation import Message
from tunesmith.data.formats.instruct import INSTRUCT, instruct_prompt
from tunesmith.data.formats.messages import Turn as ChatTurn
from tunesmith.data.formats.messages import tools_of, turns_of
from tunesmith.data.formats.prompt_completion import require_template
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.masks import CONVERSATIONS, conversation_of, encode, format_of, turns_of_pair
from tunesmith.data.tokenize import prompt_ids
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Rendered, Row, Span
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

Turn = dict[str, str]
"""A message: role and content."""

PLAIN_TEXT = ("completion", "pretrain", "input_output", "prompt_completion")
"""Types without a layout: what is asked is gone on with."""

MESSAGES = {
    "user": Message("human", "", 0),
    "assistant": Message("gpt", "", 1),
    "system": Message("system", ""),
}


class Question(NamedTuple):
    """A row as a prompt, and the answer that it holds.

    Attributes:
        input_ids: the prompt, token for token as it stands in the training sample.
        reference: the row's own answer.
        text: what is asked, for reading: the user's last words, or the whole prompt of types without turns.
    """

    input_ids: list[int]
    reference: str
    text: str


def question(
    values: dict[str, Any], spec: FormatSpec, tokenizer: Tokenizer, source: str, said: Sequence[Turn] = ()
) -> Question | None:
    """Return the prompt and the last answer of a row; None for a row that is trained from its first token on.

    Args:
        values: the row.
        spec: settings of its dataset.
        tokenizer: the model's.
        source: the config's file.
        said: turns that follow the prompt, an answer and what is said to it by turns, before the next answer.

    Raises:
        DataError: the row does not fit its type.
    """
    if (turns := _chat_turns(values, spec)) is not None:
        last = _last_answer(turns)
        if last == 0:
            return None
        require_template(spec)
        messages = [turn.message for turn in turns[:last]]
        rendered = chat_prompt([*messages, *said], spec, tools_of(values, spec.dataset))
        words = [turn.content for turn in turns[:last] if turn.role == "user"]
        return Question(prompt_ids(rendered, tokenizer), turns[last].content, words[-1] if words else "")
    if spec.dataset.kind in CONVERSATIONS:
        spoken, last = _conversation(values, spec)
        if last == 0:
            return None
        words = [message.text for message in spoken[:last] if message.speaker == 0]
        fed = _fed(spoken[: last + 1], said, spec, tokenizer, source)
        return Question(fed, spoken[last].text, words[-1] if words else "")
    if (found := _asked_text(values, spec, source)) is None:
        return None
    prompt, answer = found
    ids = _gone_on(prompt_ids(prompt, tokenizer), said, spec, tokenizer, source)
    return Question(ids, answer, prompt.text)


def reference_answer(values: dict[str, Any], spec: FormatSpec, source: str) -> str:
    """Return the row's own answer, as `question` does but without tokens; empty for rows that hold none.

    Those are rows that are trained from their first token on, preference rows, and tokens.

    Raises:
        DataError: the row does not fit its type.
    """
    if spec.preferences or spec.dataset.kind == "pretokenized":
        return ""
    if (turns := _chat_turns(values, spec)) is not None:
        return turns[_last_answer(turns)].content
    if spec.dataset.kind in CONVERSATIONS:
        messages, last = _conversation(values, spec)
        return messages[last].text
    found = _asked_text(values, spec, source)
    return found[1] if found else ""


def _chat_turns(values: dict[str, Any], spec: FormatSpec) -> list[ChatTurn] | None:
    """Return the turns of a row that a chat template renders, or None."""
    if spec.dataset.type == "chat_template":
        turns = turns_of(values, spec.dataset)
    elif spec.dataset.kind == "prompt_completion" and isinstance(values.get("prompt"), list):
        turns = turns_of_pair(values, spec)[0]
    else:
        return None
    require_answer(turns)
    return turns


def _last_answer(turns: Sequence[ChatTurn]) -> int:
    return max(index for index, turn in enumerate(turns) if turn.role == "assistant")


def _conversation(values: dict[str, Any], spec: FormatSpec) -> tuple[list[Message], int]:
    """Return the messages of a conversation without a chat template, and which is its last answer."""
    messages = conversation_of(spec).read(values, spec)
    answers = [index for index, said in enumerate(messages) if said.speaker == 1 and said.weight and said.text.strip()]
    if not answers:
        raise DataError("no turn of the model has content and a weight: there is nothing to ask for")
    return messages, answers[-1]


def _asked_text(values: dict[str, Any], spec: FormatSpec, source: str) -> tuple[Rendered, str] | None:
    """Return the prompt and the answer of a row of another type; None if it is trained from its first token on."""
    samples = format_of(spec, source)(values, replace(spec, train_on_inputs=False))
    texts = [sample for sample in samples if isinstance(sample, Rendered) and any(span.train for span in sample.spans)]
    if not texts or not texts[0].prompt().spans:
        return None
    prompt = texts[0].prompt(last=True)
    return prompt, texts[0].text[len(prompt.text) :]


def _message(turn: Turn) -> Message:
    return MESSAGES[turn["role"]]._replace(text=turn["content"])


def _gone_on(ids: list[int], said: Sequence[Turn], spec: FormatSpec, tokenizer: Tokenizer, source: str) -> list[int]:
    """Return a prompt of a type that knows one turn, gone on with: the answer, a blank line, the next turn's prompt."""
    for turn in said:
        if turn["role"] == "assistant":
            more = tokenizer(turn["content"] + "\n\n", add_special_tokens=False)["input_ids"]
        else:
            more = conversation_prompt([turn], spec, tokenizer, source)
            more = more[1:] if more[:1] == [tokenizer.bos_token_id] else more
        ids = [*ids, *more]
    return ids


def _fed(
    messages: Sequence[Message], said: Sequence[Turn], spec: FormatSpec, tokenizer: Tokenizer, source: str
) -> list[int]:
    """Return the tokens of a conversation up to its last message, an answer; with the turns that are said before it."""
    if said and keeps_history(spec.dataset):
        messages, said = [*messages[:-1], *map(_message, said), messages[-1]], ()
    rendered = conversation_of(spec).render(messages, replace(spec, train_on_inputs=False))
    prompt = rendered.prompt(last=True)
    (found,) = encode([prompt], tokenizer, spec)
    if isinstance(found, DataError):
        raise found
    return _gone_on(found[0].input_ids, said, spec, tokenizer, source)


def keeps_history(dataset: Dataset) -> bool:
    """Whether a chat in this type goes on from earlier turns; other types know one turn."""
    return dataset.kind == "chat_template" or (dataset.kind in CONVERSATIONS and dataset.kind != "instruct")


def conversation_prompt(
    turns: list[Turn], spec: FormatSpec, tokenizer: Tokenizer, source: str, said: Sequence[Turn] = ()
) -> list[int]:
    """Return the tokens that the model is fed after `turns`, the last of which is the user's.

    Types that know one turn take the last one as the instruction, or as the text to go on with. What is `said` since,
    an answer and a turn of the user by turns, follows as in `question`.
    """
    text = turns[-1]["content"]
    kind = spec.dataset.kind
    if kind in CONVERSATIONS:
        messages = [*map(_message, turns), MESSAGES["assistant"]._replace(text="(the answer)")]
        return _fed(messages, said, spec, tokenizer, source)
    if kind == "chat_template" or (kind == "prompt_completion" and spec.template and _holds_messages(spec, source)):
        return prompt_ids(chat_prompt([*turns, *said], spec), tokenizer)
    if kind in INSTRUCT:
        system = [turn["content"] for turn in turns if turn["role"] == "system"]
        rendered = instruct_prompt(text, system[0] if system else "", spec)
    elif kind in PLAIN_TEXT:
        rendered = Rendered((Span(text, False),), bos="never" if kind == "input_output" else "own")
    elif kind in ("stepwise_supervised", "pretokenized"):
        raise DataError(f"a model is not asked in words with type {kind}; set `type` to the layout of its prompts")
    else:
        row = {spec.dataset.field_instruction: text, spec.dataset.field_output: "(the answer)"}
        answered = format_of(spec, source)(row, spec)[0]
        assert isinstance(answered, Rendered)
        rendered = answered.prompt(last=True)
    return _gone_on(prompt_ids(rendered, tokenizer), said, spec, tokenizer, source)


def _holds_messages(spec: FormatSpec, source: str) -> bool:
    """Whether prompts of the dataset are messages, by its first row."""
    rows = (row for row in data_source.read_rows(spec.dataset, source) if isinstance(row, Row))
    return isinstance(next((row.values.get("prompt") for row in rows), None), list)


def shared_system_turn(spec: FormatSpec, source: str, rows: int = 100) -> str | None:
    """Return the system turn that the first rows of a chat dataset have in common, or None.

    A model that was trained with one is meant to be asked with it.
    """
    if not keeps_history(spec.dataset):
        return None
    found: set[str | None] = set()
    try:
        for row in islice(data_source.read_rows(spec.dataset, source), rows):
            if isinstance(row, Row):
                found.add(_system_turn(row.values, spec))
    except DataError:
        return None
    return found.pop() if len(found) == 1 else None


def _system_turn(values: dict[str, Any], spec: FormatSpec) -> str | None:
    if spec.dataset.kind in CONVERSATIONS:
        messages = conversation_of(spec).read(values, spec)
        return messages[0].text if messages and messages[0].name == "system" else None
    first = turns_of(values, spec.dataset)[0]
    return first.content if first.role == "system" else None
