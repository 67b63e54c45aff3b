"""TRL's rows of `prompt` and `completion`: both plain text, or both lists of messages for the chat template.

Text is tokenized as a whole, and what follows the prompt is trained. A row is refused if a server's prompt would become
other tokens than in that text: most often because the prompt ends in a space. Messages are one conversation, in which
only the messages of `completion` are trained.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tunesmith.data import source as data_source
from tunesmith.data.formats.chat import CHAT_KEYS, chat_prompt, render_chat, wire_prompt
from tunesmith.data.formats.format import (
    Columns,
    Document,
    Format,
    FormatSpec,
    missing_column,
    template_of,
    text_column,
)
from tunesmith.data.formats.messages import read_messages, read_tools
from tunesmith.data.messages import Conversation, Message, Tools, WireMessage
from tunesmith.data.prefix import CHOOSE_OTHER, describe_difference, prompt_is_prefix
from tunesmith.data.shown import require_tools_shown, says
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Rendered, Row, Segment
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

COLUMNS = ("prompt", "completion")


def read_pair(values: dict[str, Any], spec: FormatSpec) -> Conversation | Document:
    """Read a row: one conversation, or a prompt and a completion as text."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return Document((_render_text(values, spec),))
    return read_conversation(values, spec)


def read_conversation(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read both columns of messages as one conversation, after the row's own system text."""
    prompt = messages_in(values, "prompt", spec.dataset, system=True)
    messages = (*prompt, *messages_in(values, "completion", spec.dataset))
    return Conversation(messages, read_tools(values, spec.dataset), len(prompt))


def render_pair(content: Conversation | Document, spec: FormatSpec) -> Sequence[Any]:
    """Render a row; the completion and its end are trained."""
    if isinstance(content, Document):
        return content.samples
    require_template(spec)
    return render_chat(content, spec)


def pair_prompt(conversation: Conversation, spec: FormatSpec) -> Rendered:
    """Render the messages so far as the prompt for the next answer."""
    require_template(spec)
    return chat_prompt(conversation, spec)


def ask(messages: Sequence[WireMessage], spec: FormatSpec) -> Rendered:
    """Return the prompt of what a person typed: by the chat template if the rows hold messages, else the text."""
    if spec.template and holds_messages(spec):
        return wire_prompt(messages, spec)
    return Rendered((Segment(messages[-1]["content"], False),), bos="own")


def holds_messages(spec: FormatSpec) -> bool:
    """Whether prompts of the dataset are messages, by its first row."""
    rows = (row for row in data_source.read_rows(spec.dataset, spec.source) if isinstance(row, Row))
    return isinstance(next((row.values.get("prompt") for row in rows), None), list)


def prompt_and_completion(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row, as TRL gives them: the prompt that is fed, and what follows it."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return texts_of_pair(values, spec)
    return cut_at_prompt(read_conversation(values, spec), spec, partial(fed_prompt, continues=True))


def cut_at_prompt(conversation: Conversation, spec: FormatSpec, find_prompt: Callable[..., str]) -> tuple[str, str]:
    """Return the text of a conversation in two, as `find_prompt` finds the prompt."""
    require_template(spec)
    template, tools = template_of(spec), conversation.tools
    messages = to_wire(conversation.messages, spec.dataset)
    full = template.render(messages, tools=tools)
    prompt = find_prompt(messages[: conversation.first], [full], template, tools)
    return prompt, full[len(prompt) :]


def to_wire(messages: Sequence[Message], dataset: Dataset) -> list[WireMessage]:
    """Return messages as the chat template of a dataset sees them."""
    return [message.to_wire(dataset.template_thinking_key) for message in messages]


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
        types = ", ".join(f"{column} is {type(values[column]).__name__}" for column in columns)
        raise DataError(f"the columns should all be text, or all be lists of messages; {types}")
    return any(lists)


def require_template(spec: FormatSpec) -> None:
    """Raise a ConfigError if there is no chat template."""
    if spec.template is None:
        raise ConfigError("rows of messages need a chat template, and the tokenizer has none; set `chat_template`")


def messages_in(values: dict[str, Any], column: str, dataset: Dataset, *, system: bool = False) -> tuple[Message, ...]:
    """Return the messages in a column; with `system` after the row's own system text, if it has one."""
    if values.get(column) is None:
        raise missing_column(values, column, None, dataset)
    return read_messages(values, dataset.model_copy(update={"field_messages": column}), system=system)


def fed_prompt(
    messages: Sequence[WireMessage],
    fulls: Sequence[str],
    template: ChatTemplate,
    tools: Tools,
    *,
    continues: bool = False,
) -> str:
    """Return the prompt of a conversation as a server feeds it: the text with which each of `fulls` begins.

    Args:
        messages: the prompt's.
        fulls: the full texts, with the answers.
        template: the chat template.
        tools: schemas of the tools, if there are any.
        continues: an answer at the end of the prompt continues in the completion, as in TRL.

    Raises:
        DataError: a text begins otherwise, or the template leaves out what the system or the user says.
    """
    goes_on = continues and messages[-1]["role"] == "assistant"
    text = template.render(messages, add_generation_prompt=not goes_on, continue_final_message=goes_on, tools=tools)
    for message in messages:
        if message["role"] != "assistant" and not says(message["content"], [text]):
            raise DataError(f"the chat template leaves out {message['content'][:40]!r}; choose another `chat_template`")
    require_tools_shown(messages, tools, template)
    for full in fulls:
        if not prompt_is_prefix(text, full):
            raise DataError(
                "the prompt that a server feeds is not how the training text starts: "
                + describe_difference(text, full)
                + CHOOSE_OTHER
            )
    return text


def texts_of_pair(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return prompt and completion of a row of text."""
    prompt, completion = (text_column(values, column, None, spec.dataset) for column in COLUMNS)
    return prompt, completion


def _render_text(values: dict[str, Any], spec: FormatSpec) -> Rendered:
    prompt, completion = texts_of_pair(values, spec)
    if not completion.strip():
        raise DataError("column completion is blank: there is nothing to train")
    segments = (Segment(prompt, spec.train_on_inputs), Segment(completion, True, eos_count=1))
    return Rendered(
        segments, tokenize_whole=True, bos="own", prompt_ends=() if spec.train_on_inputs else (len(prompt),)
    )


PROMPT_COMPLETION = {
    "prompt_completion": Format(
        "prompt_completion",
        read_pair,
        render_pair,
        prompt=pair_prompt,
        ask=ask,
        texts=prompt_and_completion,
        columns=(Columns(5, COLUMNS),),
        keys=CHAT_KEYS,
        templated=True,
    )
}
"""Value of `type` -> its record."""
