"""Old keys, and the keys that they stand for."""

from collections.abc import Callable
from typing import Any

ATTENTION_FLAGS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "xformers_attention": "sdpa",
    "eager_attention": "eager",
}
"""Old boolean keys -> the value of `attn_implementation` that `true` stands for."""


def _attention(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {"attn_implementation": ATTENTION_FLAGS[key]} if value is True else {}


def _streams(value: Any) -> list[Any]:
    """Return `pretraining_dataset` (a path, an entry or a list of them) as entries of `datasets`."""
    entries = value if isinstance(value, list) else [value]
    return [{"type": "pretrain", **(item if isinstance(item, dict) else {"path": item})} for item in entries]


RENAMED: dict[str, Callable[[Any], dict[str, Any]]] = {
    **{key: _attention(key) for key in ATTENTION_FLAGS},
    "evaluation_strategy": lambda value: {"eval_strategy": value},
    "wandb_run_name": lambda value: {"wandb_name": value},
    "noisy_embedding_alpha": lambda value: {"neftune_noise_alpha": value},
    "pretraining_dataset": lambda value: {"datasets": _streams(value)},
    "bfloat16": lambda value: {"bf16": "full"} if value is True else {},
}
"""Old key -> the keys that it stands for, as a function of its value."""

NO_EFFECT_PLUGINS = ("LigerPlugin", "CutCrossEntropyPlugin", "KernelsPlugin")
"""Classes in `plugins` that only make a GPU run faster."""
