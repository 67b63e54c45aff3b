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


def show_parting(
    first_tokens: tuple[str, Sequence[int]], second_tokens: tuple[str, Sequence[int]], tokenizer: Tokenizer
) -> str:
    """Return two named lists of tokens in a line each, from shortly before they part, and a caret where they do.

    Secrets and addresses are blotted out.
    """
    index = first_difference(first_tokens[1], second_tokens[1])
    start = max(0, index - BEFORE)
    width = max(len(first_tokens[0]), len(second_tokens[0])) + 1
    lines, column = [], 0
    for name, ids in (first_tokens, second_tokens):
        pieces = [f"`{piece}`" for piece in _pieces(ids, index, tokenizer)[start - max(0, index - FAR) :]]
        head = " ".join([f"    {name + ':':<{width}}", *(["..."] if start else []), *pieces[: index - start]])
        differs = f"{pieces[index - start]}({ids[index]})" if index < len(ids) else "(end)"
        lines.append(" ".join([head, differs, *pieces[index - start + 1 : index - start + 1 + AFTER]]))
        column = cell_len(head) + 1
    return "\n".join([*lines, " " * column + "^"])


def _pieces(ids: Sequence[int], index: int, tokenizer: Tokenizer) -> list[str]:
    """Return the tokens around `index` as the vocabulary writes them, or dots for what belongs to a secret."""
    window = list(ids[max(0, index - FAR) : index + FAR])
    names = tokenizer.convert_ids_to_tokens(window)
    texts = [str(tokenizer.decode([token])) for token in window]
    return [
        masked_text if masked_text != text else str(name).replace("\n", "\\n")
        for name, text, masked_text in zip(names, texts, mask_pieces(texts), strict=True)
    ]
