"""TRL's rows of `prompt` and `completion`: both plain text, or both lists of messages for the chat template.

Text is tokenised in one go, as it stands, and what the prompt does not end in is trained. A row of which a server's
prompt would become other tokens than it has in that text is refused: most often the prompt ends in a space. Messages
are one conversation, in which only the turns of `completion` are trained. `mask: axolotl` gives TRL's own labels here:
all that follows the tokens which the prompt alone has in common with the whole.
"""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.chat import Tools, conversation, difference, parting, template_of
from tunesmith.data.formats.messages import Turn, tools_of, turns_of
from tunesmith.data.formats.spec import FormatSpec, missing_column, text_column
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.data.types import MASKED, Example, Rendered, Span
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

COLUMNS = ("prompt", "completion")


def prompt_completion(values: dict[str, Any], spec: FormatSpec) -> list[Rendered] | list[Example]:
    """Render a row; the completion and its end are trained."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return [_trl_text(values, spec)] if spec.upstream else [_text(values, spec)]
    require_template(spec)
    turns, first = turns_of_pair(values, spec)
    tools = tools_of(values, spec.dataset)
    return [_trl_chat(turns, first, tools, spec)] if spec.upstream else list(conversation(turns, spec, tools, first))


def prompt_and_completion(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row, as TRL gives them: the prompt that is fed, and what follows it."""
    if not are_messages(values, COLUMNS, spec.dataset):
        return _texts(values, spec)
    require_template(spec)
    turns, first = turns_of_pair(values, spec)
    messages, template, tools = [turn.message for turn in turns], template_of(spec), tools_of(values, spec.dataset)
    full = template.render(messages, tools=tools)
    prompt = fed_prompt(messages[:first], [full], template, tools, continues=True, upstream=spec.upstream)
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
    prompt = messages_in(values, "prompt", spec.dataset, system=not spec.upstream)
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
    upstream: bool = False,
) -> str:
    """Return the prompt of a conversation as a server feeds it: the text with which each of `fulls` begins.

    Args:
        messages: the prompt's.
        fulls: the whole texts, with the answers.
        template: the chat template.
        tools: schemas of the tools, if there are any.
        continues: an answer at the end of the prompt goes on in the completion, as in TRL.
        upstream: where a text begins otherwise, cut the prompt, as TRL does.

    Raises:
        DataError: a text begins otherwise, or the template leaves out what the system or the user says.
    """
    role = messages[-1]["role"]
    if upstream and role not in ("user", "tool", "assistant"):
        raise DataError(f"the prompt ends with a message of {role}; it should be the user's, a tool's or the model's")
    goes_on = continues and role == "assistant"
    text = template.render(messages, add_generation_prompt=not goes_on, continue_final_message=goes_on, tools=tools)
    for message in [] if upstream else messages:
        if message["role"] in ("system", "user") and message["content"].strip() not in text:
            raise DataError(f"the chat template leaves out {message['content'][:40]!r}; choose another `chat_template`")
    for full in fulls:
        if not upstream and not full.startswith(text):
            raise DataError(
                "the prompt that a server feeds is not how the training text goes on: "
                + difference(text, full)
                + ". Choose another `chat_template`; trl has some made for training, such as trl:qwen3_training"
            )
        text = text[: parting(text, full)]
    return text


def _texts(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    prompt, completion = (text_column(values, column, None, spec.dataset) for column in COLUMNS)
    return prompt, completion


def _text(values: dict[str, Any], spec: FormatSpec) -> Rendered:
    prompt, completion = _texts(values, spec)
    if not completion.strip():
        raise DataError("column completion is blank: there is nothing to train")
    spans = (Span(prompt, spec.train_on_inputs), Span(completion, True, ends=1))
    return Rendered(spans, joint=True, bos="own", prompts=() if spec.train_on_inputs else (len(prompt),))


def _trl_text(values: dict[str, Any], spec: FormatSpec) -> Example:
    tokenizer: Tokenizer = spec.tokenizer
    prompt, completion = _texts(values, spec)
    end = "" if completion.endswith(tokenizer.eos_token) else tokenizer.eos_token
    ids = tokenizer(prompt + completion + end).input_ids
    return _after_prompt(tokenizer(prompt).input_ids, ids, prompt + completion, spec)


def _trl_chat(turns: Sequence[Turn], first: int, tools: Tools, spec: FormatSpec) -> Example:
    template, messages = template_of(spec), [turn.message for turn in turns]
    texts = (
        template.render(messages[:first], add_generation_prompt=True, tools=tools),
        template.render(messages, tools=tools),
    )
    prompt, whole = template.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return _after_prompt(prompt, whole, texts[1], spec)


def _after_prompt(prompt: list[int], ids: list[int], text: str, spec: FormatSpec) -> Example:
    """Return the tokens with those labelled that come after what the prompt's have in common with them."""
    start = 0 if spec.train_on_inputs else parting(prompt, ids)
    return Example(ids, [MASKED] * start + ids[start:], text)
