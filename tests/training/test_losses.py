"""The loss of trained positions is that of transformers, with its gradient, in parts."""

from types import SimpleNamespace

import pytest
import torch

from tunesmith.data.types import MASKED
from tunesmith.training.losses import ROWS, TokenLoss


@pytest.mark.parametrize("positions", [1, ROWS, 2 * ROWS + 3])
@pytest.mark.parametrize("items", [None, 7])
def test_the_loss_is_the_sum_over_trained_positions_by_their_number(positions, items):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, positions, 11, generator=generator, requires_grad=True)
    targets = torch.randint(11, (1, positions), generator=generator)
    targets[0, 1::3] = MASKED
    plain = logits.detach().requires_grad_()
    expected = torch.nn.functional.cross_entropy(plain[0], targets[0], reduction="sum")
    expected = expected / (items or (targets != MASKED).sum())
    found = TokenLoss()(SimpleNamespace(logits=logits), targets, items)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    torch.testing.assert_close(logits.grad, plain.grad)


def test_nothing_trained_is_no_loss():
    logits = torch.randn(1, 4, 11, requires_grad=True)
    loss = TokenLoss()(SimpleNamespace(logits=logits), torch.full((1, 4), MASKED), 5)
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
