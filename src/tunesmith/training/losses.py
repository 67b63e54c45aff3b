"""The loss of logits at trained positions: the mean over tokens, or weighted by how unsure the model is."""

from typing import Any

import torch

from tunesmith.data.types import MASKED

ROWS = 256
"""Positions whose logits are in fp32 at once."""


def adds_to_loss(model: Any) -> bool:
    """Return whether the model's `forward` adds something to the loss: a mixture of experts, for their balance."""
    return bool(model.config.to_dict().get("output_router_logits"))


class TokenLoss:
    """Cross-entropy whose gradient is computed with it, so that no more than `ROWS` rows of logits are in fp32."""

    def __call__(self, outputs: Any, targets: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the sum over trained tokens divided by the number of those of the whole step."""
        items = (targets != MASKED).sum() if num_items_in_batch is None else num_items_in_batch
        logits = outputs.logits.flatten(0, 1)
        loss: torch.Tensor = _CrossEntropy.apply(logits, targets.flatten(), items)  # type: ignore[no-untyped-call]
        return loss


class _CrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(logits)[target] over the targets that are not masked, divided by `items`."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, items: Any) -> torch.Tensor:
        gradient = torch.empty_like(logits)
        loss = torch.zeros((), dtype=torch.float32)
        for first in range(0, len(targets), ROWS):
            part = slice(first, first + ROWS)
            log_shares = logits[part].float()
            log_shares -= log_shares.logsumexp(-1, keepdim=True)
            trained = (targets[part, None] != MASKED).to(log_shares)
            target = targets[part, None].clamp(min=0)
            loss -= (log_shares.gather(1, target) * trained).sum()
            shares = log_shares.exp_().scatter_add_(1, target, -torch.ones_like(trained))
            gradient[part] = shares.mul_(trained / items)
        ctx.save_for_backward(gradient)
        return torch.as_tensor(loss / items)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0].to(gradient.dtype), None, None


class EntropyWeighted:
    """The loss of entropy-aware fine-tuning: a token counts by the entropy of the likeliest `k`, to the power alpha."""

    def __init__(self, alpha: float, k: int) -> None:
        """Set the exponent, and over how many tokens the entropy goes."""
        self.alpha, self.k = alpha, k

    def __call__(self, outputs: Any, targets: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the sum of the weighted losses divided by the number of trained tokens."""
        trained = targets != MASKED
        logits = outputs.logits[trained].float()
        with torch.no_grad():
            likeliest = logits.topk(min(self.k, logits.shape[-1])).values.log_softmax(-1)
            weights = (-(likeliest.exp() * likeliest).sum(-1)) ** self.alpha
        losses = torch.nn.functional.cross_entropy(logits, targets[trained], reduction="none") * weights
        items = trained.sum() if num_items_in_batch is None else num_items_in_batch
        return torch.as_tensor(losses.sum() / items)
