"""The key `mask`: the one place that chooses between what a server needs and what Axolotl does."""

from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.data import axolotl, tokenize
from tunesmith.data.axolotl import preference, trl
from tunesmith.data.axolotl.tokens import encode as axolotl_encode
from tunesmith.data.formats import find_format
from tunesmith.data.formats.answers import answers
from tunesmith.data.formats.conversation import Conversation
from tunesmith.data.formats.dialogue import DIALOGUE_TYPES
from tunesmith.data.formats.messages import Turn
from tunesmith.data.formats.preference import preference_example
from tunesmith.data.formats.prompt_completion import prompt_and_completion as served_texts
from tunesmith.data.formats.prompt_completion import turns_of_pair as served_turns
from tunesmith.data.formats.sharegpt import SHAREGPT_TYPES
from tunesmith.data.formats.spec import Format, FormatSpec, Mask
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
    if spec.preferences:
        return preference.answers if spec.mask == "axolotl" else answers
    if spec.mask == "axolotl" and spec.dataset.kind in axolotl.FORMATS:
        return axolotl.FORMATS[spec.dataset.kind]
    return find_format(spec.dataset.kind, source)


def preference_example_of(mask: Mask) -> Callable[..., Example]:
    """Return the function that reads the texts of a preference row."""
    return preference.preference_example if mask == "axolotl" else preference_example


def turns_of_pair(values: dict[str, Any], spec: FormatSpec) -> tuple[list[Turn], int]:
    """Return all turns of a row of prompt and completion, and the index of the first one of its completion."""
    read = trl.turns_of_pair if spec.mask == "axolotl" else served_turns
    return read(values, spec)


def prompt_and_completion(values: dict[str, Any], spec: FormatSpec) -> tuple[str, str]:
    """Return the two texts of a row, as TRL gives them: the prompt that is fed, and what follows it."""
    read = trl.prompt_and_completion if spec.mask == "axolotl" else served_texts
    return read(values, spec)


def encode(
    rendered: Sequence[Rendered | Example], tokenizer: Tokenizer, spec: FormatSpec
) -> list[list[Example] | DataError]:
    """Return the examples of each rendered row of a dataset, or the reason why it has none."""
    encode_rows = axolotl_encode if spec.mask == "axolotl" else tokenize.encode
    return encode_rows(rendered, tokenizer, sequence_len=spec.sequence_len)
