"""Attention over documents laid end to end is the attention of each of them alone."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tunesmith.modeling.attention import document_attention

BORDERS = [0, 5, 6, 17, 24]


def tensors(heads=4, key_heads=4, tokens=24, size=8):
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, tokens, size), (1, key_heads, tokens, size), (1, key_heads, tokens, size)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def alone(query, key, value, *, window=None, scale=None):
    """Plain attention of each document, with every mask and every head written out."""
    outputs = []
    for start, end in pairwise(BORDERS):
        q, k, v = (part[:, :, start:end] for part in (query, key, value))
        k, v = (part.repeat_interleave(query.shape[1] // key.shape[1], dim=1) for part in (k, v))
        place = torch.arange(end - start)
        distance = place[:, None] - place[None, :]
        mask = (distance >= 0) & (distance < (window or 1000))
        outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
    return torch.cat(outputs, dim=2).transpose(1, 2)


@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("window", [None, 1, 4, 11, 100])
def test_documents_attend_as_if_alone_forwards_and_backwards(key_heads, window):
    ours, plain = tensors(key_heads=key_heads), tensors(key_heads=key_heads)
    output, weights = document_attention(
        None, *ours, None, cu_seq_lens_q=torch.tensor(BORDERS), sliding_window=window, scaling=0.3
    )
    expected = alone(*plain, window=window, scale=0.3)
    assert weights is None
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_dropout_changes_the_output():
    query, key, value = tensors()
    arguments = {"cu_seq_lens_q": torch.tensor(BORDERS)}
    without, _ = document_attention(None, query, key, value, None, **arguments)
    with_dropout, _ = document_attention(None, query, key, value, None, **arguments, dropout=0.5)
    assert not torch.allclose(without, with_dropout)
