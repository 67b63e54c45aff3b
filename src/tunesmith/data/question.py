"""Prompts: the part of a row, or of a person's words, that inference feeds the model.

The formats' own code renders them and stops where training begins, so that the prompt that is served is the prompt
that was trained.
"""

from itertools import islice
from typing import Any, NamedTuple

from tunesmith.data import source as data_source
from tunesmith.data.formats import find_format
from tunesmith.data.formats.chat import chat_prompt, conversation
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
        messages = conversation(values, spec.dataset)
        last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
        if last == 0:
            return None
        rendered = chat_prompt(messages[:last], spec, values.get(spec.dataset.field_tools))
        words = [message["content"] for message in messages[:last] if message["role"] == "user"]
        return Question(prompt_ids(rendered, tokenizer), str(messages[last]["content"]), words[-1] if words else "")
    rendered = find_format(spec.dataset.type, source)(values, spec)
    prompt = rendered.prompt()
    if not prompt.spans:
        return None
    answer = "".join(span.text for span in rendered.spans[len(prompt.spans) :] if span.train)
    return Question(prompt_ids(prompt, tokenizer), answer, "".join(span.text for span in prompt.spans))


def conversation_prompt(turns: list[Turn], spec: FormatSpec, tokenizer: Tokenizer, source: str) -> list[int]:
    """Return the tokens that the model is fed after `turns`, the last of which is the user's.

    Types without a chat template know one turn: the last one is the instruction, or the text to go on with.
    """
    text = turns[-1]["content"]
    kind = spec.dataset.type
    if kind == "chat_template":
        rendered = chat_prompt(list(turns), spec)
    elif kind in ("completion", "input_output"):
        rendered = Rendered((Span(text, False),), bos=kind == "completion")
    else:
        row = {spec.dataset.field_instruction: text, spec.dataset.field_output: "(the answer)"}
        rendered = find_format(kind, source)(row, spec).prompt()
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
                first = conversation(row.values, spec.dataset)[0]
                found.add(first["content"] if first["role"] == "system" else None)
    except DataError:
        return None
    return found.pop() if len(found) == 1 else None
