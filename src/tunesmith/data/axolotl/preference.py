"""Preference rows under `mask: axolotl`: any column is written out, and answers are cut by Axolotl's rules."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tunesmith.data.axolotl.tokens import encode
from tunesmith.data.axolotl.trl import common_prompt, prompt_completion
from tunesmith.data.formats import preference as served
from tunesmith.data.formats import preference_chat
from tunesmith.data.formats.answers import ABSENT, Read, formats_of, prompt_and_answers
from tunesmith.data.formats.format import FormatSpec, missing_column
from tunesmith.data.formats.preference import Layout, PreferenceTypes, Style
from tunesmith.data.formats.preference_chat import Message, PreferenceRow, Texts, after_system
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

ROLES = {role: role for role in ("user", "assistant", "system", "tool")}


def read_comparison(values: dict[str, Any], spec: FormatSpec, write: Callable[[PreferenceRow], Texts]) -> Example:
    """Return the texts of a preference row, as `formats.preference` does; templates have no settings."""

    def find(dataset: Dataset) -> ChatTemplate:
        return replace(served.find_template(spec, dataset), settings={})

    return served.example_of(served.preference_row(values, spec, find), write)


def prepare_answers(values: dict[str, Any], spec: FormatSpec, read: Read) -> list[Rendered | Example]:
    """Return a row as two rows of prompt and completion; a row of kto has only the good or only the bad one."""
    prompt, texts = prompt_and_answers(values, spec, read)
    return [
        ABSENT if text is None else prompt_completion({"prompt": prompt, "completion": text}, spec)[0] for text in texts
    ]


def _text(row: PreferenceRow, *columns: str) -> str:
    return str(row.values[row.first_of([name for name in columns if name in row.values], columns)])


def _write(row: PreferenceRow, layout: Layout, style: Style) -> Texts:
    """Lay out a row; of lists, dpo takes the first two messages, and argilla_chat has no system column."""
    if not style.lists:
        texts = [_text(row, name, name + style.suffix) for name in row.answers]
    else:
        chats = [_plain_messages(row, name) for name in row.answers]
        answer = 1 if row.group == "dpo" else -1
        texts = [str(chat[answer]["content"]) for chat in chats]
        prompt = chats[0][:-1] if answer < 0 else [{"role": "user", "content": chats[0][0]["content"]}]
    if style.prompt:
        prompt = after_system(row, [{"role": "user", "content": _text(row, *style.prompt)}], "system")
    return served.write_prompt(layout, prompt), [text + layout.end for text in texts]


def _plain_messages(row: PreferenceRow, column: str) -> list[Message]:
    items, keys = row.values.get(column), ("content", "role") if row.group == "kto" else ("content",)
    found: list[Any] = items if isinstance(items, list) and len(items) > (row.group == "dpo") else [None]
    if all(isinstance(item, dict) and all(key in item for key in keys) for item in found):
        return found
    raise DataError(f"column {column} should hold messages with {' and '.join(keys)}; found {items!r:.60}")


def _nectar(row: PreferenceRow) -> Texts:
    """Lay out a row of ranked answers: the worst is chosen, and the one before it rejected."""
    texts, _ = served.ranked_answers(row)
    return served.nectar_prompt(_text(row, "prompt")), [texts[-1], texts[-2]]


def _user_defined(row: PreferenceRow) -> Texts:
    def read(name: str, column: str, form: str) -> Any:
        return row.values[row.first_of([column] if column in row.values else [], (column,))]

    texts = served.by_formats(row, read)
    keys = row.dataset.type if isinstance(row.dataset.type, dict) else {}
    has_system = row.values.get(keys.get("field_system") or "system")
    if row.group == "kto" and "{system}" in (keys.get("prompt_format") or "") and not has_system:
        raise DataError("`prompt_format` holds {system}, and the row has none")
    return texts


def _by_template(row: PreferenceRow, *, lists: bool) -> Texts:
    """Lay out a row by the chat template; with `lists` the answers are whole conversations, and hold the prompt."""
    columns = (row.dataset.field_chosen, row.dataset.field_rejected)
    if lists:
        chats = [_mapped_list(row, column) for column in columns]
        prompt, last = chats[0][:-1], [chat[-1] for chat in chats]
    else:
        prompt, last = _question(row), [_answer(row, column) for column in columns]
    template = row.find_template(row.dataset)
    text = template.render(prompt, add_generation_prompt=True)
    return text, [_after_placeholder(template, message) for message in last]


def _question(row: PreferenceRow) -> list[Message]:
    value = row.values.get(row.dataset.field_messages or "messages")
    if isinstance(value, str):
        return [_named(row, "user", value)]
    return [_mapped(row, item) for item in value or ()]


def _answer(row: PreferenceRow, column: str) -> Message:
    value = row.values.get(column)
    if value is None or value == []:
        raise missing_column(row.values, column, None, row.dataset)
    if isinstance(value, str):
        return _named(row, "assistant", value)
    return _mapped(row, value[-1] if isinstance(value, list) else value)


def _mapped_list(row: PreferenceRow, column: str) -> list[Message]:
    items = row.values.get(column)
    if not isinstance(items, list) or len(items) < 2:
        raise DataError(f"column {column} should hold a question and its answer; found {items!r:.60}")
    return [{key: message[key] for key in ("role", "content")} for message in (_mapped(row, item) for item in items)]


def _named(row: PreferenceRow, role: str, text: str) -> Message:
    """Return a text as a message, whose role is read by `roles` too."""
    names = _names(row.dataset)
    return _mapped(row, {names["role"]: role, names["content"]: text})


def _names(dataset: Dataset) -> dict[str, str]:
    names = {"role": dataset.message_field_role or "role", "content": dataset.message_field_content or "content"}
    return names | dataset.message_property_mappings


def _mapped(row: PreferenceRow, item: Any) -> Message:
    """Return a message with the keys and roles that Axolotl's preference types know.

    Raises:
        DataError: a key is missing, or the role is unknown.
    """
    names = _names(row.dataset)
    roles = {alias: role for role, aliases in row.dataset.roles.items() for alias in aliases} or ROLES
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


def _by_template_orpo(row: PreferenceRow) -> Texts:
    """Lay out a row of whole conversations, whose answers are cut by the length of the prompt."""
    template = row.find_template(row.dataset.model_copy(update={"chat_template": None, "chat_template_jinja": None}))
    chosen, rejected = (_plain_messages(row, name) for name in row.answers)
    if len(chosen) % 2:
        raise DataError(f"column chosen should hold as many questions as answers; found {len(chosen)} messages")
    prompt = []
    for index, message in enumerate(chosen[:-1]):
        content = row.values["prompt"] if index % 2 == 0 and "prompt" in row.values else message["content"]
        prompt.append({"role": ("user", "assistant")[index % 2], "content": content})
    prompt = after_system(row, prompt, "system")
    if not all(isinstance(message["content"], str) for message in (*prompt, chosen[-1], rejected[-1])):
        raise DataError("the content of each message should be text")
    text = template.render(prompt, add_generation_prompt=True)
    texts = []
    for chat in (chosen, rejected):
        kept = {key: chat[-1][key] for key in ("content", "reasoning_content") if chat[-1].get(key) is not None}
        texts.append(template.render([*prompt, {"role": "assistant", **kept}])[len(text) :])
    return text, texts


def _as_it_is(row: PreferenceRow) -> Texts:
    """Return the texts of TRL's columns, with the answers cut where TRL cuts them."""
    columns = preference_chat.trl_columns(row)
    if preference_chat.has_messages(row, columns):
        return _by_template(row, lists=False)
    if preference_chat.are_chats(row, columns):
        template = row.find_template(row.dataset)
        return preference_chat.render_chats(row, template, preference_chat.chats_in(row, columns), common_prompt)
    return _text(row, "prompt") if "prompt" in columns else None, [_text(row, name) for name in row.answers]


TYPES: dict[str, PreferenceTypes] = {
    "dpo": {
        "": _as_it_is,
        **served.laid_out("dpo", _write),
        "chat_template.default": partial(_by_template, lists=False),
        "chat_template.argilla_chat": partial(_by_template, lists=True),
        "zephyr.nectar": _nectar,
        "passthrough.default": _as_it_is,
        "user_defined": _user_defined,
    },
    "kto": {"": _as_it_is, **served.laid_out("kto", _write), "user_defined": _user_defined},
    "orpo": {"": _as_it_is, "chat_template.argilla": _by_template_orpo, "chat_template": _by_template_orpo},
}
"""Group of preference data -> value of `type` -> what writes its texts."""

PREFERENCES = {
    group: {name: replace(record, encode=encode) for name, record in formats.items()}
    for group, formats in formats_of(TYPES, read_comparison, prepare_answers).items()
}
"""Group of preference data -> value of `type` -> its record."""
