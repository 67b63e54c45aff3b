"""Rows of one exchange, an instruction and its answer: Alpaca, its styles and its kin.

A type is an entry of `LAYOUTS`, or a mapping in the YAML. The prompt is masked; the answer and its end are trained.
"""

import re
from dataclasses import replace
from functools import cache
from string import Formatter
from typing import Any, Literal

import yaml

from tunesmith.data.formats.conversation import tokenizer_of
from tunesmith.data.formats.layouts import LAYOUTS, OWN_SYSTEM, STYLES, Layout
from tunesmith.data.formats.spec import Format, FormatSpec, missing_column, text_column
from tunesmith.data.tokenizer import adds_bos
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.sections import Dataset
from tunesmith.sections.types import MAPPING_KEYS


def instruct(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render an exchange: prompt masked, answer and end token trained.

    Raises:
        ConfigError: the layout is described wrongly.
        DataError: the row lacks a column, or its answer is blank.
    """
    layout, spec = _layout(spec)
    instruction = _part(layout.instruction, "asked", values, layout, spec)
    answer = _part(layout.output, "trained", values, layout, spec)
    given = _part(layout.input, "given", values, layout, spec)
    system = _part(layout.system[0 if given else 1], "given", values, layout, spec)
    prompt = _prompt(layout, instruction, given, system)
    if not spec.upstream:
        _require_all_parts(layout, instruction, given, system)
        spans = [Span(prompt, spec.train_on_inputs)] if prompt else []
        return [Rendered((*spans, Span(answer, True, ends=layout.ends)), bos="own")]
    return [_axolotl(prompt, answer, layout, spec)]


def _axolotl(prompt: str, answer: Any, layout: Layout, spec: FormatSpec) -> Rendered:
    """Return an exchange as Axolotl has it, to whom an answer may be empty."""
    several = layout.ends > 1  # metharme, of which an empty text is tokenised too: to the begin token, if there is one
    if not isinstance(answer, str) and (answer or several):
        raise DataError(f"the answer should be text; found {answer!r:.60}")
    begun = several and not (prompt and answer) and adds_bos(tokenizer_of(spec))
    if spec.train_on_inputs and not prompt and not begun:
        raise DataError("the prompt is empty, which Axolotl cannot train")
    if layout.joint:
        head = "" if spec.train_on_inputs else prompt
        return Rendered((Span(prompt + (answer or ""), True, head=head, ends=layout.ends),), bos="own")
    reply = Span(answer or "", True, ends=layout.ends)
    if begun and not answer:
        reply = Span(tokenizer_of(spec).eos_token * layout.ends, True)
    return Rendered((Span(prompt, spec.train_on_inputs), reply), bos="own" if prompt or not begun else "always")


def instruct_prompt(text: str, system: str, spec: FormatSpec) -> Rendered:
    """Return the prompt for a person's words, which stand for the instruction.

    Args:
        text: the words.
        system: system text, for layouts that take it from the row.
        spec: settings of the dataset whose layout is used.

    Raises:
        DataError: the prompt is made of several columns.
    """
    layout, _ = _layout(spec)
    if not re.fullmatch(r"\{\w+\}", layout.instruction):
        raise DataError(
            f"prompts of type {spec.dataset.kind} are made of several columns, not of one text; "
            "ask with rows: --prompt-file rows.jsonl"
        )
    if "{" not in layout.system[1]:
        system = layout.system[1]
    return Rendered((Span(_prompt(layout, text, "", system or layout.absent.get("system", "")), False),), bos="own")


def _prompt(layout: Layout, instruction: Any, given: Any, system: Any) -> str:
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


Use = Literal["asked", "given", "trained"]
"""What a part is for: asked must be there, given may be null, and what is trained may not be blank."""


@cache
def _parsed(text: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(Formatter().parse(text))


def _part(text: str, use: Use, values: dict[str, Any], layout: Layout, spec: FormatSpec) -> Any:
    """Return a part of a row as text. Of Axolotl's, a part that is one column alone is whatever the column holds."""
    pieces: list[Any] = []
    for literal, name, _, how in _parsed(text):
        pieces += [literal] if literal else []
        pieces += [_column(name, how, use, values, layout, spec)] if name else []
    if len(pieces) == 1:
        return pieces[0]
    if layout.joint and use == "trained" and spec.upstream:
        written = pieces[:-1] if spec.dataset.kind == "reflection:chat" else pieces  # it forgets what is corrected
        return "".join(map(str, written)) if all(pieces) else ""
    for piece in pieces:
        if not isinstance(piece, str):
            raise DataError(f"a column of {text!r:.60} should hold text; found {piece!r:.60}")
    return "".join(pieces)


def _column(name: str, how: str | None, use: Use, values: dict[str, Any], layout: Layout, spec: FormatSpec) -> Any:
    """Return a column of a row for its place in a part."""
    dataset = spec.dataset
    renamed = {
        "instruction": dataset.field_instruction,
        "input": dataset.field_input,
        "output": dataset.field_output,
        "system": dataset.field_system,
    }
    names = [renamed.get(one, one) for one in name.split("|")]
    filled = [one for one in names if one in values and (spec.upstream or values[one] is not None)]
    column = (filled or names)[0]
    if column not in values:
        if name in layout.absent:
            return layout.absent[name]
        raise missing_column(values, column, f"field_{name}" if name in renamed else None, dataset)
    value = values[column]
    if how == "l":
        if not isinstance(value, list):
            raise DataError(f"column {column} should hold a list; found {value!r:.60}")
        return "\n".join(f'- "{item}"' for item in value)
    if how == "y":
        if not isinstance(value, dict) and not spec.upstream:
            raise DataError(f"column {column} should hold a mapping; found {value!r:.60}")
        return yaml.dump(value, default_flow_style=False, Dumper=yaml.Dumper)
    if spec.upstream:
        return str(value) if how else value
    if value is None and use == "given":
        return ""
    found = text_column(values, column, f"field_{name}" if name in renamed else None, dataset)
    if use == "trained" and not found.strip():
        raise DataError(f"column {column} is blank: there is nothing to train")
    return found


def _layout(spec: FormatSpec) -> tuple[Layout, FormatSpec]:
    """Return the layout of a dataset, and its settings with the columns that a mapping names."""
    dataset = spec.dataset
    if isinstance(dataset.type, dict):
        return _user_defined(dataset, dataset.type, spec)
    if dataset.kind == "user_defined":
        raise ConfigError("`datasets.type: user_defined` is written as a mapping: type: {field_instruction: ..., ...}")
    style = dataset.conversation
    if style and dataset.kind in ("alpaca_chat", "alpaca_chat.load"):
        if style not in STYLES:
            raise ConfigError(
                f"`conversation: {style}` of type {dataset.kind} is none of {', '.join(STYLES)}"
                f"{did_you_mean(style, STYLES)}"
            )
        return STYLES[style], spec
    return LAYOUTS[dataset.kind], spec


FORMATS = {
    "format": ("{instruction} {input} ", ("instruction", "input")),
    "no_input_format": ("{instruction} ", ("instruction",)),
    "system_format": ("{system}", ("system",)),
}
"""Formats of a `type` that is a mapping -> its default, and what may stand in braces in it."""


def _user_defined(dataset: Dataset, keys: dict[str, Any], spec: FormatSpec) -> tuple[Layout, FormatSpec]:
    """Return the layout that a mapping under `type` describes."""
    known = MAPPING_KEYS[""]
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
    # Axolotl has no answer where the column is missing; for us it is a fault of the row.
    absent = {"input": "", "system": given.get("system_prompt", "")} | ({"output": ""} if spec.upstream else {})
    columns = {key: given[key] for key in known if key in given and key.startswith("field_")}
    own = dataset.model_copy(update={"type": "user_defined", **columns})
    turn, bare, frame = formats
    return Layout(turn, bare, frame, OWN_SYSTEM, absent=absent), replace(spec, dataset=own)


INSTRUCT: dict[str, Format] = dict.fromkeys((*LAYOUTS, "user_defined"), instruct)
"""Value of `type` -> its function."""
