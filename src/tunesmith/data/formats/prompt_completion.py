"""TRL's rows of `prompt` and `completion`: both plain text, or both lists of messages for the chat template.

Text is tokenised in one go, as it stands, and what the prompt does not end in is trained. A row of which a server's
prompt would become other tokens than it has in that text is refused: most often the prompt ends in a space. Messages
are one conversation, in which only the turns of `completion` are trained.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tunesmith.data.formats.chat import Tools, conversation, difference, template_of
from tunesmith.data.formats.messages import Turn, tools_of, turns_of
from tunesmith.data.formats.spec import FormatSpec, missing_column, text_column
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

COLUMNS = ("prompt", "completion")


def prompt_completion(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a row; the completion and its end are trained."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return [_text(values, spec)]
    require_template(spec)
    turns, first = turns_of_pair(values, spec)
    return conversation(turns, spec, tools_of(values, spec.dataset), first)


def prompt_and_completion(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row, as TRL gives them: the prompt that is fed, and what follows it."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return texts_of_pair(values, spec)
    return cut_at_prompt(turns_of_pair(values, spec), values, spec, partial(fed_prompt, continues=True))


def cut_at_prompt(
    pair: tuple[list[Turn], int], values: dict[str, Any], spec: FormatSpec, find_prompt: Callable[..., str]
) -> tuple[str, str]:
    """Return the text of a conversation up to where `find_prompt` ends its prompt, and the rest."""
    messages, template, tools = [turn.message for turn in pair[0]], template_of(spec), tools_of(values, spec.dataset)
    full = template.render(messages, tools=tools)
    prompt = find_prompt(messages[: pair[1]], [full], template, tools)
    return prompt, full[len(prompt) :]


def are_messages(values: dict[str, Any], columns: Sequence[str], dataset: Dataset) -> bool:
    """Whether the columns hold lists of messages; else all hold text.

    Raises:
        DataError: a column is missing, or some hold text and some hold messages.
    """
    for column in columns:
        if values.get(column) is None:
            raise missing_column(values, column, None, dataset)
    lists = [isinstance(values[column], list) for column in columns]
    if any(lists) and not all(lists):
        found = ", ".join(f"{column} is {type(values[column]).__name__}" for column in columns)
        raise DataError(f"the columns should all be text, or all be lists of messages; {found}")
    return any(lists)


def require_template(spec: FormatSpec) -> None:
    """Raise a ConfigError if there is no chat template."""
    if spec.template is None:
        raise ConfigError("rows of messages need a chat template, and the tokenizer has none; set `chat_template`")


def turns_of_pair(values: dict[str, Any], spec: FormatSpec) -> tuple[list[Turn], int]:
    """Return all turns of a row, and the index of the first one of its completion."""
    prompt = messages_in(values, "prompt", spec.dataset, system=True)
    return [*prompt, *messages_in(values, "completion", spec.dataset)], len(prompt)


def messages_in(values: dict[str, Any], column: str, dataset: Dataset, *, system: bool = False) -> list[Turn]:
    """Return the messages in a column; with `system` after the row's own system text, if it has one."""
    if values.get(column) is None:
        raise missing_column(values, column, None, dataset)
    row = values if system else {column: values[column]}
    return turns_of(row, dataset.model_copy(update={"field_messages": column}))


def fed_prompt(
    messages: Sequence[dict[str, Any]],
    fulls: Sequence[str],
    template: ChatTemplate,
    tools: Tools,
    *,
    continues: bool = False,
) -> str:
    """Return the prompt of a conversation as a server feeds it: the text with which each of `fulls` begins.

    Args:
        messages: the prompt's.
        fulls: the whole texts, with the answers.
        template: the chat template.
        tools: schemas of the tools, if there are any.
        continues: an answer at the end of the prompt goes on in the completion, as in TRL.

    Raises:
        DataError: a text begins otherwise, or the template leaves out what the system or the user says.
    """
    goes_on = continues and messages[-1]["role"] == "assistant"
    text = template.render(messages, add_generation_prompt=not goes_on, continue_final_message=goes_on, tools=tools)
    for message in messages:
        if message["role"] in ("system", "user") and message["content"].strip() not in text:
            raise DataError(f"the chat template leaves out {message['content'][:40]!r}; choose another `chat_template`")
    for full in fulls:
        if not full.startswith(text):
            raise DataError(
                "the prompt that a server feeds is not how the training text goes on: "
                + difference(text, full)
                + ". Choose another `chat_template`; trl has some made for training, such as trl:qwen3_training"
            )
    return text


def texts_of_pair(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row of plain text."""
    prompt, completion = (text_column(values, column, None, spec.dataset) for column in COLUMNS)
    return prompt, completion


def _text(values: dict[str, Any], spec: FormatSpec) -> Rendered:
    prompt, completion = texts_of_pair(values, spec)
    if not completion.strip():
        raise DataError("column completion is blank: there is nothing to train")
    spans = (Span(prompt, spec.train_on_inputs), Span(completion, True, ends=1))
    return Rendered(spans, joint=True, bos="own", prompts=() if spec.train_on_inputs else (len(prompt),))
