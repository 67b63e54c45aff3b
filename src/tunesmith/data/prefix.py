"""The prefix rule: what a server feeds must be how the training sample starts, as text and as token ids.

Rendering and `check` ask here. Where a prompt must also end where training begins (the joint rows of `tokenize`,
`--parity`) the ids must be the same, and where a prompt is held against an earlier one (the manifest) as well.
"""

from collections.abc import Sequence
from typing import Any

CHOOSE_OTHER = ". Choose another `chat_template`; trl has some made for training, such as trl:qwen3_training"


def prompt_is_prefix(prompt: Sequence[Any], sample: Sequence[Any]) -> bool:
    """Return whether a training sample starts with a prompt; both are texts, or both are lists of token ids."""
    return sample[: len(prompt)] == prompt


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return the index at which two texts, or two lists of tokens, are no longer the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def describe_difference(prompt: str, sample: str) -> str:
    """Return in words where a prompt and the text of a training sample differ."""
    index = first_difference(prompt, sample)
    return (
        f"after {prompt[max(0, index - 30) : index]!r} it has {prompt[index : index + 30]!r}, "
        f"the training text {sample[index : index + 30]!r}"
    )
