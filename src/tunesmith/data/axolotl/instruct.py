"""Instruction rows under `mask: axolotl`: columns may hold any value, and an answer may be empty."""

from dataclasses import replace
from typing import Any

from tunesmith.data.formats import instruct as served
from tunesmith.data.formats.format import FormatSpec, samples_of, tokenizer_of
from tunesmith.data.formats.layouts import Layout
from tunesmith.data.formats.raw import as_document
from tunesmith.data.tokenizer import adds_bos, eos_of
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


def instruct(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render an exchange; a layout of the user's own needs no column of answers."""
    layout, dataset = served.find_layout(spec.dataset)
    if dataset.kind == "user_defined":
        layout = layout._replace(absent={**layout.absent, "output": ""})
    instruction = _part(layout.instruction, values, layout, dataset)
    answer = (_joint_answer if layout.joint else _part)(layout.output, values, layout, dataset)
    given = _part(layout.input, values, layout, dataset)
    system = _part(layout.system[0 if given else 1], values, layout, dataset)
    return [_render(served.write_prompt(layout, instruction, given, system), answer, layout, spec)]


def _render(prompt: str, answer: Any, layout: Layout, spec: FormatSpec) -> Rendered:
    several = layout.ends > 1  # metharme: its empty text is tokenized too, to a BOS token if the tokenizer adds one
    if not isinstance(answer, str) and (answer or several):
        raise DataError(f"the answer should be text; found {answer!r:.60}")
    has_bos = several and not (prompt and answer) and adds_bos(tokenizer_of(spec))
    if spec.train_on_inputs and not prompt and not has_bos:
        raise DataError("the prompt is empty, which Axolotl cannot train")
    if layout.joint:
        return _render_joint(prompt, answer or "", layout, spec)
    return _render_apart(prompt, answer or "", layout, spec, has_bos=has_bos)


def _render_joint(prompt: str, answer: str, layout: Layout, spec: FormatSpec) -> Rendered:
    header = "" if spec.train_on_inputs else prompt
    return Rendered((Segment(prompt + answer, True, header=header, eos_count=layout.ends),), bos="own")


def _render_apart(prompt: str, answer: str, layout: Layout, spec: FormatSpec, *, has_bos: bool) -> Rendered:
    reply = Segment(answer, True, eos_count=layout.ends)
    if has_bos and not answer:
        reply = Segment(eos_of(tokenizer_of(spec))[0] * layout.ends, True)
    return Rendered((Segment(prompt, spec.train_on_inputs), reply), bos="own" if prompt or not has_bos else "always")


def _part(text: str, values: dict[str, Any], layout: Layout, dataset: Dataset) -> Any:
    """Return a part of a row; one that is a single column is whatever the column holds."""
    pieces = _pieces(text, values, layout, dataset)
    if len(pieces) == 1:
        return pieces[0]
    for piece in pieces:
        if not isinstance(piece, str):
            raise DataError(f"a column of {text!r:.60} should hold text; found {piece!r:.60}")
    return "".join(pieces)


def _joint_answer(text: str, values: dict[str, Any], layout: Layout, dataset: Dataset) -> str:
    """Return an answer of several columns, empty if one of them is; `reflection:chat` forgets the last one."""
    pieces = _pieces(text, values, layout, dataset)
    written = pieces[:-1] if dataset.kind == "reflection:chat" else pieces
    return "".join(map(str, written)) if all(pieces) else ""


def _pieces(text: str, values: dict[str, Any], layout: Layout, dataset: Dataset) -> list[Any]:
    def read(name: str, how: str | None) -> Any:
        names = served.column_names(name, dataset)
        column = next((one for one in names if one in values), names[0])
        if column not in values:
            return served.absent_column(name, column, values, layout, dataset)
        if how == "l":
            return served.bullet_list(column, values[column])
        if how == "y":
            return served.as_yaml(values[column])
        return str(values[column]) if how else values[column]

    return served.pieces_of(text, read)


INSTRUCT = {
    name: replace(record, read=as_document(instruct), render=samples_of) for name, record in served.INSTRUCT.items()
}
"""Value of `type` -> its record."""
