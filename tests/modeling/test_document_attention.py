"""Attention over documents laid end to end is the attention of each of them alone."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tunesmith.modeling import document_attention as module
from tunesmith.modeling.document_attention import document_attention

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


@pytest.mark.parametrize("window", [None, 300])
def test_long_documents_attend_as_if_alone(window, monkeypatch):
    """Over several blocks of queries, with and without keys that are too old."""
    monkeypatch.setitem(globals(), "BORDERS", [0, 131, 700])
    ours, plain = tensors(key_heads=2, tokens=700), tensors(key_heads=2, tokens=700)
    output, _ = document_attention(None, *ours, None, cu_seq_lens_q=torch.tensor(BORDERS), sliding_window=window)
    expected = alone(*plain, window=window)
    torch.testing.assert_close(output, expected)
    output.square().sum().backward()
    expected.square().sum().backward()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_cost_is_the_square_of_each_document_not_of_the_row(monkeypatch):
    """Counted in scores: eight documents of 128 tokens take an eighth of the scores of one of 1,024, and a half."""
    counted = []
    products = module._dot_products
    monkeypatch.setattr(
        module, "_dot_products", lambda left, right: counted.append(products(left, right)) or counted[-1]
    )

    def scores(borders):
        counted.clear()
        row = [torch.randn(1, 2, 1024, 8) for _ in range(3)]
        document_attention(None, *row, None, cu_seq_lens_q=torch.tensor(borders))
        return sum(part.numel() for part in counted)

    assert scores(range(0, 1025, 128)) == 2 * 8 * 128 * 128
    assert scores([0, 1024]) == 2 * 128 * sum(range(128, 1025, 128))


def test_shapes_are_rounded_so_that_there_are_few():
    blocks = [block for size in range(1, 400) for block in module._blocks([0, size], 512, None)]
    shapes = {(block.queries.stop - block.queries.start, block.keys.stop - block.keys.start) for block in blocks}
    assert len(shapes) <= 4 * 7


def test_states_of_several_formats_are_computed_in_that_of_autocast():
    """With weights in fp32, positions make fp32 of queries and keys, and autocast bf16 of values."""
    query, key, value = (part.detach() for part in tensors())
    expected = alone(query, key, value)
    mixed = query.float().requires_grad_(), key.float(), value.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = document_attention(None, *mixed, None, cu_seq_lens_q=torch.tensor(BORDERS))
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.double(), expected, rtol=0.05, atol=0.05)
    output.float().sum().backward()
    assert mixed[0].grad.dtype == torch.float32
