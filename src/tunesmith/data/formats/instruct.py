"""Rows of one exchange, an instruction and its answer: Alpaca, its styles and its kin.

A type is an entry of `LAYOUTS`, or a mapping in the YAML. The prompt is masked; the answer and its end are trained.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from string import Formatter
from typing import Any, Literal

import yaml

from tunesmith.data.formats.format import INSTRUCT_KEYS, Columns, Format, FormatSpec, missing_column, text_column
from tunesmith.data.formats.layouts import LAYOUTS, OWN_SYSTEM, STYLES, Layout
from tunesmith.data.formats.marks import marks_for
from tunesmith.data.messages import Conversation, Message, Text, WireMessage, text_message
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.sections import Dataset


def read_instruct(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read an exchange: the system text, the user's instruction and input, and the answer.

    Raises:
        ConfigError: the layout is described wrongly.
        DataError: the row lacks a column, or its answer is blank.
    """
    layout, dataset = find_layout(spec.dataset)
    instruction = _part(layout.instruction, "required", values, layout, dataset)
    answer = _part(layout.output, "trained", values, layout, dataset)
    context = _part(layout.input, "optional", values, layout, dataset)
    system = _part(layout.system[0 if context else 1], "optional", values, layout, dataset)
    user = Message("user", (Text(instruction), Text(context)))
    return Conversation((text_message("system", system), user, text_message("assistant", answer)))


def render_instruct(conversation: Conversation, spec: FormatSpec) -> list[Rendered]:
    """Render an exchange: prompt masked, answer and end token trained."""
    layout = _fitted_layout(spec)
    system, user, answer = conversation.messages
    instruction, context = (part.text for part in user.parts if isinstance(part, Text))
    _require_all_parts(layout, instruction, context, system.content)
    prompt = write_prompt(layout, instruction, context, system.content)
    segments = [Segment(prompt, spec.train_on_inputs)] if prompt else []
    return [Rendered((*segments, Segment(answer.content, True, eos_count=layout.ends)), bos="own")]


def ask(messages: Sequence[WireMessage], spec: FormatSpec) -> Rendered:
    """Return the prompt for a person's words, which stand for the instruction; an earlier turn is not shown.

    Raises:
        DataError: the prompt is made of several columns.
    """
    layout = _fitted_layout(spec)
    if not re.fullmatch(r"\{\w+\}", layout.instruction):
        raise DataError(
            f"prompts of type {spec.dataset.kind} are made of several columns, not of one text; "
            "ask with rows: --prompt-file rows.jsonl"
        )
    system = next((message["content"] for message in messages if message["role"] == "system"), "")
    if "{" not in layout.system[1]:
        system = layout.system[1]
    prompt = write_prompt(layout, messages[-1]["content"], "", system or layout.absent.get("system", ""))
    return Rendered((Segment(prompt, False),), bos="own")


def _fitted_layout(spec: FormatSpec) -> Layout:
    """Return the layout with marks of the tokenizer; a layout of the user's own stays as it is."""
    layout, dataset = find_layout(spec.dataset)
    if dataset.kind == "user_defined" or spec.mask == "axolotl":
        return layout
    marks = marks_for(spec.tokenizer)
    return layout._replace(turn=marks(layout.turn), bare=marks(layout.bare), frame=marks(layout.frame))


def _layout_text(dataset: Dataset) -> str:
    layout, own = find_layout(dataset)
    return "" if own.kind == "user_defined" else layout.turn + layout.bare + layout.frame


def write_prompt(layout: Layout, instruction: Any, given: Any, system: Any) -> str:
    """Return the prompt that a layout makes of the parts of a row."""
    turn = (layout.turn if given else layout.bare).format(instruction=instruction, input=given, system=system)
    return (layout.frame.format(system=system) if system else "") + turn


