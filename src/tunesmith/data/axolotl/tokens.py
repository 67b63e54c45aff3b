"""Token ids and labels as Axolotl makes them from text: each segment is tokenized and truncated alone."""

from collections.abc import Sequence

from tunesmith.data import tokenize
from tunesmith.data.tokenizer import Tokenizer, eos_of
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError

Ids = list[int]

TEXT_LIMIT = 64
"""A text that is cut into pieces may have so many times `sequence_len` tokens."""


def encode(
    rendered: Sequence[Rendered | Example], tokenizer: Tokenizer, *, sequence_len: int = 512
) -> list[list[Example] | DataError]:
    """Return the examples of each rendered row, or the reason why it has none, as `tokenize.encode` does."""
    return [_encode_row(row, tokenizer, sequence_len) for row in rendered]


def _encode_row(row: Rendered | Example, tokenizer: Tokenizer, limit: int) -> list[Example] | DataError:
    if isinstance(row, Rendered) and row.overflow == "windows":
        return _windows(row.text, tokenizer, limit)
    if isinstance(row, Rendered) and row.bos == "own" and not row.tokenize_whole:
        return list(tokenize.pieces(_segments(row, tokenizer, limit), limit if row.overflow else 0))
    (examples,) = tokenize.encode([row], tokenizer, sequence_len=limit)
    if isinstance(examples, DataError) or isinstance(row, Example) or row.bos != "always":
        return examples
    return [
        example._replace(input_ids=example.input_ids[:limit], labels=example.labels[:limit]) for example in examples
    ]


def _segments(row: Rendered, tokenizer: Tokenizer, limit: int) -> Example:
    ids: Ids = []
    labels: Ids = []
    limit = limit * TEXT_LIMIT if row.overflow else limit
    for index, span in enumerate(row.segments):
        segment = _segment(span.text, span.eos_count, tokenizer, limit, first=index == 0)
        header = _segment(span.header, 0, tokenizer, limit, first=index == 0)
        ids += segment
        labels += tokenize.labels_of(span, segment, len(header))
    return Example(ids, labels, row.text)


def _segment(text: str, num_ends: int, tokenizer: Tokenizer, limit: int, *, first: bool) -> Ids:
    """Return the tokens of a segment, truncated to `limit`; one after the first loses a BOS token at its start."""
    ids: Ids = tokenizer(text, truncation=True, max_length=limit)["input_ids"] if text else []
    if not ids:
        return []
    _, end = eos_of(tokenizer)
    missing = num_ends - int(ids[-1] == end)
    ids = ids + [end] * min(missing, limit - len(ids))
    return ids if first or ids[0] != tokenizer.bos_token_id else ids[1:]


def _windows(text: str, tokenizer: Tokenizer, length: int) -> list[Example]:
    """Return a text as windows that overlap, each with an end token."""
    overlap = min(256, (length - 1) // 2)
    batch = tokenizer(text, truncation=True, max_length=length - 1, stride=overlap, return_overflowing_tokens=True)
    windows = [[*ids, tokenizer.eos_token_id] for ids in batch["input_ids"]]
    return [Example(ids, list(ids), text) for ids in windows]
