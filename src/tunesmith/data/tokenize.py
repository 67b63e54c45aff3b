"""Spans to token ids and labels: the one place that writes -100."""

from collections.abc import Sequence

from tunesmith.data.tokenizer import Tokenizer, adds_bos
from tunesmith.data.types import MASKED, Example, Rendered, Span
from tunesmith.errors import DataError


def encode(rendered: Sequence[Rendered], tokenizer: Tokenizer) -> list[Example | DataError]:
    """Return one example for each rendered row, or the reason why it has none.

    Texts are tokenised in one batch, so that the tokenizer's threads are used. Lengths and truncation are the
    caller's business.
    """
    texts = [text for row in rendered for text in _texts(row)]
    if not texts:
        return [Example([], []) for _ in rendered]
    offsets = any(row.joint for row in rendered)
    batch = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=offsets)
    starts_with_bos = any(row.bos for row in rendered) and adds_bos(tokenizer)
    examples: list[Example | DataError] = []
    index = 0
    for row in rendered:
        count = len(_texts(row))
        ids = batch["input_ids"][index : index + count]
        if row.joint:
            places = batch["offset_mapping"][index] if count else []
            examples.append(_label_by_offsets(ids[0] if count else [], places, row.spans))
        else:
            examples.append(_label_by_span(ids, row, tokenizer, starts_with_bos))
        index += count
    _refuse_unservable(examples, rendered, tokenizer)
    return examples


def prompt_ids(rendered: Rendered, tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a row up to its first trained one, as inference feeds them."""
    prompt = rendered.prompt()
    example = encode([prompt], tokenizer)[0]
    if isinstance(example, DataError):
        raise example
    return example.input_ids


def _refuse_unservable(examples: list[Example | DataError], rendered: Sequence[Rendered], tokenizer: Tokenizer) -> None:
    """Put an error in place of each joint row whose prompt, tokenised alone, is not how the row's tokens begin."""
    joint = [
        index
        for index, row in enumerate(rendered)
        if row.joint and any(span.train for span in row.spans) and isinstance(examples[index], Example)
    ]
    prompts = ["".join(span.text for span in rendered[index].prompt().spans) for index in joint]
    served = tokenizer(prompts, add_special_tokens=False)["input_ids"] if joint else []
    for index, prompt, ids in zip(joint, prompts, served, strict=True):
        example = examples[index]
        if isinstance(example, Example) and example.input_ids[: len(ids)] != ids:
            examples[index] = DataError(
                f"a server's prompt, up to {prompt[-20:]!r}, becomes other tokens than in the training text; "
                "choose another `chat_template`"
            )


def _texts(row: Rendered) -> list[str]:
    """The texts to tokenise: all spans in one if they are joint."""
    if row.joint:
        return ["".join(span.text for span in row.spans)] if row.spans else []
    return [span.text for span in row.spans]


def _label_by_span(ids: list[list[int]], row: Rendered, tokenizer: Tokenizer, starts_with_bos: bool) -> Example:
    input_ids: list[int] = []
    labels: list[int] = []
    if row.bos and starts_with_bos:
        input_ids.append(tokenizer.bos_token_id)
        labels.append(tokenizer.bos_token_id if row.spans and row.spans[0].train else MASKED)
    for span, tokens in zip(row.spans, ids, strict=True):
        input_ids += tokens
        labels += tokens if span.train else [MASKED] * len(tokens)
    if row.eos and (not input_ids or input_ids[-1] != tokenizer.eos_token_id):
        input_ids.append(tokenizer.eos_token_id)
        labels.append(tokenizer.eos_token_id if row.spans and row.spans[-1].train else MASKED)
    return Example(input_ids, labels)


def _label_by_offsets(ids: list[int], places: list[tuple[int, int]], spans: tuple[Span, ...]) -> Example | DataError:
    """Label the tokens of a text that was tokenised in one go.

    A token belongs to the span in which it begins. Where it reaches from a prompt into an answer, no prompt could end
    there, so that the row cannot be served as it would be trained.
    """
    labels: list[int] = []
    ends: list[tuple[int, bool]] = []
    total = 0
    for span in spans:
        total += len(span.text)
        ends.append((total, span.train))
    current, last_end = 0, 0
    for token, (start, end) in zip(ids, places, strict=True):
        # A leading space may be left out of a token's offsets, and the pieces of one character share theirs.
        begin = min(start, last_end)
        while current < len(ends) - 1 and begin >= ends[current][0]:
            current += 1
        border, train = ends[current]
        if not train and end > border and current + 1 < len(ends):
            return DataError(
                f"a token spans the end of the prompt and the start of the answer, near character {border}"
            )
        labels.append(token if train else MASKED)
        last_end = max(last_end, end)
    return Example(ids, labels)
