"""The loss of trained positions is that of transformers, with its gradient, in parts."""

from types import SimpleNamespace

import pytest
import torch

from tunesmith.data.types import MASKED
from tunesmith.training import losses
from tunesmith.training.losses import TokenLoss


@pytest.mark.parametrize("positions", [1, 4, 11])
@pytest.mark.parametrize("items", [None, 7])
def test_the_loss_is_the_sum_over_trained_positions_by_their_number(positions, items, monkeypatch):
    monkeypatch.setattr(losses, "AT_ONCE", 4 * 11)  # four rows
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


def test_in_bf16_the_gradient_of_a_sure_target_keeps_its_digits():
    logits = torch.zeros(1, 1, 11)
    logits[0, 0, 3] = 8
    logits = logits.bfloat16().requires_grad_()
    wide = logits.detach().float().requires_grad_()
    TokenLoss()(SimpleNamespace(logits=logits), torch.tensor([[3]])).backward()
    torch.nn.functional.cross_entropy(wide[0], torch.tensor([3])).backward()
    torch.testing.assert_close(logits.grad.float(), wide.grad, rtol=2**-8, atol=0)
