"""Rows without a prompt layout under `mask: axolotl`: values that are not checked, and windows that overlap."""

from dataclasses import replace
from typing import Any

from tunesmith.data.axolotl.tokens import encode
from tunesmith.data.formats import raw
from tunesmith.data.formats.format import FormatSpec, text_column, tokenizer_of
from tunesmith.data.types import Example, Rendered, Segment
from tunesmith.errors import DataError


def completion(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text as it stands; an empty one gives no sample."""
    column = spec.dataset.field
    if column in values and not values[column]:
        return []
    text = _text(values, column, "field", spec)
    return [Rendered((Segment(text, True, eos_count=1),), bos="own", overflow="chunks")]


def pretrain(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text, or each of a list of texts, for windows that overlap."""
    column, rows = raw.texts_in(values, spec.dataset)
    texts = [_text(row, column, "text_column", spec) for row in rows]
    return [Rendered((Segment(text, True),), bos="own", overflow="windows") for text in texts]


def _text(values: dict[str, Any], column: str, key: str | None, spec: FormatSpec) -> str:
    text = text_column(values, column, key, spec.dataset)
    if not isinstance(values[column], str):
        raise DataError(f"column {column} should hold text; found {values[column]!r:.60}")
    return text


def input_output(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render segments whose `label` may be any value."""
    segments = raw.list_in(values, "segments", spec)
    return [Rendered(tuple(raw.segment(number, item, spec) for number, item in enumerate(segments, 1)))]


def stepwise_supervised(values: dict[str, Any], spec: FormatSpec) -> list[Rendered] | list[Example]:
    """Render a prompt and steps whose labels may be any whole number; there may be none."""
    dataset = spec.dataset
    prompt = _text(values, "prompt", None, spec)
    steps = raw.steps_in(values, spec)
    if not steps and dataset.train_on_last_step_only:
        raise DataError("there are no completions: there is nothing to train")
    for number, (_, label) in enumerate(steps, 1):
        if label not in (0, 1) and not isinstance(label, int):
            raise DataError(f"step {number}: its label should be a whole number; found {label!r}")
    row, limit = raw.stepwise(prompt, steps, dataset), dataset.max_completion_length
    if not limit:
        return [row]
    parts = [row, Rendered(row.segments[:1], bos=row.bos)]
    return [raw.truncated(encode(parts, tokenizer_of(spec), sequence_len=spec.sequence_len), limit)]


def pretokenized(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return tokens and labels as they stand, padding included."""
    ids, labels, _ = raw.tokens_in(values, spec)
    tokenizer = tokenizer_of(spec)
    raw.require_tokens(ids, labels, tokenizer)
    return [Example(ids, labels, tokenizer.decode(ids))]


RAW = {
    name: replace(raw.RAW[name], read=raw.as_document(samples))
    for name, samples in {
        "completion": completion,
        "pretrain": pretrain,
        "input_output": input_output,
        "stepwise_supervised": stepwise_supervised,
        "pretokenized": pretokenized,
    }.items()
}
"""Value of `type` -> its record."""
