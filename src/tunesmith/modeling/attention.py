"""Attention over documents that lie end to end in one row, at the cost of each document's own square.

Registered with transformers' `AttentionInterface`, so that no model is changed. `cu_seq_lens_q`, which transformers
passes from a model's `forward` to its attention, says where the documents begin and end.
"""

from itertools import pairwise
from typing import Any

from tunesmith.errors import ConfigError

DOCUMENTS = "tunesmith_documents"
"""Name for `attn_implementation`."""


def register_document_attention() -> None:
    """Make `DOCUMENTS` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(DOCUMENTS, document_attention)


def document_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    cu_seq_lens_q: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    """Return causal attention within each document, of shape (1, tokens, heads, head size), and no weights.

    Args:
        module: the model's attention layer.
        query: shape (1, heads, tokens, head size).
        key: shape (1, key-value heads, tokens, head size); `value` too.
        value: see `key`.
        attention_mask: None; the documents take its place.
        cu_seq_lens_q: where documents begin, and the end of the last, shape (documents + 1,).
        dropout: share of attention weights dropped.
        scaling: factor of the scores.
        sliding_window: how many tokens back a token sees, itself included.
        kwargs: what transformers passes besides, which has done its work before.

    Raises:
        ConfigError: the model wants scores that are bounded, or sinks, which only its own code computes.
    """
    import torch

    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ConfigError(f"{type(module).__name__} bounds its scores or has sinks; set `attn_implementation: eager`")
    outputs = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        window = _window(end - start, sliding_window, query.device)
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, start:end],
                value[:, :, start:end],
                attn_mask=window,
                is_causal=window is None,
                dropout_p=dropout,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _window(tokens: int, size: int | None, device: Any) -> Any:
    """Return the mask of a sliding window of `size` tokens, or None where plain causal attention is the same."""
    import torch

    if size is None or tokens <= size:
        return None
    band = torch.ones(tokens, tokens, dtype=torch.bool, device=device)
    return band.tril() & band.triu(1 - size)
