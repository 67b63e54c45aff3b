"""Preference rows as conversations: how they are read, and rendered by the chat template.

What `preference.py` offers as types of `datasets`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tunesmith.data.formats.messages import tools_of, turns_of
from tunesmith.data.formats.prompt_completion import are_messages, fed_prompt, messages_in
from tunesmith.data.formats.spec import missing_column, text_column
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

Message = dict[str, Any]
Texts = tuple[str | None, list[str]]
"""The prompt, and a text for each of the row's `answers`."""

AXOLOTL_ROLES = {role: role for role in ("user", "assistant", "system", "tool")}

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
        upstream: repeat Axolotl, faults included.
        find_template: returns the chat template.
    """

    values: dict[str, Any]
    dataset: Dataset
    group: str
    upstream: bool
    find_template: Callable[[Dataset], ChatTemplate]

    @property
    def answers(self) -> tuple[str, ...]:
        return ("completion",) if self.group == "kto" else ("chosen", "rejected")

    @property
    def system(self) -> str:
        return str(self.values.get("system" if self.upstream else self.dataset.field_system) or "")

    def text(self, columns: Sequence[str]) -> str:
        """Return the text of the first of `columns` that is there; Axolotl writes out what is no text.

        Raises:
            DataError: none is there, or it is blank or no text.
        """
        there = [name for name in columns if name in self.values and (self.upstream or self.values[name] is not None)]
        if not there:
            raise missing_column(self.values, " or ".join(dict.fromkeys(columns)), None, self.dataset)
        if self.upstream:
            return str(self.values[there[0]])
        text = text_column(self.values, there[0], None, self.dataset)
        if not text.strip():
            raise DataError(f"column {there[0]} is blank")
        return text


def conversation_in(row: PreferenceRow, column: str, *, system: bool = False) -> list[Message]:
    """Return the messages in a column, the last of which is an answer.

    Raises:
        DataError: there is no question, or no answer at the end.
    """
    found = [turn.message for turn in messages_in(row.values, column, row.dataset, system=system)]
    if len(found) < 2 or found[-1]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in found)
        raise DataError(f"column {column} should hold a question and end with the answer; found messages of {roles}")
    return [*found[:-1], _with_words(found[-1], column)]


def _with_words(answer: Message, column: str) -> Message:
    if not answer["content"].strip() and not answer.get("tool_calls"):
        raise DataError(f"column {column}: the answer is blank")
    return answer


def plain_messages(row: PreferenceRow, column: str) -> list[Message]:
    """Return the messages in a column with the keys that Axolotl's layouts read."""
    items, keys = row.values.get(column), ("content", "role") if row.group == "kto" else ("content",)
    found: list[Any] = items if isinstance(items, list) and len(items) > (row.group == "dpo") else [None]
    if all(isinstance(item, dict) and all(key in item for key in keys) for item in found):
        return found
    raise DataError(f"column {column} should hold messages with {' and '.join(keys)}; found {items!r:.60}")


def after_system(row: PreferenceRow, said: list[Message]) -> list[Message]:
    """Return messages with the row's own system text before them, if it has one and they do not."""
    if not row.system or said[0]["role"] == "system" or row.dataset.drop_system_message:
        return said
    return [{"role": "system", "content": row.system}, *said]


def require_same(row: PreferenceRow, histories: Sequence[Sequence[Message]]) -> None:
    said = [[(message["role"], message["content"]) for message in history] for history in histories]
    if not row.upstream and any(history != said[0] for history in said):
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
        read = partial(_mapped_list, row) if row.upstream else partial(conversation_in, row, system=True)
        chats = [read(column) for column in columns]
        require_same(row, [chat[:-1] for chat in chats])
        prompt, answers = chats[0][:-1], [chat[-1] for chat in chats]
    else:
        prompt, answers = _question(row), [_answer(row, column) for column in columns]
    template, tools = row.find_template(row.dataset), tools_of(row.values, row.dataset)
    if row.upstream:
        text = template.render(prompt, add_generation_prompt=True)
        return text, [_after_placeholder(template, answer) for answer in answers]
    fulls = [template.render([*prompt, answer], tools=tools) for answer in answers]
    text = fed_prompt(prompt, fulls, template, tools)
    return text, [full[len(text) :].rstrip() if strip else full[len(text) :] for full in fulls]


def _question(row: PreferenceRow) -> list[Message]:
    """Return the messages of the prompt; a text is the user's words."""
    column = row.dataset.field_messages or "messages"
    said = row.values.get(column)
    if row.upstream:
        return [_spoken(row, "user", said)] if isinstance(said, str) else [_mapped(row, item) for item in said or ()]
    if isinstance(said, str) and not said.lstrip().startswith("[{"):
        return after_system(row, [{"role": "user", "content": row.text((column,))}])
    return [turn.message for turn in turns_of(row.values, row.dataset)]


def _answer(row: PreferenceRow, column: str) -> Message:
    """Return an answer: a message, the last one of a list, or a text."""
    said = row.values.get(column)
    if said is None or said == []:
        raise missing_column(row.values, column, None, row.dataset)
    item = said[-1] if isinstance(said, list) else said
    if isinstance(said, str):
        answer = _spoken(row, "assistant", said)
    elif row.upstream:
        answer = _mapped(row, item)
    else:
        answer = messages_in({column: [item]}, column, row.dataset)[0].message
    return answer if row.upstream else _with_words(answer, column)


