"""The debug view: every token as `text(label, id)`, masked ones red, trained ones green."""

from collections.abc import Sequence

from rich.text import Text

from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import MASKED


def token_view(
    input_ids: Sequence[int], labels: Sequence[int], tokenizer: Tokenizer, *, text_only: bool = False
) -> Text:
    """Return the tokens of a sample as coloured text.

    Args:
        input_ids: token ids, shape (tokens,).
        labels: label of each token, -100 where it is not trained, shape (tokens,).
        tokenizer: decodes each id alone.
        text_only: leave out labels, ids and the spaces between tokens.
    """
    view = Text()
    for token, label in zip(input_ids, labels, strict=True):
        text = tokenizer.decode([token])
        style = "red" if label == MASKED else "green"
        if text_only:
            view.append(text, style)
        else:
            view.append(" " if view else "")
            view.append(text.replace("\n", "\\n"), style)
            view.append(f"({label}, {token})", f"{style} dim")
    return view
