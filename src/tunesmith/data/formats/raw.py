"""Rows without a prompt layout: plain text, and segments that say themselves what is trained."""

from typing import Any

from tunesmith.data.formats.spec import FormatSpec, missing_column, text_column
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError


def completion(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text that is trained whole; a long one is cut into pieces of `sequence_len`."""
    text = text_column(values, spec.dataset.field, "field", spec.dataset)
    if not text.strip():
        raise DataError(f"column {spec.dataset.field} is blank: there is nothing to train")
    return [Rendered((Span(text, True, ends=1),), bos="own", cut="pieces")]


def input_output(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render `segments: [{label, text}]` as they stand, without any token of our own."""
    segments = values.get("segments")
    if segments is None:
        raise missing_column(values, "segments", None, spec.dataset)
    if not isinstance(segments, list):
        raise DataError(f"column segments should hold a list of segments; found {segments!r:.80}")
    spans = []
    for number, segment in enumerate(segments, 1):
        if not isinstance(segment, dict) or not isinstance(segment.get("text"), str):
            raise DataError(f"segment {number} needs `label: true|false` and `text`; found {segment!r}")
        if not isinstance(segment.get("label"), bool):
            raise DataError(f"segment {number}: `label` should be true or false; found {segment.get('label')!r}")
        spans.append(Span(segment["text"], segment["label"] or spec.train_on_inputs))
    if not any(span.train and span.text for span in spans):
        raise DataError("no segment has `label: true`: there is nothing to train")
    return [Rendered(tuple(spans))]
