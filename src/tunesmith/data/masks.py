"""The key `mask`: the one place that chooses between what a server needs and what Axolotl does."""

from collections.abc import Sequence

from tunesmith.data import axolotl, tokenize
from tunesmith.data.axolotl.tokens import encode as axolotl_encode
from tunesmith.data.formats import find_format
from tunesmith.data.formats.conversation import Conversation
from tunesmith.data.formats.dialogue import DIALOGUE_TYPES
from tunesmith.data.formats.sharegpt import SHAREGPT_TYPES
from tunesmith.data.formats.spec import Format, FormatSpec
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError

CONVERSATIONS: dict[str, Conversation] = SHAREGPT_TYPES | DIALOGUE_TYPES
"""Types that lay out a conversation without a chat template."""


def conversation_of(spec: FormatSpec) -> Conversation:
    """Return how the rows of a dataset in `CONVERSATIONS` are read and rendered."""
    return (axolotl.CONVERSATIONS if spec.mask == "axolotl" else CONVERSATIONS)[spec.dataset.kind]


def format_of(spec: FormatSpec, source: str) -> Format:
    """Return the function that renders the rows of a dataset.

    Raises:
        ConfigError: its type is unknown.
    """
    if spec.answers:
        return spec.answers
    if spec.mask == "axolotl" and spec.dataset.kind in axolotl.FORMATS:
        return axolotl.FORMATS[spec.dataset.kind]
    return find_format(spec.dataset.kind, source)


def encode(
    rendered: Sequence[Rendered | Example], tokenizer: Tokenizer, spec: FormatSpec
) -> list[list[Example] | DataError]:
    """Return the examples of each rendered row of a dataset, or the reason why it has none."""
    encode_rows = axolotl_encode if spec.mask == "axolotl" else tokenize.encode
    return encode_rows(rendered, tokenizer, sequence_len=spec.sequence_len)
