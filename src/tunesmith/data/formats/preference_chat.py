"""Preference rows as conversations: how they are read, and rendered by the chat template.

What `preference.py` offers as types of `datasets`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunesmith.data.formats.format import missing_column, text_column
from tunesmith.data.formats.messages import read_messages, read_system, read_tools
from tunesmith.data.formats.prompt_completion import are_messages, fed_prompt, messages_in, to_wire
from tunesmith.data.messages import WireMessage
from tunesmith.data.row_access import is_empty, left_to_template
from tunesmith.data.shown import require_tools_shown, says
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

Message = WireMessage
Texts = tuple[str | None, list[str]]
"""The prompt, and a text for each of the row's `answers`."""

WHOLE = {
    "dpo": "`type: chat_template.argilla_chat` reads whole conversations from chosen and rejected",
    "orpo": "`type: chat_template.argilla` reads whole conversations from chosen and rejected",
    "kto": "make it a list of messages too",
}
"""What to do about answers that are messages while the prompt is text."""

NAMED = {
    "dpo": "set `type`, such as chatml.default or llama3.default",
    "orpo": "name it prompt",
    "kto": "name it prompt",
}
"""What to do about a prompt in another column."""


@dataclass(frozen=True)
class PreferenceRow:
    """A row with what its type may need.

    Attributes:
        values: its columns.
        dataset: settings of its dataset.
        group: dpo, kto or orpo.
        find_template: returns the chat template.
        marks: fits the own text of a layout to the tokenizer.
    """

    values: dict[str, Any]
    dataset: Dataset
    group: str
    find_template: Callable[[Dataset], ChatTemplate]
    marks: Callable[[str], str] = str

    @property
    def answers(self) -> tuple[str, ...]:
        return ("completion",) if self.group == "kto" else ("chosen", "rejected")

    def text(self, columns: Sequence[str]) -> str:
        """Return the text of the first of `columns` that is filled.

        Raises:
            DataError: none is there, or it is blank or no text.
        """
        name = self._filled(columns)
        text = text_column(self.values, name, None, self.dataset)
        if not text.strip():
            raise DataError(f"column {name} is blank")
        return text

    def question(self, columns: Sequence[str]) -> str:
        """Return the user's words in the first of `columns` that is filled; an instruction is followed by its input.

        Raises:
            DataError: none is there, or it is blank or no text.
        """
        parts = ("instruction", "input")
        if self._filled(columns) in parts and not any(is_empty(self.values.get(name)) for name in parts):
            return "\n".join(self.text((name,)) for name in parts)
        return self.text(columns)

    def _filled(self, columns: Sequence[str]) -> str:
        """Return the first of `columns` that is filled, else the first that is there."""
        filled = next((name for name in columns if not is_empty(self.values.get(name))), None)
        return filled or self.first_of([name for name in columns if self.values.get(name) is not None], columns)

    def first_of(self, filled: Sequence[str], columns: Sequence[str]) -> str:
        """Return the first of the `filled` columns; `columns` are those that were looked for."""
        if not filled:
            raise missing_column(self.values, " or ".join(dict.fromkeys(columns)), None, self.dataset)
        return filled[0]


def conversation_in(row: PreferenceRow, column: str, *, system: bool = False) -> list[Message]:
    """Return the messages in a column, the last of which is an answer.

    Raises:
        DataError: there is no question, or no answer at the end.
    """
    found = to_wire(messages_in(row.values, column, row.dataset, system=system), row.dataset)
    if len(found) < 2 or found[-1]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in found)
        raise DataError(f"column {column} should hold a question and end with the answer; found messages of {roles}")
    return [*found[:-1], _with_words(found[-1], column)]


def _with_words(answer: Message, column: str) -> Message:
    if not answer["content"].strip() and not answer.get("tool_calls"):
        raise DataError(f"column {column}: the answer is blank")
    return answer


def after_system(row: PreferenceRow, said: list[Message], column: str | None = None) -> list[Message]:
    """Return messages with the row's own system text before them, if it has one and they do not."""
    if said[0]["role"] == "system":
        return said
    system = read_system(row.values, column or row.dataset.field_system)
    if not system or row.dataset.drop_system_message:
        return said
    return [{"role": "system", "content": system}, *said]


def require_same(histories: Sequence[Sequence[Message]]) -> None:
    """Raise a DataError if answers follow different conversations."""
    said = [[(message["role"], message["content"]) for message in history] for history in histories]
    if any(history != said[0] for history in said):
        raise DataError("chosen and rejected answer different conversations; they should differ in their last message")


def by_template(row: PreferenceRow, *, lists: bool, strip: bool = True) -> Texts:
    """Lay out a row by the chat template.

    Args:
        row: it.
        lists: the answers are whole conversations, and hold the prompt.
        strip: leave out the space after the end of an answer.
    """
    columns = (row.dataset.field_chosen, row.dataset.field_rejected)
    if lists:
        chats = [conversation_in(row, column, system=True) for column in columns]
        require_same([chat[:-1] for chat in chats])
        prompt, answers = chats[0][:-1], [chat[-1] for chat in chats]
    else:
        prompt, answers = _question(row), [_answer(row, column) for column in columns]
    template, tools = row.find_template(row.dataset), read_tools(row.values, row.dataset)
    fulls = [template.render([*prompt, answer], tools=tools) for answer in answers]
    for answer, full in zip(answers, fulls, strict=True):
        require_tools_shown([*prompt, answer], tools, template)
        _require_shown(answer, full, row.dataset)
    text = fed_prompt(prompt, fulls, template, tools)
    return text, [full[len(text) :].rstrip() if strip else full[len(text) :] for full in fulls]


