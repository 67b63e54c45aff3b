"""Attention over documents that lie end to end in one row, at the cost of each document's own square.

transformers passes `cu_seq_lens_q`, where documents begin and end, from a model's `forward` to its attention. torch's
own attention is slow backwards on a CPU. Here the scores of a block of queries are one matrix product with the keys up
to its end, and backwards they are computed anew. The formulas are those of FlashAttention (2205.14135), with a whole
row of scores at a time in place of tiles.
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
        cu_seq_lens_q: where documents begin, and the end of the last, shape (documents + 1,).
        dropout: share of attention weights dropped.
        scaling: factor of the scores.
        sliding_window: how many tokens back a token sees, itself included.
        kwargs: what transformers passes besides, which has done its work before.

    Raises:
        ConfigError: the model wants scores that are bounded, or sinks, which only its own code computes.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ConfigError(f"{type(module).__name__} bounds its scores or has sinks; set `attn_implementation: eager`")
    borders = cu_seq_lens_q.tolist()
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout:
        return _with_dropout(query, key, value, borders, dropout, scale, sliding_window), None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else value.dtype
    # Positions in fp32 make fp32 of queries and keys.
    query, key, value = (states.to(dtype) for states in (query, key, value))
    with torch.autocast("cpu", enabled=False):
        arguments = query[0], key[0], value[0], borders, scale, sliding_window
        result: torch.Tensor = _DocumentAttention.apply(*arguments)  # type: ignore[no-untyped-call]
    return result[None], None


def _with_dropout(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: list[int],
    dropout: float,
    scale: float,
    window: int | None,
) -> torch.Tensor:
    """Return the same by torch's own attention, which drops weights."""
    outputs = []
    for start, end in pairwise(borders):
        ages = torch.arange(end - start)[:, None] - torch.arange(end - start)
        mask = (ages >= 0) & (ages < (window or len(ages)))
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
    """Queries `first` to `last` of the document that begins at `start`, in a row of `tokens`.

    Its shape is a round one: with queries and keys that do not count, which the mask hides. oneDNN keeps code for each
    shape of a product that it has seen, half a megabyte, and takes its time to make it.
    """

    start: int
    first: int
    last: int
    tokens: int
    window: int | None

    @property
    def queries(self) -> slice:
        """The queries in the row, and what rounds them up."""
        start = self.start + self.first
        return slice(start, min(start + _up(self.last - self.first, ROUND), self.tokens))

    @property
    def counted(self) -> slice:
        """The queries in the row."""
        return slice(self.start + self.first, self.start + self.last)

    @property
    def keys(self) -> slice:
        """The keys in the row that a query sees, and what rounds them up."""
        oldest = 0 if self.window is None else max(0, self.first - self.window + 1)
        start = self.start + oldest // BLOCK * BLOCK
        return slice(start, min(start + _up(self.start + self.last - start, 2 * ROUND), self.tokens))

    def hide(self, scores: torch.Tensor, later: torch.Tensor) -> None:
        """Add -inf in place to `scores` (groups, queries, heads, keys) where a query does not see a key."""
        earlier = self.start + self.first - self.keys.start
        _, queries, _, keys = scores.shape
        scores[..., earlier:].add_(later[:queries, None, : keys - earlier])
        if self.window is not None and self.last > self.window:
            ages = torch.arange(queries)[:, None] + earlier - torch.arange(keys)
            scores.masked_fill_((ages >= self.window)[:, None], -math.inf)
        if queries > self.last - self.first:
            scores[:, self.last - self.first :] = -math.inf


