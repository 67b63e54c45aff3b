"""Refuses rows that are longer than the positions of a model, which is known before the first step."""

from typing import TYPE_CHECKING

import torch

from tunesmith.errors import ConfigError
from tunesmith.modeling.probe import evaluating

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM

NAMES = ("max_position_embeddings", "max_seq_len")
"""Settings of a model's config with the number of its positions."""


def check_positions(model: "CausalLM", tokens: int, key: str, dtype: torch.dtype = torch.float32) -> str | None:
    """Return a note if rows of `tokens` are longer than those that the model was made for.

    Args:
        model: the loaded model, on the device where it computes.
        tokens: the most that a row may have.
        key: the key of the config that allows so many.
        dtype: dtype of the products.

    Raises:
        ConfigError: the model can't compute so many, such as with learned positions.
    """
    config = model.config.get_text_config()
    positions = next((value for name in NAMES if isinstance(value := getattr(config, name, None), int)), None)
    if positions is None or tokens <= positions:
        return None
    rope = getattr(config, "rope_parameters", None)
    is_rotary = any(name.endswith("inv_freq") for name, _ in model.named_buffers())  # computed for any position
    if not is_rotary and not _computes(model, positions + 1, dtype):
        raise ConfigError(
            f"`{key}: {tokens}`: the model has {positions:,} positions and can't compute more; set `{key}: {positions}`"
        )
    kind = (rope or {}).get("rope_type", "default") if isinstance(rope, dict) else "default"
    scaling = "" if kind == "default" else f"; RoPE scaling {kind} is set"
    return f"note: `{key}: {tokens}` is beyond the {positions:,} positions of the model's config{scaling}"


def _computes(model: "CausalLM", tokens: int, dtype: torch.dtype) -> bool:
    input_ids = torch.zeros((1, tokens), dtype=torch.long, device=model.device)
    with evaluating(model, dtype):
        try:
            model(input_ids=input_ids, use_cache=False)
        except (IndexError, RuntimeError, ValueError):
            return False
    return True