def _require_shown(answer: Message, full: str, dataset: Dataset) -> None:
    """Raise a DataError if the text of a conversation lacks what its answer says or thinks."""
    for key in ("content", dataset.template_thinking_key):
        said = answer.get(key)
        if isinstance(said, str) and said.strip() and not says(said, [full]):
            raise DataError(f"the chat template leaves out {said.strip()[:40]!r} of an answer; choose another one")


def _question(row: PreferenceRow) -> list[Message]:
    """Return the messages of the prompt; a text is the user's words."""
    column = row.dataset.field_messages or "messages"
    said = row.values.get(column)
    if isinstance(said, str) and not said.lstrip().startswith("[{"):
        return after_system(row, [{"role": "user", "content": row.text((column,))}])
    return to_wire(read_messages(row.values, row.dataset), row.dataset)


def _answer(row: PreferenceRow, column: str) -> Message:
    """Return an answer: a message, the last one of a list, or a text."""
    said = row.values.get(column)
    if said is None or said == []:
        raise missing_column(row.values, column, None, row.dataset)
    if isinstance(said, str):
        return _with_words({"role": "assistant", "content": said}, column)
    item = said[-1] if isinstance(said, list) else said
    (message,) = messages_in({column: [item]}, column, row.dataset)
    left_to_template(row.values, column, message.fields)
    return _with_words(message.to_wire(row.dataset.template_thinking_key), column)


def as_it_is(row: PreferenceRow) -> Texts:
    """Return the texts of TRL's columns: as they stand, or rendered if they are messages.

    Without a prompt, which is then the beginning of both answers, there is no text of it.
    """
    columns = trl_columns(row)
    if has_messages(row, columns):
        return by_template(row, lists=False)
    if are_chats(row, columns):
        return _rendered(row, columns)
    if not row.dataset.kind and not is_empty(row.values.get(row.dataset.field_system)):
        raise ConfigError("`datasets.type` is missing, and column system is none of TRL's; set a type that reads it")
    return row.text(("prompt",)) if "prompt" in columns else None, [row.text((name,)) for name in row.answers]


def trl_columns(row: PreferenceRow) -> list[str]:
    """Return those of TRL's columns that a row has.

    Raises:
        DataError: one is missing.
    """
    columns = [name for name in ("prompt", *row.answers) if row.values.get(name) is not None]
    for name in ("prompt", "completion") if row.group == "kto" else row.answers:
        if name not in columns:
            raise missing_column(row.values, name, None, row.dataset)
    return columns


def has_messages(row: PreferenceRow, columns: Sequence[str]) -> bool:
    """Whether the prompt is in the column of messages."""
    return "prompt" not in columns and row.values.get(row.dataset.field_messages or "messages") is not None


def are_chats(row: PreferenceRow, columns: Sequence[str]) -> bool:
    """Whether TRL's columns hold messages; else they hold text.

    Raises:
        ConfigError: the prompt is in another column.
        DataError: some hold text and some hold messages.
    """
    values, explicit = row.values, "prompt" in columns
    for name in () if explicit else ("input", "question", "instruction"):
        if values.get(name) is not None:
            raise ConfigError(f"`datasets.type` is missing, and column {name} is none of TRL's; {NAMED[row.group]}")
    if explicit and isinstance(values["prompt"], str) and isinstance(values[row.answers[0]], list):
        raise DataError(f"prompt is text, and {row.answers[0]} messages; {WHOLE[row.group]}")
    return are_messages(values, columns, row.dataset)


def _rendered(row: PreferenceRow, columns: Sequence[str]) -> Texts:
    """Return the texts of columns of messages, as TRL renders them."""
    template, chats = row.find_template(row.dataset), _checked(row, chats_in(row, columns))
    tools = read_tools(row.values, row.dataset)
    for name in row.answers:
        messages = [*chats.get("prompt", []), *chats[name]]
        require_tools_shown(messages, tools, template)
        _require_shown(messages[-1], template.render(messages, tools=tools), row.dataset)
    return render_chats(row, template, chats, partial(fed_prompt, continues=True))


def chats_in(row: PreferenceRow, columns: Sequence[str]) -> dict[str, list[Message]]:
    """Return the messages in each of the columns."""
    return {name: to_wire(messages_in(row.values, name, row.dataset), row.dataset) for name in columns}


def render_chats(
    row: PreferenceRow, template: ChatTemplate, chats: dict[str, list[Message]], find_prompt: Callable[..., str]
) -> Texts:
    """Return the texts of conversations, of which `find_prompt` tells where the prompt ends."""
    prompt, tools = chats.get("prompt", []), read_tools(row.values, row.dataset)
    fulls = [template.render([*prompt, *chats[name]], tools=tools) for name in row.answers]
    if not prompt:
        return None, fulls
    text = find_prompt(prompt, fulls, template, tools)
    return text, [full[len(text) :] for full in fulls]


def _checked(row: PreferenceRow, chats: dict[str, list[Message]]) -> dict[str, list[Message]]:
    """Return the conversations after the row's system text, if what they begin with is what it should be."""
    for name in row.answers:
        _with_words(chats[name][-1], name)
        if "prompt" in chats and chats[name][0] == chats["prompt"][0]:
            raise DataError(f"{name} repeats the prompt; leave the column prompt out, or the messages in {name}")
    if "prompt" not in chats:
        if any(chat[0]["role"] == "assistant" for chat in chats.values()):
            raise DataError(f"{' and '.join(row.answers)} begin with an answer, and there is no column prompt")
        require_same([chat[:1] for chat in chats.values()])
        return {name: after_system(row, chat) for name, chat in chats.items()}
    return chats | {"prompt": after_system(row, chats["prompt"])}
