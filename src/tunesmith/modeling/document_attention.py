"""Block-diagonal attention: tokens attend to their own document only, at the cost of each document's length squared.

transformers passes `cu_seq_lens_q`, the cumulative document lengths, from a model's `forward` to its attention. The
backward pass of torch's own attention is slow on a CPU. Here the scores of a block of queries are one matrix product
with the keys up to its end, and they are recomputed in the backward pass. The formulas and names are those of
FlashAttention (2205.14135, 2307.08691), with complete rows of scores instead of tiles.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from tunesmith.errors import ConfigError

BLOCK = 128
"""Queries whose scores are held at once: 64 to 256 are about as fast."""
ROUND = 32
"""Numbers of queries are rounded up to a multiple of this, numbers of keys to one of twice this."""


def document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return causal attention within each document, of shape (1, tokens, heads, head size), and no weights.

    Args:
        module: the model's attention layer.
        query: shape (1, heads, tokens, head size).
        key: shape (1, key-value heads, tokens, head size); `value` too.
        value: see `key`.
        attention_mask: None; the documents take its place.
        cu_seq_lens_q: cumulative document lengths from 0, shape (documents + 1,).
        dropout: probability at which an attention weight is dropped.
        scaling: factor of the scores; by default 1 / sqrt(head size).
        sliding_window: how many tokens a query attends to, itself included.
        kwargs: other arguments of transformers, which are applied before.

    Raises:
        ConfigError: the model uses logit softcapping or attention sinks, which only its own code computes.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ConfigError(
            f"{type(module).__name__} uses logit softcapping or attention sinks; set `attn_implementation: eager`"
        )
    cu_seqlens = cu_seq_lens_q.tolist()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout:
        return _with_dropout(query, key, value, cu_seqlens, dropout, scale, sliding_window), None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else value.dtype
    # Rotary embeddings in fp32 turn queries and keys into fp32.
    query, key, value = (states.to(dtype) for states in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        arguments = query[0], key[0], value[0], cu_seqlens, scale, sliding_window
        result: torch.Tensor = _DocumentAttention.apply(*arguments)  # type: ignore[no-untyped-call]
    return result[None], None


def _with_dropout(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: list[int],
    dropout: float,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """Return the same from torch's own attention, which has dropout."""
    outputs = []
    for start, end in pairwise(cu_seqlens):
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
        mask = (distance >= 0) & (distance < (window or len(distance)))
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, start:end],
                key[:, :, start:end],
                value[:, :, start:end],
                attn_mask=mask,
                dropout_p=dropout,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


class _Block(NamedTuple):
    """Queries `first` to `last` of the document that starts at `start`, in a row of `tokens`.

    Numbers of queries and keys are rounded up, and the mask hides the padding: oneDNN caches a primitive of half a
    megabyte for each shape of a product, and takes time to compile it.
    """

    start: int
    first: int
    last: int
    tokens: int
    window: int | None

    @property
    def queries(self) -> slice:
        """The queries in the row, padded to a round number."""
        start = self.start + self.first
        return slice(start, min(start + _round_up(self.last - self.first, ROUND), self.tokens))

    @property
    def valid_queries(self) -> slice:
        """The queries in the row, without padding."""
        return slice(self.start + self.first, self.start + self.last)

    @property
    def keys(self) -> slice:
        """The keys in the row to which a query attends, padded to a round number."""
        oldest = 0 if self.window is None else max(0, self.first - self.window + 1)
        start = self.start + oldest // BLOCK * BLOCK
        return slice(start, min(start + _round_up(self.start + self.last - start, 2 * ROUND), self.tokens))

    def mask_scores(self, scores: torch.Tensor, causal_mask: torch.Tensor) -> None:
        """Set `scores` (groups, queries, heads, keys) to -inf in place where a query does not attend to a key."""
        earlier = self.start + self.first - self.keys.start
        _, queries, _, keys = scores.shape
        scores[..., earlier:].add_(causal_mask[:queries, None, : keys - earlier])
        if self.window is not None and self.last > self.window:
            distance = torch.arange(queries)[:, None] + earlier - torch.arange(keys)
            scores.masked_fill_((distance >= self.window)[:, None], -math.inf)
        if queries > self.last - self.first:
            scores[:, self.last - self.first :] = -math.inf


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _causal_mask(like: torch.Tensor) -> torch.Tensor:
    """Return a mask for one block and its padding that adds -inf where a key comes after a query."""
    return torch.full((BLOCK, BLOCK + 2 * ROUND), -math.inf, dtype=like.dtype).triu_(1)


def _blocks(cu_seqlens: list[int], tokens: int, window: int | None) -> Iterator[_Block]:
    for start, end in pairwise(cu_seqlens):
        for first in range(0, end - start, BLOCK):
            yield _Block(start, first, min(first + BLOCK, end - start), tokens, window)