def _mapped_list(row: PreferenceRow, column: str) -> list[Message]:
    items = row.values.get(column)
    if not isinstance(items, list) or len(items) < 2:
        raise DataError(f"column {column} should hold a question and its answer; found {items!r:.60}")
    return [{key: message[key] for key in ("role", "content")} for message in (_mapped(row, item) for item in items)]


def _spoken(row: PreferenceRow, role: str, text: str) -> Message:
    """Return a text as a message; Axolotl reads its role by `roles` too."""
    names = _names(row.dataset)
    return (
        _mapped(row, {names["role"]: role, names["content"]: text}) if row.upstream else {"role": role, "content": text}
    )


def _names(dataset: Dataset) -> dict[str, str]:
    names = {"role": dataset.message_field_role or "role", "content": dataset.message_field_content or "content"}
    return names | dataset.message_property_mappings


def _mapped(row: PreferenceRow, item: Any) -> Message:
    """Return a message with the keys and roles that Axolotl's preference types know.

    Raises:
        DataError: a key is missing, or the role is unknown.
    """
    names = _names(row.dataset)
    roles = {alias: role for role, aliases in row.dataset.roles.items() for alias in aliases} or AXOLOTL_ROLES
    try:
        message = {"role": roles[item[names["role"]]], "content": item[names["content"]]}
    except (KeyError, TypeError):
        raise DataError(
            f"a message should hold {names['content']}, and {names['role']} as one of {', '.join(roles)}; "
            f"found {item!r:.80}"
        ) from None
    return message | {key: item[name] for key, name in names.items() if key not in message and name in item}


def _after_placeholder(template: ChatTemplate, answer: Message) -> str:
    """Return an answer as Axolotl finds it: what follows a stand-in prompt, or else begins with the first such text."""
    stand_in = {"role": "user", "content": "[[dummy_message]]"}
    prompt = template.render([stand_in], add_generation_prompt=True)
    text = template.render([stand_in, answer])
    start = len(prompt) if prompt and text.startswith(prompt) else text.find(str(answer["content"]))
    return text[start:].rstrip()


def by_template_orpo(row: PreferenceRow) -> Texts:
    """Lay out a row of whole conversations; Axolotl cuts the answers by the length of the prompt."""
    if not row.upstream:
        return by_template(row, lists=True, strip=False)
    template = row.find_template(row.dataset.model_copy(update={"chat_template": None, "chat_template_jinja": None}))
    chosen, rejected = (plain_messages(row, name) for name in row.answers)
    if len(chosen) % 2:
        raise DataError(f"column chosen should hold as many questions as answers; found {len(chosen)} messages")
    prompt = []
    for index, message in enumerate(chosen[:-1]):
        said = row.values["prompt"] if index % 2 == 0 and "prompt" in row.values else message["content"]
        prompt.append({"role": ("user", "assistant")[index % 2], "content": said})
    prompt = after_system(row, prompt)
    if not all(isinstance(message["content"], str) for message in (*prompt, chosen[-1], rejected[-1])):
        raise DataError("the content of each message should be text")
    text = template.render(prompt, add_generation_prompt=True)
    answers = []
    for chat in (chosen, rejected):
        kept = {key: chat[-1][key] for key in ("content", "reasoning_content") if chat[-1].get(key) is not None}
        answers.append(template.render([*prompt, {"role": "assistant", **kept}])[len(text) :])
    return text, answers


def as_it_is(row: PreferenceRow) -> Texts:
    """Return the texts of TRL's columns: as they stand, or rendered if they are messages.

    Without a prompt, which is then the beginning of both answers, there is no text of it.
    """
    values, dataset = row.values, row.dataset
    columns = [name for name in ("prompt", *row.answers) if values.get(name) is not None]
    for name in ("prompt", "completion") if row.group == "kto" else row.answers:
        if name not in columns:
            raise missing_column(values, name, None, dataset)
    explicit = "prompt" in columns
    if not explicit and values.get(dataset.field_messages or "messages") is not None:
        return by_template(row, lists=False)
    unread = [name for name in ("input", "question", "instruction") if values.get(name) is not None and not explicit]
    if unread:
        raise ConfigError(f"`datasets.type` is missing, and column {unread[0]} is none of TRL's; {NAMED[row.group]}")
    if explicit and isinstance(values["prompt"], str) and isinstance(values[row.answers[0]], list):
        raise DataError(f"prompt is text, and {row.answers[0]} messages; {WHOLE[row.group]}")
    if not are_messages(values, columns, dataset):
        if row.system and not dataset.kind and not row.upstream:
            raise ConfigError(
                "`datasets.type` is missing, and column system is none of TRL's; set a type that reads it"
            )
        return row.text(("prompt",)) if explicit else None, [row.text((name,)) for name in row.answers]
    return _rendered(row, columns)


def _rendered(row: PreferenceRow, columns: Sequence[str]) -> Texts:
    """Return the texts of columns of messages, as TRL renders them."""
    template, tools = row.find_template(row.dataset), tools_of(row.values, row.dataset)
    chats = {name: [turn.message for turn in messages_in(row.values, name, row.dataset)] for name in columns}
    if not row.upstream:
        chats = _checked(row, chats)
    prompt = chats.get("prompt", [])
    fulls = [template.render([*prompt, *chats[name]], tools=tools) for name in row.answers]
    if not prompt:
        return None, fulls
    text = fed_prompt(prompt, fulls, template, tools, continues=True, upstream=row.upstream)
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
        require_same(row, [chat[:1] for chat in chats.values()])
        return {name: after_system(row, chat) for name, chat in chats.items()}
    return chats | {"prompt": after_system(row, chats["prompt"])}
