"""Texts to token ids and labels: the one place that writes -100, except in `axolotl/`, which repeats Axolotl."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

from tunesmith.data.tokenizer import NO_EOS, Tokenizer, adds_bos
from tunesmith.data.types import MASKED, Example, Rendered, Segment
from tunesmith.errors import DataError

Ids = list[int]

JOIN_EARLIER = "let the prompt end earlier: a space or newline at its end belongs to the start of the completion"


def encode(
    rendered: Sequence[Rendered | Example], tokenizer: Tokenizer, *, sequence_len: int = 512
) -> list[list[Example] | DataError]:
    """Return the examples of each rendered row (several where a long text is cut), or the reason why it has none.

    Texts are tokenised in one batch, so that the tokenizer's threads are used.

    Args:
        rendered: rows as text; examples among them pass through.
        tokenizer: the model's.
        sequence_len: length of the pieces of a text that is cut.
    """
    rows = [row for row in rendered if isinstance(row, Rendered)]
    tokens = _Tokens(rows, tokenizer)
    offsets = _offsets(rows, tokenizer)
    unservable = _unservable(rows, offsets, tokenizer)
    found: list[list[Example] | DataError] = []
    for row in rendered:
        if isinstance(row, Example):
            found.append([row])
        elif id(row) in unservable:
            found.append(unservable[id(row)])
        elif tokenizer.eos_token_id is None and any(segment.eos_count for segment in row.segments):
            found.append(DataError(NO_EOS))
        else:
            ids, labels = (
                tokens.encode_whole(row, *offsets[id(row)]) if row.tokenize_whole else tokens.encode_segments(row)
            )
            found.append(list(pieces(Example(ids, labels, row.text), sequence_len if row.overflow else 0)))
    return found


def prompt_ids(rendered: Rendered, tokenizer: Tokenizer, *, last: bool = False) -> Ids:
    """Return the tokens of a row up to its first trained one (or its last answer), as inference feeds them."""
    found = encode([rendered.prompt(last=last)], tokenizer)[0]
    if isinstance(found, DataError):
        raise found
    return found[0].input_ids


def pieces(example: Example, length: int) -> Iterator[Example]:
    """Yield the example in pieces of `length` tokens; 0 does not cut."""
    ids, labels = example.input_ids, example.labels
    if not length or len(ids) <= length:
        yield example
        return
    for start in range(0, len(ids), length):
        yield Example(ids[start : start + length], labels[start : start + length], example.text)


class _Tokens:
    """Token ids of the segments of rows, each tokenized alone, as a prompt is at inference."""

    def __init__(self, rows: Sequence[Rendered], tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        segments = [segment for row in rows if not row.tokenize_whole for segment in row.segments]
        texts = list(dict.fromkeys([*(item.text for item in segments), *(item.header for item in segments)]))
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        self.ids_of: dict[str, Ids] = dict(zip(texts, ids, strict=True))
        self.adds_bos = adds_bos(tokenizer)

    def encode_segments(self, row: Rendered) -> tuple[Ids, Ids]:
        """Return the token ids and labels of a row whose segments are tokenized alone."""
        input_ids: Ids = []
        labels: Ids = []
        for index, segment in enumerate(row.segments):
            ids, header_size = self._encode_segment(segment, row, first=index == 0)
            input_ids += ids
            labels += labels_of(segment, ids, header_size)
        return input_ids, labels

    def encode_whole(self, row: Rendered, ids: Ids, starts: list[int], ends: list[int]) -> tuple[Ids, Ids]:
        """Return the token ids and labels of a text tokenized as a whole, with the BOS and EOS tokens around it."""
        ids, labels = _label_by_offsets(row, ids, starts, ends)
        bos = self.tokenizer.bos_token_id
        if row.bos == "own" and self.adds_bos and bos is not None and ids[:1] != [bos]:
            ids, labels = [bos, *ids], [bos if row.segments[0].train else MASKED, *labels]
        for segment in row.segments[-1:]:
            added = self._eos_ids(segment, ids)
            ids, labels = [*ids, *added], [*labels, *(added if segment.train else [MASKED] * len(added))]
        return ids, labels

    def _encode_segment(self, segment: Segment, row: Rendered, *, first: bool) -> tuple[Ids, int]:
        """Return the token ids of a segment, and how many of them are its header's."""
        bos = self.tokenizer.bos_token_id
        starts_row = row.bos == "always" or (row.bos == "own" and self.adds_bos and bool(segment.text))
        ids = [bos] if first and starts_row and bos is not None else []
        header_size = len(self.ids_of[segment.header]) + (len(ids) if segment.header else 0)
        ids += self._segment_ids(segment)
        if segment.text:
            ids += self._eos_ids(segment, ids)
        return ids, header_size

    def _eos_ids(self, segment: Segment, ids: Ids) -> Ids:
        """Return the EOS tokens that follow a segment, of which `ids` may end with the first."""
        eos = self.tokenizer.eos_token_id
        return [] if eos is None else [eos] * (segment.eos_count - int(ids[-1:] == [eos]))

    def _segment_ids(self, segment: Segment) -> Ids:
        """Return the ids of a segment; a header that would merge with the text after it is tokenized apart."""
        if segment.token_ids is not None:
            return list(segment.token_ids)
        header, ids = self.ids_of[segment.header], self.ids_of[segment.text]
        if ids[: len(header)] == header:
            return ids
        rest: Ids = self.tokenizer(segment.text[len(segment.header) :], add_special_tokens=False)["input_ids"]
        return [*header, *rest]