class _DocumentAttention(torch.autograd.Function):
    """Attention of `query` (heads, tokens, size) to `key` and `value` (key-value heads, tokens, size).

    Inside, queries have the shape (groups, tokens, heads per group, size), so those of a block are contiguous in each
    group. The result has the shape (tokens, heads, size). `lse` is the log-sum-exp of each row of scores.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        cu_seqlens: list[int],
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        heads, tokens, size = query.shape
        groups = key.shape[0]
        grouped = query.reshape(groups, -1, tokens, size).transpose(1, 2)
        query = torch.mul(grouped, scale, out=query.new_empty(grouped.shape))
        key, value = key.contiguous(), value.contiguous()
        output = torch.empty_like(query)
        row_max = query.new_empty(*query.shape[:-1], 1)
        row_sum = torch.empty_like(row_max, dtype=_accumulation_dtype(row_max))
        causal_mask = _causal_mask(query)
        for block in _blocks(cu_seqlens, tokens, window):
            count = block.last - block.first
            scores = _dot_products(query[:, block.queries], key[:, block.keys])
            block.mask_scores(scores, causal_mask)
            block_max = scores.amax(-1, keepdim=True)
            probs = scores.sub_(block_max).exp_()  # not normalized: `row_sum` divides the output
            row_max[:, block.valid_queries] = block_max[:, :count]
            row_sum[:, block.valid_queries] = probs.sum(-1, keepdim=True, dtype=row_sum.dtype)[:, :count]
            output[:, block.valid_queries] = _weighted_sums(probs, value[:, block.keys])[:, :count]
        output.div_(row_sum)
        lse = row_sum.log_().add_(row_max)
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.settings = cu_seqlens, scale, window
        return output.transpose(0, 1).reshape(tokens, heads, size)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, lse = ctx.saved_tensors
        cu_seqlens, scale, window = ctx.settings
        groups, tokens, heads, size = query.shape
        grad_output = grads[0].reshape(tokens, groups, -1, size).transpose(0, 1).contiguous()
        delta = (grad_output * output).sum(-1, keepdim=True, dtype=_accumulation_dtype(query))
        # `lse` and `delta` are subtracted inside the matrix products, so each difference is rounded only once.
        queries, grad_outputs = _with_offset(query, lse), _with_offset(grad_output, delta)
        keys, values = _with_ones(key), _with_ones(value)
        d_query = torch.empty_like(query)
        d_key, d_value = (torch.zeros(part.shape, dtype=_accumulation_dtype(part)) for part in (key, value))
        causal_mask = _causal_mask(query)
        for block in _blocks(cu_seqlens, tokens, window):
            scores = _dot_products(queries[:, block.queries], keys[:, block.keys])
            block.mask_scores(scores, causal_mask)
            probs = scores.exp_()
            d_scores = _dot_products(grad_outputs[:, block.queries], values[:, block.keys]).mul_(probs)
            d_value[:, block.keys].add_(_transposed_sums(probs, grad_output[:, block.queries]))
            d_key[:, block.keys].add_(_transposed_sums(d_scores, query[:, block.queries]))
            d_query[:, block.valid_queries] = _weighted_sums(d_scores, key[:, block.keys])[
                :, : block.last - block.first
            ]
        grad_query = torch.mul(d_query.transpose(0, 1), scale, out=query.new_empty(tokens, groups, heads, size))
        return grad_query.flatten(1, 2).transpose(0, 1), d_key.to(key.dtype), d_value.to(value.dtype), None, None, None


def _accumulation_dtype(states: torch.Tensor) -> torch.dtype:
    """Return the dtype in which sums are kept."""
    return torch.promote_types(states.dtype, torch.float32)


def _dot_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the dot products of (groups, queries, heads, size) and (groups, keys, size)."""
    return torch.bmm(left.flatten(1, 2), right.contiguous().transpose(1, 2)).view(*left.shape[:-1], -1)


def _weighted_sums(probs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums of values (groups, keys, size), weighted by probs (groups, queries, heads, keys)."""
    return torch.bmm(probs.flatten(1, 2), values).view(*probs.shape[:-1], -1)


def _transposed_sums(probs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return sums of (groups, queries, heads, size) over queries and heads, weighted by probs: (groups, keys, size)."""
    return torch.bmm(probs.flatten(1, 2).transpose(1, 2), values.flatten(1, 2))


def _with_offset(states: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Return states with two more columns whose sum is `-offset`: its value in their dtype and the rounding error."""
    high = offset.neg().to(states.dtype)
    return torch.cat((states, high, (-offset - high).to(states.dtype)), -1)


def _with_ones(states: torch.Tensor) -> torch.Tensor:
    return torch.cat((states, torch.ones(*states.shape[:-1], 2, dtype=states.dtype)), -1)
