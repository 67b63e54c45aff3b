"""Marks that a text layout writes for another tokenizer, such as `</s>`: what stands for them with this one."""

import re
from collections.abc import Callable
from functools import lru_cache, partial

from tunesmith.data.tokenizer import Tokenizer, adds_bos

BEGINS = ("<s>", "<bos>")
"""Texts that start a conversation or a turn."""
ENDS = (
    *("</s>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_turn|>", "<|end|>"),
    *("<end_of_turn>", "<eoh>", "<eoa>", "<sep>"),
)
"""Texts that end a turn."""
_MARK = re.compile("|".join(map(re.escape, (*BEGINS, *ENDS))))


def marks_for(tokenizer: Tokenizer | None) -> Callable[[str], str]:
    """Return the function that fits the fixed text of a layout to a tokenizer.

    A mark that is no token of the vocabulary would be learned as characters, and no server would stop at it. An end
    mark becomes the EOS token, a begin mark the BOS token if the tokenizer adds one, else nothing.
    """
    return str if tokenizer is None else partial(fit_marks, tokenizer=tokenizer)


def fit_marks(text: str, tokenizer: Tokenizer) -> str:
    """Return the fixed text of a layout with the marks of this tokenizer; see `marks_for`."""
    for mark, own in replaced_marks(text, tokenizer).items():
        text = text.replace(mark, own) if own else re.sub(f"{re.escape(mark)} ?", "", text)
    return text


def replaced_marks(text: str, tokenizer: Tokenizer) -> dict[str, str]:
    """Return the marks in the fixed text of a layout that are not tokens, with what stands for them."""
    marks = {mark: _own(mark, tokenizer) for mark in dict.fromkeys(_MARK.findall(text))}
    return {mark: own for mark, own in marks.items() if own is not None and own != mark}


@lru_cache(maxsize=256)
def _own(mark: str, tokenizer: Tokenizer) -> str | None:
    """Return what stands for a mark; None if it is a token."""
    ids = tokenizer(f"x{mark}", add_special_tokens=False)["input_ids"]
    if tokenizer.get_vocab().get(mark) in ids[-1:]:
        return None
    if mark in ENDS:
        return tokenizer.eos_token or None
    return str(tokenizer.bos_token) if adds_bos(tokenizer) else ""
