"""What flows from a data file to the prepared dataset: Row -> Rendered (spans) -> Example (ids and labels)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
    """A piece of text that is either trained or only read by the model.

    Attributes:
        text: the piece.
        train: whether its tokens are trained.
        head: a beginning of `text` that is not trained, such as a role's name: as many tokens as it has alone.
        ends: end tokens that follow the text, trained as it is.
        hole: a part of an answer that is not trained; a token that reaches into it is not trained either.
        value: label of its last token, for rewards of a step, in place of the token itself.
    """

    text: str
    train: bool
    head: str = ""
    ends: int = 0
    hole: bool = False
    value: int | None = None


@dataclass(frozen=True)
class Rendered:
    """A row as text.

    Attributes:
        spans: the text in order.
        joint: tokenise the joined text in one go and label by character offsets (chat templates). Otherwise each span
            is tokenised alone, as it is at inference, where the prompt stands alone.
        bos: begin with the tokenizer's begin token: never, if the tokenizer adds one itself, or always.
        cut: how a text over `sequence_len` is cut: not at all (it is too long), into pieces, or into windows that
            overlap and each have an end token, as Axolotl's pretraining has them.
        prompts: of a joint text, the characters at which a server's prompts end.
    """

    spans: tuple[Span, ...]
    joint: bool = False
    bos: Literal["never", "own", "always"] = "never"
    cut: Literal["", "pieces", "windows"] = ""
    prompts: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The whole text, without the tokens that the tokenizer adds."""
        return "".join(span.text for span in self.spans)

    def prompt(self, *, last: bool = False) -> "Rendered":
        """Return what comes before the first trained span (or the last one): what inference feeds the model."""
        trained = [index for index, span in enumerate(self.spans) if span.train]
        end = (trained[-1] if last else trained[0]) if trained else len(self.spans)
        head = self.spans[end].head if trained else ""
        spans = (*self.spans[:end], *([Span(head, False)] if head else []))
        return Rendered(spans, joint=self.joint, bos=self.bos)


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
        border: preference rows as tokens: where those of the good answer, prompt included, end and the bad one's begin.
    """

    input_ids: list[int]
    labels: list[int]
    text: str = ""
    prompt: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    completion: str | None = None
    label: bool | None = None
    border: int | None = None

    @property
    def documents(self) -> list["Example"]:
        """The example itself; of a preference row the good answer and the bad one, of which kto's rows lack one."""
        if self.border is None:
            return [self]
        good, bad = slice(self.border), slice(self.border, None)
        return [
            Example(self.input_ids[part], self.labels[part], label=part is good)
            for part in (good, bad)
            if self.input_ids[part]
        ]
