"""Texts to token ids and labels: the one place that writes -100, except in `axolotl/`, which repeats Axolotl."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain

from tunesmith.data.tokenizer import Tokenizer, adds_bos
from tunesmith.data.types import MASKED, Example, Rendered, Span
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
        else:
            ids, labels = tokens.framed(row, *offsets[id(row)]) if row.joint else tokens.label(row)
            found.append(list(pieces(Example(ids, labels, row.text), sequence_len if row.cut else 0)))
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
    """Tokens of the parts of rows, each part tokenised alone, as a prompt is at inference."""

    def __init__(self, rows: Sequence[Rendered], tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        parts = [span for row in rows if not row.joint for span in row.spans]
        texts = list(dict.fromkeys([*(span.text for span in parts), *(span.head for span in parts)]))
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        self.known: dict[str, Ids] = dict(zip(texts, ids, strict=True))
        self.own_bos = adds_bos(tokenizer)

    def part(self, span: Span, row: Rendered, *, first: bool) -> tuple[Ids, int]:
        """Return the tokens of a span, and how many of them are its head's."""
        with_bos = first and (row.bos == "always" or (row.bos == "own" and self.own_bos and bool(span.text)))
        bos = [self.tokenizer.bos_token_id] if with_bos and self.tokenizer.bos_token_id is not None else []
        ids = [*bos, *self.whole(span)]
        if span.text:
            ids += [self.tokenizer.eos_token_id] * (span.ends - int(ids[-1:] == [self.tokenizer.eos_token_id]))
        return ids, len(self.known[span.head]) + (len(bos) if span.head else 0)

    def whole(self, span: Span) -> Ids:
        """Return the tokens of a span's text; a head that would merge with what follows is apart, as it is served."""
        head, ids = self.known[span.head], self.known[span.text]
        if ids[: len(head)] == head:
            return ids
        rest: Ids = self.tokenizer(span.text[len(span.head) :], add_special_tokens=False)["input_ids"]
        return [*head, *rest]

    def label(self, row: Rendered) -> tuple[Ids, Ids]:
        """Return the tokens and labels of a row whose parts are tokenised alone."""
        input_ids: Ids = []
        labels: Ids = []
        for index, span in enumerate(row.spans):
            ids, head = self.part(span, row, first=index == 0)
            input_ids += ids
            labels += labels_of(span, ids, head)
        return input_ids, labels

    def framed(self, row: Rendered, ids: Ids, begins: list[int], ends: list[int]) -> tuple[Ids, Ids]:
        """Return the tokens and labels of a joint text, with the begin and end tokens that the text does not hold."""
        ids, labels = _label_by_offsets(row, ids, begins, ends)
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if row.bos == "own" and self.own_bos and ids[:1] != [begin]:
            ids, labels = [begin, *ids], [begin if row.spans[0].train else MASKED, *labels]
        for span in row.spans[-1:]:
            more = [end] * (span.ends - int(ids[-1:] == [end]))
            ids, labels = [*ids, *more], [*labels, *(more if span.train else [MASKED] * len(more))]
        return ids, labels


def labels_of(span: Span, ids: Ids, head: int) -> Ids:
    """Return the labels of a part's tokens, the first `head` of which are its header's."""
    labels = [MASKED] * min(head, len(ids)) + ids[head:] if span.train else [MASKED] * len(ids)
    if span.value is not None and ids:
        labels[-1] = span.value
    return labels


Offsets = dict[int, tuple[Ids, list[int], list[int]]]
"""id of a joint row -> its tokens, and the characters at which each begins and ends."""


def _offsets(rows: Sequence[Rendered], tokenizer: Tokenizer) -> Offsets:
    joint = [row for row in rows if row.joint]
    if not joint:
        return {}
    batch = tokenizer([row.text for row in joint], add_special_tokens=False, return_offsets_mapping=True)
    found: Offsets = {}
    for row, ids, places in zip(joint, batch["input_ids"], batch["offset_mapping"], strict=True):
        starts, ends = zip(*places, strict=True) if places else ((), ())
        # A leading space may be left out of a token's offsets, and the pieces of one character share theirs.
        begins = list(map(min, starts, chain((0,), accumulate(ends, max))))
        found[id(row)] = (ids, begins, list(ends))
    return found


def _label_by_offsets(row: Rendered, ids: Ids, begins: list[int], ends: list[int]) -> tuple[Ids, Ids]:
    """Label the tokens of a text that was tokenised in one go: a token belongs to the span in which it begins."""
    labels: Ids = []
    reached, border = list(accumulate(begins, max)), 0
    for index, span in enumerate(row.spans):
        border += len(span.text)
        first, is_last = len(labels), index == len(row.spans) - 1
        after = len(ids) if is_last else bisect_left(reached, border, first)
        labels += ids[first:after] if span.train else [MASKED] * (after - first)
        if not is_last and row.spans[index + 1].hole:  # a token that reaches into it is not trained
            for place in range(first, after):
                if ends[place] > border:
                    labels[place] = MASKED
    return ids, labels


def _unservable(rows: Sequence[Rendered], offsets: Offsets, tokenizer: Tokenizer) -> dict[int, DataError]:
    """Return an error for each joint row of which a server's prompt, tokenised alone, is not how the tokens begin.

    Text is tokenised apart on both sides of an added token, so that it is enough to tokenise each prompt from its last
    added token on: the cost is that of the text, not that of all its prompts.
    """
    added = set(tokenizer.added_tokens_decoder)
    tails: list[tuple[Rendered, int, str, Ids]] = []
    for row in rows:
        if not row.joint:
            continue
        (ids, begins, _), text = offsets[id(row)], row.text
        for end in row.prompts:
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
