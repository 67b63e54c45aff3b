"""What flows from a data file to the prepared dataset: Row -> Rendered (spans) -> Example (ids and labels)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

MASKED = -100
"""Label of a token that is not trained; `cross_entropy` ignores it."""


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


class Span(NamedTuple):
    """A piece of text that is either trained or only read by the model."""

    text: str
    train: bool


@dataclass(frozen=True)
class Rendered:
    """A row as text.

    Attributes:
        spans: the text in order.
        joint: tokenise the joined text in one go and label by character offsets (chat templates). Otherwise each span
            is tokenised alone, as it is at inference, where the prompt stands alone.
        bos: begin with the tokenizer's begin token, if it adds one itself.
        eos: end with the tokenizer's end token; trained if the last span is.
        cut: cut a long text into pieces of `sequence_len`, instead of treating it as too long.
    """

    spans: tuple[Span, ...]
    joint: bool = False
    bos: bool = False
    eos: bool = False
    cut: bool = False

    def prompt(self) -> "Rendered":
        """Return what comes before the first trained span: what inference feeds the model."""
        first = next((index for index, span in enumerate(self.spans) if span.train), len(self.spans))
        return Rendered(self.spans[:first], joint=self.joint, bos=self.bos)


class Example(NamedTuple):
    """Tokens and labels of equal length; a label is the token itself, or -100 where it is not trained."""

    input_ids: list[int]
    labels: list[int]
