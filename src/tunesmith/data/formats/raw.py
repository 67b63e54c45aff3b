"""Rows without a prompt layout: plain text, segments and steps that carry their own labels, and tokens."""

from typing import Any

from tunesmith.data.formats.conversation import tokenizer_of
from tunesmith.data.formats.spec import Format, FormatSpec, missing_column, text_column
from tunesmith.data.tokenize import encode
from tunesmith.data.types import MASKED, Example, Rendered, Span
from tunesmith.errors import DataError


def completion(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text that is trained whole; a long one is cut into pieces of `sequence_len`."""
    column = spec.dataset.field
    if spec.upstream and column in values and not values[column]:
        return []
    text = _text(values, column, "field", spec)
    return [Rendered((Span(text, True, ends=1),), bos="own", cut="pieces")]


def pretrain(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text, or each of a list of texts, that is trained whole; Axolotl cuts windows that overlap."""
    column = spec.dataset.text_column or spec.dataset.field
    texts = values.get(column)
    rows = [{column: text} for text in texts] if isinstance(texts, list) else [values]
    found = [_text(row, column, "text_column", spec) for row in rows]
    if spec.upstream:
        return [Rendered((Span(text, True),), bos="own", cut="windows") for text in found]
    return [Rendered((Span(text, True, ends=1),), bos="own", cut="pieces") for text in found]


def _text(values: dict[str, Any], column: str, key: str | None, spec: FormatSpec) -> str:
    text = text_column(values, column, key, spec.dataset)
    if spec.upstream and not isinstance(values[column], str):
        raise DataError(f"column {column} should hold text; found {values[column]!r:.60}")
    if not text.strip() and not spec.upstream:
        raise DataError(f"column {column} is blank")
    return text


def input_output(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render `segments: [{label, text}]` as they stand, without any token of our own."""
    spans = []
    for number, segment in enumerate(_list(values, "segments", spec), 1):
        if not isinstance(segment, dict) or not isinstance(segment.get("text"), str) or "label" not in segment:
            raise DataError(f"segment {number} needs `label: true|false` and `text`; found {segment!r}")
        if not isinstance(segment["label"], bool) and not spec.upstream:
            raise DataError(f"segment {number}: `label` should be true or false; found {segment['label']!r}")
        spans.append(Span(segment["text"], bool(segment["label"]) or spec.train_on_inputs))
    if not any(span.train and span.text for span in spans) and not spec.upstream:
        raise DataError("no segment has `label: true`: there is nothing to train")
    return [Rendered(tuple(spans))]


def stepwise_supervised(values: dict[str, Any], spec: FormatSpec) -> list[Rendered] | list[Example]:
    """Render a prompt and steps of reasoning; the label of a step stands at its last token, that of the separator."""
    dataset = spec.dataset
    prompt = Span(_text(values, "prompt", None, spec), False)
    steps, labels = _list(values, "completions", spec), _list(values, "labels", spec)
    if len(steps) != len(labels):
        raise DataError(f"completions and labels should be as many; found {len(steps)} and {len(labels)}")
    if not steps and (dataset.train_on_last_step_only or not spec.upstream):
        raise DataError("there are no completions: there is nothing to train")
    spans = [prompt]
    for number, (step, label) in enumerate(zip(steps, labels, strict=True), 1):
        if not isinstance(step, str):
            raise DataError(f"step {number} should be text; found {step!r:.60}")
        if not step + dataset.step_separator:
            raise DataError(f"step {number} and `step_separator` are empty: there is no token for the label")
        if label not in (0, 1) and not (spec.upstream and isinstance(label, int)):
            raise DataError(f"step {number}: its label should be true or false, or 1 or 0; found {label!r}")
        value = None if dataset.train_on_last_step_only and number < len(steps) else int(label)
        last = [Span(dataset.step_separator, False, value=value)] if dataset.step_separator else []
        spans += [Span(step, False, value=None if last else value), *last]
    row, limit = Rendered(tuple(spans), bos="always"), dataset.max_completion_length
    return [_cut(row, limit, spec)] if limit else [row]


def _cut(row: Rendered, limit: int, spec: FormatSpec) -> Example:
    """Return a prompt and its answer, of which the first `limit` tokens are kept."""
    parts = [row, Rendered(row.spans[:1], bos=row.bos)]
    whole, prompt = encode(parts, tokenizer_of(spec), sequence_len=spec.sequence_len, upstream=spec.upstream)
    assert not isinstance(whole, DataError)
    assert not isinstance(prompt, DataError)
    end = len(prompt[0].input_ids) + limit
    return Example(whole[0].input_ids[:end], whole[0].labels[:end], row.text)


def pretokenized(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return tokens and labels as they stand; padding, which an `attention_mask` of 0 marks, is left out."""
    ids, labels = _integers(values, "input_ids", spec), _integers(values, "labels", spec)
    has_mask = values.get("attention_mask") is not None
    mask = _integers(values, "attention_mask", spec) if has_mask else [1] * len(ids)
    if not len(ids) == len(labels) == len(mask):
        lengths = f"{len(ids)} and {len(labels)}" + (f", attention_mask {len(mask)}" if has_mask else "")
        raise DataError(f"input_ids and labels should be of one length; found {lengths}")
    tokenizer = tokenizer_of(spec)
    if not spec.upstream:
        # Axolotl's own mask is 0 at an end token that is also the pad token, though that is trained: it is kept.
        kept = [index for index in range(len(ids)) if mask[index] or labels[index] != MASKED]
        ids, labels = [ids[index] for index in kept], [labels[index] for index in kept]
        if all(label == MASKED for label in labels):
            raise DataError("all labels are -100: there is nothing to train")
        for number in (*ids, *(label for label in labels if label != MASKED)):
            if not 0 <= number < len(tokenizer):
                raise DataError(f"{number} is no token: the vocabulary ends at {len(tokenizer) - 1}")
    return [Example(ids, labels, tokenizer.decode(ids))]


def _integers(values: dict[str, Any], column: str, spec: FormatSpec) -> list[int]:
    found = _list(values, column, spec)
    for number in found:
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError(f"column {column} should hold whole numbers; found {number!r:.60}")
    return found


def _list(values: dict[str, Any], column: str, spec: FormatSpec) -> list[Any]:
    if values.get(column) is None:
        raise missing_column(values, column, None, spec.dataset)
    if not isinstance(values[column], list):
        raise DataError(f"column {column} should hold a list; found {values[column]!r:.80}")
    return list(values[column])


RAW: dict[str, Format] = {
    "completion": completion,
    "pretrain": pretrain,
    "input_output": input_output,
    "stepwise_supervised": stepwise_supervised,
    "pretokenized": pretokenized,
}
"""Value of `type` -> its function."""