def labels_of(segment: Segment, ids: Ids, header_size: int) -> Ids:
    """Return the labels of a segment's tokens, the first `header_size` of which are its header's."""
    labels = [MASKED] * min(header_size, len(ids)) + ids[header_size:] if segment.train else [MASKED] * len(ids)
    if segment.label is not None and ids:
        labels[-1] = segment.label
    return labels


Offsets = dict[int, tuple[Ids, list[int], list[int]]]
"""id of a row that is tokenized as a whole -> its token ids, and the characters at which each starts and ends."""


def _offsets(rows: Sequence[Rendered], tokenizer: Tokenizer) -> Offsets:
    whole = [row for row in rows if row.tokenize_whole]
    if not whole:
        return {}
    batch = tokenizer([row.text for row in whole], add_special_tokens=False, return_offsets_mapping=True)
    found: Offsets = {}
    for row, ids, places in zip(whole, batch["input_ids"], batch["offset_mapping"], strict=True):
        starts, ends = zip(*places, strict=True) if places else ((), ())
        # A leading space may be left out of a token's offsets, and the pieces of one character share theirs.
        begins = list(map(min, starts, chain((0,), accumulate(ends, max))))
        found[id(row)] = (ids, begins, list(ends))
    return found


def _label_by_offsets(row: Rendered, ids: Ids, starts: list[int], ends: list[int]) -> tuple[Ids, Ids]:
    """Label the tokens of a text that was tokenized as a whole: a token belongs to the segment in which it starts."""
    labels: Ids = []
    reached, segment_end = list(accumulate(starts, max)), 0
    for index, segment in enumerate(row.segments):
        segment_end += len(segment.text)
        first, is_last = len(labels), index == len(row.segments) - 1
        after = len(ids) if is_last else bisect_left(reached, segment_end, first)
        labels += ids[first:after] if segment.train else [MASKED] * (after - first)
        if not is_last and row.segments[index + 1].masked:  # a token that reaches into it is masked
            for position in range(first, after):
                if ends[position] > segment_end:
                    labels[position] = MASKED
    return ids, labels


def _unservable(rows: Sequence[Rendered], offsets: Offsets, tokenizer: Tokenizer) -> dict[int, DataError]:
    """Return an error for each joint row of which a server's prompt, tokenised alone, is not how the tokens begin.

    Text is tokenised apart on both sides of an added token, so that it is enough to tokenise each prompt from its last
    added token on: the cost is that of the text, not that of all its prompts.
    """
    added = set(tokenizer.added_tokens_decoder)
    tails: list[tuple[Rendered, int, str, Ids]] = []
    for row in rows:
        if not row.tokenize_whole:
            continue
        (ids, begins, _), text = offsets[id(row)], row.text
        for end in row.prompt_ends:
            count = bisect_left(begins, end)
            first = next((index for index in range(count - 1, -1, -1) if ids[index] in added), 0)
            tails.append((row, end, text[begins[first] : end] if count else "", ids[first:count]))
    texts = list(dict.fromkeys(tail for _, _, tail, _ in tails))
    served = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True)) if texts else {}
    return {
        id(row): DataError(
            f"a server's prompt, up to {row.text[max(0, end - 20) : end]!r}, becomes other tokens than in the training "
            f"text, where {row.text[end : end + 20]!r} follows; "
            + (JOIN_EARLIER if row.bos == "own" else "choose another `chat_template`")
        )
        for row, end, tail, ids in tails
        if served[tail] != ids
    }
