"""The texts of preference rows: a prompt with a chosen and a rejected answer, or (kto) with a completion and its label.

`LAYOUTS` says how a conversation is written, `STYLES` in which columns its parts stand; each layout goes with each
style. Other types are laid out by the chat template, by formats in the config (a mapping as `type`), or not at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from tunesmith.data.formats.format import FormatSpec, missing_column
from tunesmith.data.formats.marks import marks_for
from tunesmith.data.formats.preference_chat import (
    Message,
    PreferenceRow,
    Texts,
    after_system,
    as_it_is,
    by_template,
    conversation_in,
    require_same,
)
from tunesmith.data.formats.specs import dataset_template
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Example
from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.objectives import find_objective
from tunesmith.sections import Dataset


class Layout(NamedTuple):
    """How a turn is written, what stands before an answer, and what ends it."""

    turn: str
    opening: str
    end: str


LAYOUTS = {
    "chatml": Layout("<|im_start|>{role}\n{text}<|im_end|>\n", "<|im_start|>assistant\n", "<|im_end|>"),
    "llama3": Layout(
        "<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "zephyr": Layout("<|{role}|>\n{text}</s>\n", "<|assistant|>\n", ""),
}


class Style(NamedTuple):
    """Where the parts of a row stand.

    Attributes:
        prompt: columns of the user's words, of which the first that is there counts; none if the answers hold them.
        lists: answers are the last messages of lists.
        suffix: an answer may also stand in the column of its name with this at the end.
    """

    prompt: tuple[str, ...] = ()
    lists: bool = False
    suffix: str = ""


STYLES = {
    "dpo": {
        "default": Style(("prompt", "input", "question", "instruction"), suffix="_response"),
        "argilla_chat": Style(lists=True),
        "icr": Style(("input",)),
        "intel": Style(("question",)),
        "prompt_pairs": Style(("prompt",)),
        "ultra": Style(("prompt",), lists=True),
    },
    "kto": {
        "argilla": Style(("instruction",)),
        "argilla_chat": Style(lists=True),
        "intel": Style(("question",)),
        "prompt_pairs": Style(("prompt",)),
        "ultra": Style(("prompt",)),
    },
}


_PAIRS = ("prompt", "chosen", "rejected")
MAPPING_KEYS = {
    "dpo": (*(f"field_{part}" for part in (*_PAIRS, "system")), *(f"{part}_format" for part in _PAIRS)),
    "kto": ("field_prompt", "field_completion", "field_system", "field_label", "prompt_format", "completion_format"),
}
"""Group of preference data -> keys of a `type` that is a mapping."""

PreferenceTypes = dict[str, Callable[[PreferenceRow], Texts]]
"""Value of `type` -> its function."""


def read_comparison(values: dict[str, Any], spec: FormatSpec, write: Callable[[PreferenceRow], Texts]) -> Example:
    """Return the texts of a preference row: `prompt`, `chosen` and `rejected`, or `prompt`, `completion` and `label`.

    Args:
        values: the row.
        spec: settings of its dataset; without `type`, its columns are TRL's.
        write: returns the texts of the type.

    Raises:
        ConfigError: the type needs a tokenizer.
        DataError: the row does not fit the type.
    """
    row = preference_row(values, spec, partial(find_template, spec))
    return example_of(replace(row, marks=marks_for(spec.tokenizer)), write)


def example_of(row: PreferenceRow, write: Callable[[PreferenceRow], Texts]) -> Example:
    """Return the texts that a type writes of a row."""
    prompt, answers = write(row)
    if row.group != "kto":
        return Example([], [], prompt=prompt, chosen=answers[0], rejected=answers[1])
    return Example([], [], prompt=prompt, completion=answers[0], label=_label(row))


def preference_row(values: dict[str, Any], spec: FormatSpec, find: Callable[[Dataset], ChatTemplate]) -> PreferenceRow:
    """Return a row with what its type may need."""
    assert spec.preferences is not None
    return PreferenceRow(values, spec.dataset, find_objective(spec.preferences.rl).rows, find)


def find_template(spec: FormatSpec, dataset: Dataset) -> ChatTemplate:
    """Return the chat template of a dataset.

    Raises:
        ConfigError: there is no tokenizer.
    """
    if spec.tokenizer is None:
        raise ConfigError("a chat template needs a tokenizer: encode(row, tokenizer=...)")
    assert spec.preferences is not None
    return dataset_template(dataset, spec.preferences.model, spec.tokenizer, spec.source)


def _label(row: PreferenceRow) -> bool:
    given = row.dataset.type if isinstance(row.dataset.type, dict) else {}
    column = given.get("field_label") or "label"
    label = row.values.get(column)
    if label is None:
        raise missing_column(row.values, column, None, row.dataset)
    if label not in (True, False):
        raise DataError(f"column {column} should be true (a good completion) or false; found {label!r:.40}")
    return bool(label)


def _written(row: PreferenceRow, layout: Layout, style: Style) -> Texts:
    """Lay out a row whose parts stand in `style`."""
    if not style.lists:
        answers = [row.text((name, name + style.suffix)) for name in row.answers]
        said = [{"role": "user", "content": row.question(style.prompt)}]
    else:
        chats = [conversation_in(row, name) for name in row.answers]
        answers = [chat[-1]["content"] for chat in chats]
        said = chats[0][:-1]
        require_same([chat[:-1] for chat in chats])
        if style.prompt and len(said) > 1:
            raise DataError(f"type {row.dataset.type} has one question in a row; argilla_chat takes more turns")
        if style.prompt:
            said = [{"role": "user", "content": row.question(style.prompt)}]
    layout = _fitted(layout, row)
    return write_prompt(layout, after_system(row, said)), [answer + layout.end for answer in answers]


def _fitted(layout: Layout, row: PreferenceRow) -> Layout:
    """Return a layout with marks of the tokenizer."""
    return Layout(*map(row.marks, layout))


def write_prompt(layout: Layout, said: Sequence[Message]) -> str:
    """Return messages in a layout, and what stands before an answer."""
    turns = [layout.turn.format(role=message["role"], text=message["content"]) for message in said]
    return "".join(turns) + layout.opening


def _nectar(row: PreferenceRow) -> Texts:
    """Lay out a row of ranked answers: the best and the worst, whose order is the surest."""
    texts, ranks = ranked_answers(row)
    if ranks[0] == ranks[-1]:
        raise DataError(f"column answers should hold two answers or more of different ranks; found ranks {ranks}")
    system = str(row.values.get(row.dataset.field_system) or "")
    prompt = nectar_prompt(row.text(("prompt",)), system, _fitted(LAYOUTS["zephyr"], row))
    return prompt, [texts[0], texts[-1]]


def nectar_prompt(question: str, system: str = "", layout: Layout = LAYOUTS["zephyr"]) -> str:
    """Return the prompt of a row of ranked answers."""
    said = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return write_prompt(layout, said)


def layout_text(kind: str) -> str:
    """Return all that the layout of a type itself may write; empty for types that use a chat template."""
    return "".join(LAYOUTS.get(kind.partition(".")[0], ()))


def ranked_answers(row: PreferenceRow) -> tuple[list[str], list[Any]]:
    """Return the answers and their ranks, the best one, which has rank 1, first.

    Raises:
        DataError: there are none, or fewer than two.
    """
    answers = row.values.get("answers")
    if answers is None:
        raise missing_column(row.values, "answers", None, row.dataset)
    try:
        ranked = sorted(answers, key=lambda answer: answer["rank"])
        texts, ranks = [str(answer["answer"]) for answer in ranked], [answer["rank"] for answer in ranked]
    except (TypeError, KeyError):
        raise DataError(f"column answers should hold a list of answer and rank; found {answers!r:.80}") from None
    if len(ranked) < 2:
        raise DataError(f"column answers should hold two answers or more of different ranks; found ranks {ranks}")
    return texts, ranks


def _user_defined(row: PreferenceRow) -> Texts:
    def read(name: str, column: str, form: str) -> Any:
        looks_inside = column in row.values and f"{{{name}[" in form  # a format may look inside of a column
        return row.values[column] if looks_inside else row.text((column,))

    return by_formats(row, read)


def by_formats(row: PreferenceRow, read: Callable[[str, str, str], Any]) -> Texts:
    """Write the parts of a row in the formats that the mapping `type` holds; `read` gives a part's column."""
    if not isinstance(row.dataset.type, dict):
        raise ConfigError("`datasets.type: user_defined` is written as a mapping, such as {field_prompt: question}")
    given = {key: value for key, value in row.dataset.type.items() if value}
    parts = ("prompt", *row.answers)
    known = MAPPING_KEYS[row.group]
    for key in given:
        if key not in known:
            raise ConfigError(
                f"`datasets.type`: unknown key `{key}`; known are {', '.join(known)}{did_you_mean(key, known)}"
            )
    texts = []
    for name in parts:
        form, column = given.get(f"{name}_format") or f"{{{name}}}", given.get(f"field_{name}") or name
        fields = {name: read(name, column, form)}
        if name == "prompt" and "{system}" in form:
            fields["system"] = row.values.get(given.get("field_system") or "system") or ""
        try:
            texts.append(form.format(**fields))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"`datasets.type.{name}_format: {form}` does not fit ({error}); it may hold "
                + " and ".join(f"{{{field}}}" for field in fields)
            ) from None
    return texts[0], texts[1:]


def laid_out(group: str, write: Callable[..., Texts]) -> PreferenceTypes:
    """Return the types that `write` lays out: each layout with each style."""
    styles = STYLES[group].items()
    return {
        f"{layout}.{name}": partial(write, layout=LAYOUTS[layout], style=style)
        for layout in ("chatml", "llama3")
        for name, style in styles
    }


BY_CHATS = partial(by_template, lists=True, strip=False)
TYPES: dict[str, PreferenceTypes] = {
    "dpo": {
        "": as_it_is,
        **laid_out("dpo", _written),
        "chat_template.default": partial(by_template, lists=False),
        "chat_template.argilla_chat": partial(by_template, lists=True),
        "zephyr.nectar": _nectar,
        "passthrough.default": as_it_is,
        "user_defined": _user_defined,
    },
    "kto": {"": as_it_is, **laid_out("kto", _written), "user_defined": _user_defined},
    "orpo": {"": as_it_is, "chat_template.argilla": BY_CHATS, "chat_template": BY_CHATS},
}
"""Group of preference data -> value of `type` -> what writes its texts."""
