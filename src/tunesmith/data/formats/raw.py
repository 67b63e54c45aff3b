"""Rows without a prompt layout: plain text, segments and steps that carry their own labels, and tokens."""

from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.data.formats.format import (
    Columns,
    Document,
    Format,
    FormatSpec,
    missing_column,
    text_column,
    tokenizer_of,
)
from tunesmith.data.messages import WireMessage
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import MASKED, Example, Rendered, Segment
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


def completion(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text that is trained whole; a long one is cut into pieces of `sequence_len`."""
    text = _text(values, spec.dataset.field, "field", spec)
    return [Rendered((Segment(text, True, eos_count=1),), bos="own", overflow="chunks")]


def pretrain(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a text, or each of a list of texts, that is trained whole."""
    column, rows = texts_in(values, spec.dataset)
    texts = [_text(row, column, "text_column", spec) for row in rows]
    return [Rendered((Segment(text, True, eos_count=1),), bos="own", overflow="chunks") for text in texts]


def texts_in(values: dict[str, Any], dataset: Dataset) -> tuple[str, list[dict[str, Any]]]:
    """Return the column of a pretraining text, and a row for each text in it."""
    column = dataset.text_column or dataset.field
    texts = values.get(column)
    return column, [{column: text} for text in texts] if isinstance(texts, list) else [values]


def _text(values: dict[str, Any], column: str, key: str | None, spec: FormatSpec) -> str:
    text = text_column(values, column, key, spec.dataset)
    if not text.strip():
        raise DataError(f"column {column} is blank")
    return text


def input_output(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render `segments: [{label, text}]` as they stand, without any token of our own."""
    segments = []
    for number, item in enumerate(list_in(values, "segments", spec), 1):
        segments.append(segment(number, item, spec))
        if not isinstance(item["label"], bool):
            raise DataError(f"segment {number}: `label` should be true or false; found {item['label']!r}")
    if not any(span.train and span.text for span in segments):
        raise DataError("no segment has `label: true`: there is nothing to train")
    return [Rendered(tuple(segments))]


def segment(number: int, item: Any, spec: FormatSpec) -> Segment:
    """Return a segment of a row as a span.

    Raises:
        DataError: it lacks its label or its text.
    """
    if not isinstance(item, dict) or not isinstance(item.get("text"), str) or "label" not in item:
        raise DataError(f"segment {number} needs `label: true|false` and `text`; found {item!r}")
    return Segment(item["text"], bool(item["label"]) or spec.train_on_inputs)


def stepwise_supervised(values: dict[str, Any], spec: FormatSpec) -> list[Rendered] | list[Example]:
    """Render a prompt and steps of reasoning; the label of a step stands at its last token, that of the separator."""
    prompt, steps = _text(values, "prompt", None, spec), steps_in(values, spec)
    if not steps:
        raise DataError("there are no completions: there is nothing to train")
    for number, (_, label) in enumerate(steps, 1):
        if label not in (0, 1):
            raise DataError(f"step {number}: its label should be true or false, or 1 or 0; found {label!r}")
    row, limit = stepwise(prompt, steps, spec.dataset), spec.dataset.max_completion_length
    if not limit:
        return [row]
    return [truncated(encode([row, Rendered(row.segments[:1], bos=row.bos)], tokenizer_of(spec)), limit)]


def steps_in(values: dict[str, Any], spec: FormatSpec) -> list[tuple[str, Any]]:
    """Return the steps of a row, each with its label.

    Raises:
        DataError: a column is missing, their lengths differ, or a step is no text or gives no token.
    """
    steps, labels = list_in(values, "completions", spec), list_in(values, "labels", spec)
    if len(steps) != len(labels):
        raise DataError(f"completions and labels should be as many; found {len(steps)} and {len(labels)}")
    for number, step in enumerate(steps, 1):
        if not isinstance(step, str):
            raise DataError(f"step {number} should be text; found {step!r:.60}")
        if not step + spec.dataset.step_separator:
            raise DataError(f"step {number} and `step_separator` are empty: there is no token for the label")
    return list(zip(steps, labels, strict=True))


def stepwise(prompt: str, steps: Sequence[tuple[str, Any]], dataset: Dataset) -> Rendered:
    """Return a prompt and its steps as text, with their labels."""
    segments = [Segment(prompt, False)]
    for number, (step, label) in enumerate(steps, 1):
        value = None if dataset.train_on_last_step_only and number < len(steps) else int(label)
        last = [Segment(dataset.step_separator, False, label=value)] if dataset.step_separator else []
        segments += [Segment(step, False, label=None if last else value), *last]
    return Rendered(tuple(segments), bos="always")


def truncated(encoded: Sequence[list[Example] | DataError], limit: int) -> Example:
    """Return the tokens of a row with the first `limit` of those that follow its prompt, which is encoded after it."""
    whole, prompt = encoded
    assert not isinstance(whole, DataError)
    assert not isinstance(prompt, DataError)
    end = len(prompt[0].input_ids) + limit
    return Example(whole[0].input_ids[:end], whole[0].labels[:end], whole[0].text)


def pretokenized(values: dict[str, Any], spec: FormatSpec) -> list[Example]:
    """Return tokens and labels as they stand; padding, which an `attention_mask` of 0 marks, is left out."""
    ids, labels, mask = tokens_in(values, spec)
    tokenizer = tokenizer_of(spec)
    # Axolotl's own mask is 0 at an end token that is also the pad token, though that is trained: it is kept.
    kept = [index for index in range(len(ids)) if mask[index] or labels[index] != MASKED]
    ids, labels = [ids[index] for index in kept], [labels[index] for index in kept]
    if all(label == MASKED for label in labels):
        raise DataError("all labels are -100: there is nothing to train")
    require_tokens(ids, labels, tokenizer)
    return [Example(ids, labels, tokenizer.decode(ids))]


def require_tokens(ids: list[int], labels: list[int], tokenizer: Tokenizer) -> None:
    """Raise a DataError if an id or a trained label is outside the vocabulary."""
    for number in (*ids, *(label for label in labels if label != MASKED)):
        if not 0 <= number < len(tokenizer):
            raise DataError(f"{number} is no token: the vocabulary ends at {len(tokenizer) - 1}")


def tokens_in(values: dict[str, Any], spec: FormatSpec) -> tuple[list[int], list[int], list[int]]:
    """Return the columns `input_ids`, `labels` and `attention_mask`.

    Raises:
        DataError: one is missing or holds something else, or their lengths differ.
    """
    ids, labels = _integers(values, "input_ids", spec), _integers(values, "labels", spec)
    has_mask = values.get("attention_mask") is not None
    mask = _integers(values, "attention_mask", spec) if has_mask else [1] * len(ids)
    if not len(ids) == len(labels) == len(mask):
        lengths = f"{len(ids)} and {len(labels)}" + (f", attention_mask {len(mask)}" if has_mask else "")
        raise DataError(f"input_ids and labels should be of one length; found {lengths}")
    return ids, labels, mask


def _integers(values: dict[str, Any], column: str, spec: FormatSpec) -> list[int]:
    found = list_in(values, column, spec)
    for number in found:
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError(f"column {column} should hold whole numbers; found {number!r:.60}")
    return found


def list_in(values: dict[str, Any], column: str, spec: FormatSpec) -> list[Any]:
    """Return the list in a column.

    Raises:
        DataError: there is none.
    """
    if values.get(column) is None:
        raise missing_column(values, column, None, spec.dataset)
    if not isinstance(values[column], list):
        raise DataError(f"column {column} should hold a list; found {values[column]!r:.80}")
    return list(values[column])


def ask_text(messages: Sequence[WireMessage], spec: FormatSpec) -> Rendered:
    """Return a person's words as a text to continue."""
    return Rendered((Segment(messages[-1]["content"], False),), bos="own")


def ask_without_bos(messages: Sequence[WireMessage], spec: FormatSpec) -> Rendered:
    """Return a person's words as a text to continue, as `input_output` writes it: with no token added."""
    return Rendered((Segment(messages[-1]["content"], False),))


def refuse_to_ask(messages: Sequence[WireMessage], spec: FormatSpec) -> Rendered:
    """Raise a DataError: rows of this type have no prompt in words."""
    kind = spec.dataset.kind
    raise DataError(f"a model is not asked in words with type {kind}; set `type` to the layout of its prompts")


def as_document(samples: Callable[[dict[str, Any], FormatSpec], Sequence[Any]]) -> Callable[..., Document]:
    """Return the `read` of a type whose rows become samples at once."""
    return lambda values, spec: Document(tuple(samples(values, spec)))


RAW = {
    "completion": Format(
        "completion",
        as_document(completion),
        ask=ask_text,
        columns=(Columns(18, ("text",)),),
        keys=frozenset({"field"}),
        trained_whole=True,
        writes_ends=True,
        splits=True,
    ),
    "pretrain": Format(
        "pretrain",
        as_document(pretrain),
        ask=ask_text,
        keys=frozenset({"field", "text_column"}),
        trained_whole=True,
        writes_ends=True,
        splits=True,
    ),
    "input_output": Format(
        "input_output",
        as_document(input_output),
        ask=ask_without_bos,
        columns=(Columns(7, ("segments",)),),
        writes_ends=True,
    ),
    "stepwise_supervised": Format(
        "stepwise_supervised",
        as_document(stepwise_supervised),
        ask=refuse_to_ask,
        columns=(Columns(4, ("prompt", "completions", "labels")),),
        keys=frozenset({"step_separator", "max_completion_length", "train_on_last_step_only"}),
        trained_whole=True,
    ),
    "pretokenized": Format(
        "pretokenized",
        as_document(pretokenized),
        ask=refuse_to_ask,
        columns=(Columns(1, ("input_ids", "labels")),),
        trained_whole=True,
        writes_ends=True,
    ),
}
"""Value of `type` -> its record."""