def _up(count: int, to: int) -> int:
    return -(-count // to) * to


def _later(like: torch.Tensor) -> torch.Tensor:
    """Return -inf where a key comes after a query, of those of a block and what rounds its keys up."""
    return torch.full((BLOCK, BLOCK + 2 * ROUND), -math.inf, dtype=like.dtype).triu_(1)


def _blocks(borders: list[int], tokens: int, window: int | None) -> Iterator[_Block]:
    for start, end in pairwise(borders):
        for first in range(0, end - start, BLOCK):
            yield _Block(start, first, min(first + BLOCK, end - start), tokens, window)


class _DocumentAttention(torch.autograd.Function):
    """Attention of `query` (heads, tokens, size) to `key` and `value` (key-value heads, tokens, size).

    Within, queries have the shape (groups, tokens, heads of a group, size), so that those of a block are one piece of
    memory for each group. The result has the shape (tokens, heads, size).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        borders: list[int],
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        heads, tokens, size = query.shape
        groups = key.shape[0]
        grouped = query.reshape(groups, -1, tokens, size).transpose(1, 2)
        query = torch.mul(grouped, scale, out=query.new_empty(grouped.shape))
        key, value = key.contiguous(), value.contiguous()
        output = torch.empty_like(query)
        highest = query.new_empty(*query.shape[:-1], 1)
        total = torch.empty_like(highest, dtype=_wide(highest))
        later = _later(query)
        for block in _blocks(borders, tokens, window):
            count = block.last - block.first
            scores = _products(query[:, block.queries], key[:, block.keys])
            block.hide(scores, later)
            largest = scores.amax(-1, keepdim=True)
            shares = scores.sub_(largest).exp_()
            highest[:, block.counted] = largest[:, :count]
            total[:, block.counted] = shares.sum(-1, keepdim=True, dtype=total.dtype)[:, :count]
            output[:, block.counted] = _sums(shares, value[:, block.keys])[:, :count]
        output.div_(total)
        weight = total.log_().add_(highest)
        ctx.save_for_backward(query, key, value, output, weight)
        ctx.settings = borders, scale, window
        return output.transpose(0, 1).reshape(tokens, heads, size)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, output, weight = ctx.saved_tensors
        borders, scale, window = ctx.settings
        groups, tokens, heads, size = query.shape
        grad = grads[0].reshape(tokens, groups, -1, size).transpose(0, 1).contiguous()
        inner = (grad * output).sum(-1, keepdim=True, dtype=_wide(query))
        # What is to be subtracted from each product is a part of the product, so that it is rounded only once.
        queries, grads_out = _with_offset(query, weight), _with_offset(grad, inner)
        keys, values = _with_ones(key), _with_ones(value)
        d_query = torch.empty_like(query)
        d_key, d_value = (torch.zeros(part.shape, dtype=_wide(part)) for part in (key, value))
        later = _later(query)
        for block in _blocks(borders, tokens, window):
            shares = _products(queries[:, block.queries], keys[:, block.keys])
            block.hide(shares, later)
            shares.exp_()
            d_scores = _products(grads_out[:, block.queries], values[:, block.keys]).mul_(shares)
            d_value[:, block.keys].add_(_transposed_sums(shares, grad[:, block.queries]))
            d_key[:, block.keys].add_(_transposed_sums(d_scores, query[:, block.queries]))
            d_query[:, block.counted] = _sums(d_scores, key[:, block.keys])[:, : block.last - block.first]
        grad_query = torch.mul(d_query.transpose(0, 1), scale, out=query.new_empty(tokens, groups, heads, size))
        return grad_query.flatten(1, 2).transpose(0, 1), d_key.to(key.dtype), d_value.to(value.dtype), None, None, None


def _wide(states: torch.Tensor) -> torch.dtype:
    """Return the format to add up in."""
    return torch.promote_types(states.dtype, torch.float32)


def _products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the products of (groups, queries, heads, size) and (groups, keys, size)."""
    return torch.bmm(left.flatten(1, 2), right.contiguous().transpose(1, 2)).view(*left.shape[:-1], -1)


def _sums(shares: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums of (groups, keys, size) by shares (groups, queries, heads, keys)."""
    return torch.bmm(shares.flatten(1, 2), values).view(*shares.shape[:-1], -1)


def _transposed_sums(shares: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums of (groups, queries, heads, size) by shares, over queries and heads: (groups, keys, size)."""
    return torch.bmm(shares.flatten(1, 2).transpose(1, 2), values.flatten(1, 2))


def _with_offset(states: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Return states with `-offset` beside them, as a number in their format and what that leaves over."""
    high = offset.neg().to(states.dtype)
    return torch.cat((states, high, (-offset - high).to(states.dtype)), -1)


def _with_ones(states: torch.Tensor) -> torch.Tensor:
    return torch.cat((states, torch.ones(*states.shape[:-1], 2, dtype=states.dtype)), -1)
