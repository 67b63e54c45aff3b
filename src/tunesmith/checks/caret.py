"""Where two lists of tokens part, shown with a few tokens before it and a caret under the first that differs."""

from collections.abc import Sequence

from rich.cells import cell_len

from tunesmith.checks.text import mask_pieces
from tunesmith.data.prefix import first_difference
from tunesmith.data.tokenizer import Tokenizer

BEFORE, AFTER = 4, 2
"""Tokens shown before the first one that differs, and after it."""
FAR = 40
"""Tokens around it in which a secret would be seen whole."""


def show_parting(left: tuple[str, Sequence[int]], right: tuple[str, Sequence[int]], tokenizer: Tokenizer) -> str:
    """Return two named lists of tokens in a line each, from shortly before they part, and a caret where they do.

    Secrets and addresses are blotted out.
    """
    place = first_difference(left[1], right[1])
    first = max(0, place - BEFORE)
    width = max(len(left[0]), len(right[0])) + 1
    lines, column = [], 0
    for name, ids in (left, right):
        pieces = [f"`{piece}`" for piece in _pieces(ids, place, tokenizer)[first - max(0, place - FAR) :]]
        head = " ".join([f"    {name + ':':<{width}}", *(["..."] if first else []), *pieces[: place - first]])
        differs = f"{pieces[place - first]}({ids[place]})" if place < len(ids) else "(end)"
        lines.append(" ".join([head, differs, *pieces[place - first + 1 : place - first + 1 + AFTER]]))
        column = cell_len(head) + 1
    return "\n".join([*lines, " " * column + "^"])


def _pieces(ids: Sequence[int], place: int, tokenizer: Tokenizer) -> list[str]:
    """Return the tokens around `place` as the vocabulary writes them, or dots for what belongs to a secret."""
    window = list(ids[max(0, place - FAR) : place + FAR])
    names = tokenizer.convert_ids_to_tokens(window)
    texts = [str(tokenizer.decode([token])) for token in window]
    return [
        shown if shown != text else str(name).replace("\n", "\\n")
        for name, text, shown in zip(names, texts, mask_pieces(texts), strict=True)
    ]
