"""What flows from a data file to the prepared dataset: Row -> Rendered (segments) -> Example (ids and labels)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

MASKED = -100
"""Label of a token that is not trained; `cross_entropy` ignores it."""


SPLIT_INDEX_COLUMN = "border"
"""Column of prepared preference data with `Example.split_index`; renaming it would make all prepared data anew."""


class Row(NamedTuple):
    """One row of a data source, with the place that a message can name."""

    file: str
    number: int
    values: dict[str, Any]


class BadRow(NamedTuple):
    """A row that cannot be used, and why."""

    file: str
    number: int
    reason: str


class Segment(NamedTuple):
    """A piece of a rendered row that is in the loss or not.

    Attributes:
        text: the piece.
        train: whether its tokens are in the loss.
        header: a start of `text` that is masked, such as a role's name: as many tokens as it has alone.
        eos_count: EOS tokens that follow the text, in the loss if it is.
        masked: a masked range of an answer; a token that reaches into it is masked too.
        label: label of its last token instead of the token itself, for rewards of a step.
        token_ids: its tokens, where they are not those of `text`: ready tokens, or the placeholders of an image.
    """

    text: str
    train: bool
    header: str = ""
    eos_count: int = 0
    masked: bool = False
    label: int | None = None
    token_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Rendered:
    """A row as text.

    Attributes:
        segments: the text in order.
        tokenize_whole: tokenize the concatenated text once, and label by character offsets (chat templates). Otherwise
            each segment is tokenized alone, as at inference, where the prompt stands alone.
        bos: start with the BOS token: never, if the tokenizer adds one itself, or always.
        overflow: what happens to a text over `sequence_len`: nothing (it is too long), chunks, or windows that overlap
            and each have an EOS token, as in Axolotl's pretraining.
        prompt_ends: of a text that is tokenized as a whole, the characters at which a server's prompts end.
    """

    segments: tuple[Segment, ...]
    tokenize_whole: bool = False
    bos: Literal["never", "own", "always"] = "never"
    overflow: Literal["", "chunks", "windows"] = ""
    prompt_ends: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The whole text, without the tokens that the tokenizer adds."""
        return "".join(segment.text for segment in self.segments)

    def prompt(self, *, last: bool = False) -> "Rendered":
        """Return what comes before the first segment in the loss (or the last one): what inference feeds the model."""
        trained = [index for index, segment in enumerate(self.segments) if segment.train]
        if not trained:
            return Rendered(self.segments, self.tokenize_whole, self.bos)
        end = trained[-1] if last else trained[0]
        header = self.segments[end].header
        segments = (*self.segments[:end], *([Segment(header, False)] if header else []))
        return Rendered(segments, self.tokenize_whole, self.bos)


class Example(NamedTuple):
    """A row as the model meets it.

    Attributes:
        input_ids: token ids, shape (tokens,); empty for preference rows.
        labels: for each token the token itself where it is trained, else -100; shape (tokens,).
        text: the text of the tokens, as rendered.
        prompt: preference rows, and rows of prompt and completion: the text that is fed.
        chosen: preference rows: the better answer.
        rejected: preference rows: the worse answer.
        completion: rows of prompt and completion: the answer.
        label: KTO: whether the completion is a good one.
        split_index: preference rows as tokens: where the chosen sample, prompt included, ends.
    """

    input_ids: list[int]
    labels: list[int]
    text: str = ""
    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    completion: str | None = None
    label: bool | None = None
    split_index: int | None = None

    @property
    def documents(self) -> list["Example"]:
        """The example itself; of a preference row the chosen and the rejected sample, of which kto's rows lack one."""
        if self.split_index is None:
            return [self]
        chosen, rejected = slice(self.split_index), slice(self.split_index, None)
        return [
            Example(self.input_ids[part], self.labels[part], label=part is chosen)
            for part in (chosen, rejected)
            if self.input_ids[part]
        ]
