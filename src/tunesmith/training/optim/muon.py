"""Muon for the matrices inside the model, AdamW for the rest, as one optimizer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from tunesmith.training.optim.optimizers import embedding_weights

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


def make_muon() -> Callable[..., "MuonAndAdamW"]:
    """Return what makes the optimizer of a model, as the Trainer wants it."""
    return _of_model


def _of_model(
    model: "CausalLM",
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.95, 0.95),
    eps: float = 1e-8,
    **muon: Any,
) -> "MuonAndAdamW":
    outside = set(embedding_weights(model))
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in parameters if weight.ndim == 2 and weight not in outside]
    tables = [weight for weight in parameters if weight.ndim > 2 or weight in outside]
    vectors = [weight for weight in parameters if weight.ndim < 2 and weight not in outside]
    return MuonAndAdamW(
        # Scaled to the size of AdamW's steps, so that one learning rate suits both.
        torch.optim.Muon([{"params": matrices}], lr, weight_decay, adjust_lr_fn="match_rms_adamw", **muon),
        torch.optim.AdamW(
            [{"params": tables, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr,
            betas,
            eps,
        ),
    )


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimizers that step as one, with one list of groups and one state."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        """Join `parts`, which have no weight in common."""
        self.parts = parts
        super().__init__([{**group, "part": n} for n, part in enumerate(parts) for group in part.param_groups], {})

    def step(self, closure: Any = None) -> Any:
        """Do one step of each part."""
        loss = None if closure is None else closure()
        for number, part in enumerate(self.parts):
            part.state = self.state
            part.param_groups = [group for group in self.param_groups if group["part"] == number]
            part.step()
        return loss
