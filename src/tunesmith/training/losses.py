"""The loss of logits at trained positions: the mean over tokens, or weighted by how unsure the model is."""

from typing import Any, Protocol

import torch

from tunesmith.data.types import MASKED

AT_ONCE = 1 << 20
"""Logits that are in fp32 at once: 4 MiB, which stay in the cache."""


class ModelOutput(Protocol):
    """What a causal LM returns."""

    logits: torch.Tensor


class TokenLoss:
    """Cross-entropy whose gradient is computed with it, so that only a few rows of logits are in fp32."""

    def __call__(
        self, outputs: ModelOutput, targets: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the sum over trained tokens divided by the number of those of the whole step."""
        items = (targets != MASKED).sum() if num_items_in_batch is None else num_items_in_batch
        logits = outputs.logits.flatten(0, 1)
        loss: torch.Tensor = _CrossEntropy.apply(logits, targets.flatten(), items)  # type: ignore[no-untyped-call]
        return loss


class _CrossEntropy(torch.autograd.Function):
    """Sum of -log softmax(logits)[target] over the targets that are not masked, divided by `items`."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, items: torch.Tensor | int) -> torch.Tensor:
        gradient = torch.empty_like(logits)
        weight = ((targets != MASKED) / items)[:, None]
        targets = targets.clamp(min=0)[:, None]
        loss = torch.zeros((), dtype=torch.float32, device=logits.device)
        rows = max(1, AT_ONCE // logits.shape[-1])
        for first in range(0, len(targets), rows):
            part = slice(first, first + rows)
            shares = logits[part].float()
            shares -= shares.amax(-1, keepdim=True)
            log_share = shares.gather(1, targets[part])
            total = shares.exp_().sum(-1, keepdim=True)
            log_share -= total.log()
            loss -= (log_share * weight[part]).sum()
            torch.mul(shares, weight[part] / total, out=gradient[part])
            # Near 1, a share in bf16 would not tell how far from 1 it is.
            gradient[part].scatter_(1, targets[part], (log_share.expm1() * weight[part]).to(gradient.dtype))
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient if grads[0] == 1 else gradient * grads[0].to(gradient.dtype), None, None


class EntropyWeighted:
    """The loss of entropy-aware fine-tuning: a token counts by the entropy of the likeliest `k`, to the power alpha."""

    def __init__(self, alpha: float, k: int) -> None:
        """Set the exponent, and over how many tokens the entropy goes."""
        self.alpha, self.k = alpha, k

    def __call__(
        self, outputs: ModelOutput, targets: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the sum of the weighted losses divided by the number of trained tokens."""
        trained = targets != MASKED
        logits = outputs.logits[trained].float()
        with torch.no_grad():
            likeliest = logits.topk(min(self.k, logits.shape[-1])).values.log_softmax(-1)
            weights = (-(likeliest.exp() * likeliest).sum(-1)) ** self.alpha
        losses = torch.nn.functional.cross_entropy(logits, targets[trained], reduction="none") * weights
        items = trained.sum() if num_items_in_batch is None else num_items_in_batch
        return torch.as_tensor(losses.sum() / items)
