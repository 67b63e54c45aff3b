"""From the rows of one dataset to samples: read, rendered and tokenised in batches, and cut to a fitting length.

`prepare` writes what comes out of here, and the data doctor looks at it: both see the same samples.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from tunesmith.data.filters import Dropped, filtered_rows
from tunesmith.data.formats.format import Format, FormatSpec
from tunesmith.data.masks import format_of
from tunesmith.data.parallel import in_batches, on_all_cores
from tunesmith.data.source import is_stream
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import MASKED, BadRow, Example, Rendered, Row
from tunesmith.data.unread import read_row
from tunesmith.errors import DataError
from tunesmith.sections import DataSection

BATCH = 1000
"""Rows tokenised at once."""


class EncodedRow(NamedTuple):
    """A row as text and as tokens.

    Attributes:
        row: the row.
        rendered: what it was rendered to, mostly one text.
        examples: the examples of each of these, or the reason why it has none.
        unread: names of columns, and keys of messages, that nothing reads.
    """

    row: Row
    rendered: list[Rendered | Example]
    examples: list[list[Example] | str]
    unread: list[str]


def encoded_rows(
    spec: FormatSpec,
    tokenizer: Tokenizer,
    limit: int | None = None,
    *,
    seconds: float = 5.0,
    drop: Callable[[Dropped], object] = lambda item: None,
) -> Iterator[list[EncodedRow | BadRow]]:
    """Yield the rows of a dataset in batches, in their order; a row that cannot be read or rendered as a `BadRow`.

    Rows that the dataset's `filters` leave out are not among them.

    Args:
        spec: settings of the dataset.
        tokenizer: the model's.
        limit: read only so many rows.
        seconds: how long a call of an assertion in `filters` may take.
        drop: called with each row that they leave out.
    """
    record = format_of(spec)
    batches = in_batches(_kept(filtered_rows(spec, limit, seconds), drop), BATCH)
    work = partial(_encoded, record, spec, tokenizer)
    # A stream is read no further than it takes.
    yield from map(work, batches) if is_stream(spec.dataset) else on_all_cores(work, batches)


def _kept(rows: Iterable[Row | BadRow | Dropped], drop: Callable[[Dropped], object]) -> Iterator[Row | BadRow]:
    for row in rows:
        if isinstance(row, Dropped):
            drop(row)
        else:
            yield row


def _encoded(
    record: Format, spec: FormatSpec, tokenizer: Tokenizer, batch: list[Row | BadRow]
) -> list[EncodedRow | BadRow]:
    """Return the rows of a batch, rendered and tokenised."""
    found: list[EncodedRow | BadRow] = []
    for row in batch:
        if isinstance(row, BadRow):
            found.append(row)
            continue
        try:
            samples, unread = read_row(record, row.values, spec)
            found.append(EncodedRow(row, list(samples), [], unread))
        except DataError as error:
            found.append(BadRow(row.file, row.number, str(error)))
    good = [item for item in found if isinstance(item, EncodedRow)]
    texts = [rendered for item in good for rendered in item.rendered]
    encoded = iter(record.encode(texts, tokenizer, sequence_len=spec.sequence_len))
    for item in good:
        own = islice(encoded, len(item.rendered))
        item.examples.extend([_joined(own)] if spec.preferences else map(_usable, own))
    return found


def _usable(examples: list[Example] | DataError) -> list[Example] | str:
    if isinstance(examples, DataError):
        return str(examples)
    trained = any(example.labels.count(MASKED) < len(example.labels) for example in examples)
    return examples if trained else NOTHING_TRAINED


def _joined(texts: Iterable[list[Example] | DataError]) -> list[Example] | str:
    """Return the two texts of a preference row, of which one may be empty, as one example."""
    parts = []
    for found in texts:
        if isinstance(found, DataError) or (found[0].input_ids and isinstance(_usable(found), str)):
            return _usable(found)
        parts.append(found[0])
    return [_concatenate(parts, len(parts[0].input_ids))]


def _concatenate(parts: Sequence[Example], split_index: int | None) -> Example:
    ids = [token for part in parts for token in part.input_ids]
    return Example(ids, [label for part in parts for label in part.labels], split_index=split_index)


NOTHING_TRAINED = "none of its tokens is trained"


def too_long(example: Example, data: DataSection) -> str:
    """Return that the example is over `sequence_len`, in words, or an empty text."""
    length = max(len(document.input_ids) for document in example.documents)
    return f"{length} tokens, over sequence_len {data.sequence_len}" if length > data.sequence_len else ""


def fitted(example: Example, data: DataSection) -> Example | str:
    """Return an example in a fitting length, or the reason why it has none."""
    if reason := too_long(example, data):
        if data.excess_length_strategy != "truncate":
            return reason
        size, split_index = data.sequence_len, example.split_index
        cut = [Example(document.input_ids[:size], document.labels[:size]) for document in example.documents]
        if any(all(label < 0 for label in document.labels) for document in cut):
            return f"{reason}; nothing trained is left after truncation"
        example = _concatenate(cut, split_index and min(split_index, size))
    if len(example.input_ids) < data.min_sample_len:
        return f"{len(example.input_ids)} tokens, under min_sample_len {data.min_sample_len}"
    return example
