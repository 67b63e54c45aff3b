"""Prompts: the part of a row, or of a person's words, that inference feeds the model.

The formats' own code renders them and stops where training begins, so that the prompt that is served is the prompt
that was trained.
"""

from itertools import islice
from typing import Any, NamedTuple

from tunesmith.data import source as data_source
from tunesmith.data.formats import find_format
from tunesmith.data.formats.chat import chat_prompt, require_answer
from tunesmith.data.formats.messages import tools_of, turns_of
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenize import prompt_ids
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Rendered, Row, Span
from tunesmith.errors import DataError

Turn = dict[str, str]
"""A message: role and content."""


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


def question(values: dict[str, Any], spec: FormatSpec, tokenizer: Tokenizer, source: str) -> Question | None:
    """Return the prompt and the last answer of a row; None for a row that is trained from its first token on.

    Raises:
        DataError: the row does not fit its type.
    """
    if spec.dataset.type == "chat_template":
        turns = turns_of(values, spec.dataset)
        require_answer(turns)
        last = max(index for index, turn in enumerate(turns) if turn.role == "assistant")
        if last == 0:
            return None
        messages = [turn.message for turn in turns[:last]]
        rendered = chat_prompt(messages, spec, tools_of(values, spec.dataset))
        words = [turn.content for turn in turns[:last] if turn.role == "user"]
        return Question(prompt_ids(rendered, tokenizer), turns[last].content, words[-1] if words else "")
    (rendered,) = find_format(spec.dataset.kind, source)(values, spec)
    if not isinstance(rendered, Rendered) or not rendered.prompt().spans:
        return None
    prompt = rendered.prompt(last=True)
    answer = rendered.text[len(prompt.text) :]
    return Question(prompt_ids(prompt, tokenizer), answer, prompt.text)


def conversation_prompt(turns: list[Turn], spec: FormatSpec, tokenizer: Tokenizer, source: str) -> list[int]:
    """Return the tokens that the model is fed after `turns`, the last of which is the user's.

    Types without a chat template know one turn: the last one is the instruction, or the text to go on with.
    """
    text = turns[-1]["content"]
    kind = spec.dataset.kind
    if kind == "chat_template":
        rendered = chat_prompt(list(turns), spec)
    elif kind in ("completion", "input_output"):
        rendered = Rendered((Span(text, False),), bos="own" if kind == "completion" else "never")
    else:
        row = {spec.dataset.field_instruction: text, spec.dataset.field_output: "(the answer)"}
        rendered = find_format(kind, source)(row, spec)[0].prompt(last=True)
    return prompt_ids(rendered, tokenizer)


def shared_system_turn(spec: FormatSpec, source: str, rows: int = 100) -> str | None:
    """Return the system turn that the first rows of a chat dataset have in common, or None.

    A model that was trained with one is meant to be asked with it.
    """
    if spec.dataset.type != "chat_template":
        return None
    found: set[str | None] = set()
    try:
        for row in islice(data_source.read_rows(spec.dataset, source), rows):
            if isinstance(row, Row):
                first = turns_of(row.values, spec.dataset)[0]
                found.add(first.content if first.role == "system" else None)
    except DataError:
        return None
    return found.pop() if len(found) == 1 else None