def _require_all_parts(layout: Layout, instruction: str, given: str, system: str) -> None:
    """Raise a DataError if a format of the user's own leaves out a part that the row has."""
    turn = layout.turn if given else layout.bare
    for name, text, where in (
        ("instruction", instruction, turn),
        ("input", given, turn),
        ("system", system, layout.frame + turn),
    ):
        if text and f"{{{name}" not in where:
            raise DataError(f"the row's {name} would be lost: no {{{name}}} in the format {where!r}")


Use = Literal["required", "optional", "trained"]
"""Whether a part must be there, may be null, or may not even be blank."""


@cache
def _parsed(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(Formatter().parse(text))


def _part(text: str, use: Use, values: dict[str, Any], layout: Layout, dataset: Dataset) -> str:
    """Return a part of a row as text."""
    return "".join(pieces_of(text, lambda name, how: _column(name, how, use, values, layout, dataset)))


def pieces_of(text: str, read: Callable[[str, str | None], Any]) -> list[Any]:
    """Return the pieces of a part: its own words, and each column as `read(name, conversion)` gives it."""
    pieces: list[Any] = []
    for literal, name, _, how in _parsed(text):
        pieces += [literal] if literal else []
        pieces += [read(name, how)] if name else []
    return pieces


def _column(name: str, how: str | None, use: Use, values: dict[str, Any], layout: Layout, dataset: Dataset) -> str:
    names = column_names(name, dataset)
    column = next((one for one in names if values.get(one) is not None), names[0])
    if column not in values:
        return absent_column(name, column, values, layout, dataset)
    value = values[column]
    if how == "l":
        return bullet_list(column, value)
    if how == "y":
        if not isinstance(value, dict):
            raise DataError(f"column {column} should hold a mapping; found {value!r:.60}")
        return as_yaml(value)
    if value is None and use == "optional":
        return ""
    text = text_column(values, column, f"field_{name}" if name in RENAMED else None, dataset)
    if use == "trained" and not text.strip():
        raise DataError(f"column {column} is blank: there is nothing to train")
    return text


RENAMED = ("instruction", "input", "output", "system")
"""Columns of layouts that a row has under the name in `field_instruction` and so on."""


def column_names(name: str, dataset: Dataset) -> list[str]:
    """Return the columns of the row that may stand for a column of a layout."""
    fields = (dataset.field_instruction, dataset.field_input, dataset.field_output, dataset.field_system)
    renamed = dict(zip(RENAMED, fields, strict=True))
    return [renamed.get(one, one) for one in name.split("|")]


def absent_column(name: str, column: str, values: dict[str, Any], layout: Layout, dataset: Dataset) -> str:
    """Return what stands for a column that the row lacks.

    Raises:
        DataError: a row must have it.
    """
    if name in layout.absent:
        return layout.absent[name]
    raise missing_column(values, column, f"field_{name}" if name in RENAMED else None, dataset)


def bullet_list(column: str, value: Any) -> str:
    """Return a list as lines."""
    if not isinstance(value, list):
        raise DataError(f"column {column} should hold a list; found {value!r:.60}")
    return "\n".join(f'- "{item}"' for item in value)


def as_yaml(value: Any) -> str:
    """Return a value as YAML, as Axolotl writes it."""
    return yaml.dump(value, default_flow_style=False, Dumper=yaml.Dumper)


def find_layout(dataset: Dataset) -> tuple[Layout, Dataset]:
    """Return the layout of a dataset, and its section with the columns that a mapping names."""
    if isinstance(dataset.type, dict):
        return _user_defined(dataset, dataset.type)
    if dataset.kind == "user_defined":
        raise ConfigError("`datasets.type: user_defined` is written as a mapping: type: {field_instruction: ..., ...}")
    style = dataset.conversation
    if style and dataset.kind in ("alpaca_chat", "alpaca_chat.load"):
        if style not in STYLES:
            raise ConfigError(
                f"`conversation: {style}` of type {dataset.kind} is none of {', '.join(STYLES)}"
                f"{did_you_mean(style, STYLES)}"
            )
        return STYLES[style], dataset
    return LAYOUTS[dataset.kind], dataset


MAPPING_KEYS = (
    *("system_prompt", "field_system", "field_instruction", "field_input", "field_output"),
    *("format", "no_input_format", "system_format"),
)
"""Keys of a `type` that is a mapping."""
FORMATS = {
    "format": ("{instruction} {input} ", ("instruction", "input")),
    "no_input_format": ("{instruction} ", ("instruction",)),
    "system_format": ("{system}", ("system",)),
}
"""Formats of a `type` that is a mapping -> its default, and what may stand in braces in it."""


def _user_defined(dataset: Dataset, keys: dict[str, Any]) -> tuple[Layout, Dataset]:
    """Return the layout that a mapping under `type` describes."""
    known = MAPPING_KEYS
    given = {key: value for key, value in keys.items() if value is not None}
    for key, value in given.items():
        if key not in known:
            raise ConfigError(f"`datasets.type.{key}` is none of {', '.join(known)}{did_you_mean(key, known)}")
        if not isinstance(value, str):
            raise ConfigError(f"`datasets.type.{key}` should be text; found {value!r}")
    formats = []
    for key, (default, parts) in FORMATS.items():
        formats.append(given.get(key, default))
        try:
            formats[-1].format(**dict.fromkeys(parts, "text"))
        except (LookupError, ValueError, AttributeError, TypeError):
            braces = ", ".join(f"{{{part}}}" for part in parts)
            raise ConfigError(
                f"`datasets.type.{key}: {formats[-1]!r}` may hold {braces} and no other braces; write {{{{ for one"
            ) from None
    absent = {"input": "", "system": given.get("system_prompt", "")}
    columns = {key: given[key] for key in known if key in given and key.startswith("field_")}
    own = dataset.model_copy(update={"type": "user_defined", **columns})
    turn, bare, frame = formats
    return Layout(turn, bare, frame, OWN_SYSTEM, absent=absent), own


def _named(order: int, instruction: str, output: str, **parts: str) -> Columns:
    """Return text columns that tell a type, with the keys of those that do not have their usual name."""
    columns = parts | {"instruction": instruction, "output": output}
    if instruction == "input":
        columns["input"] = ""
    keys = {f"field_{part}": name for part, name in columns.items() if name != part}
    return Columns(order, tuple(name for name in columns.values() if name), keys, text=True)


PAIRS = (
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("query", "response"),
    ("question", "response"),
    ("question", "answer"),
    ("input", "output"),
)
"""Columns of an instruction and its answer, by their usual names."""
SYSTEMS = ("system", "system_prompt", "system_message")
"""Columns of a system message, by their usual names."""

COLUMNS = {
    "alpaca": (
        *(_named(5, *pair, input="context") for pair in PAIRS[:5]),
        _named(6, "prompt", "response"),
        _named(9, "instruction", "output"),
        *(_named(15, *pair) for pair in PAIRS[4:7]),
        _named(16, "input", "output"),
    ),
    "alpaca_w_system": (
        *(_named(4, *pair, system=system, input="context") for system in SYSTEMS for pair in PAIRS[:5]),
        *(_named(4, *pair, system=system) for system in SYSTEMS for pair in PAIRS),
    ),
    "alpaca_w_system.load_open_orca": (Columns(3, ("system_prompt", "question", "response")),),
    "context_qa": (Columns(13, ("article", "question", "answer")),),
    "context_qa.load_v2": (Columns(14, ("context", "question", "answer")),),
    "gpteacher": (Columns(11, ("instruction", "response")),),
    "summarizetldr": (Columns(17, ("article", "summary")),),
}
"""Value of `type` -> sets of columns that tell it."""

INSTRUCT = {
    name: Format(
        name,
        read_instruct,
        render_instruct,
        ask=ask,
        columns=COLUMNS.get(name, ()),
        keys=INSTRUCT_KEYS | ({"conversation"} if name.startswith("alpaca_chat") else set()),
        layout_text=_layout_text,
    )
    for name in (*LAYOUTS, "user_defined")
}
"""Value of `type` -> its record."""
