"""The load-balancing loss of a mixture of experts, over all tokens of an optimizer step.

A model's `forward` computes it from one batch: for each expert the share of the tokens that it gets, times its mean
probability (Switch Transformer, 2101.03961). The mean of that over batches is not the loss of all their tokens, so it
depends on how a step is cut into batches. Here the shares are counted over the whole step first, without gradient
(2501.11873); the rest is a sum over tokens.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from tunesmith.data.types import MASKED
from tunesmith.errors import ConfigError
from tunesmith.training.collate import Batch

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM

COEFFICIENTS = ("router_aux_loss_coef", "aux_loss_coef")
"""Names that models give the weight of the loss."""


def adds_router_loss(model: "CausalLM") -> bool:
    """Return whether the model's `forward` adds a load-balancing loss."""
    return bool(model.config.to_dict().get("output_router_logits"))


class RouterLoss:
    """The loss of tokens plus the load-balancing loss: of each batch its part in the loss of the step."""

    def __init__(self, model: "CausalLM", token_loss: Callable[..., torch.Tensor]) -> None:
        """Read the weight of the loss, and how many experts a token has, from the model."""
        base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.name = type(base).__name__
        self.token_loss = token_loss
        self.coefficient: Any = next((getattr(base, name) for name in COEFFICIENTS if hasattr(base, name)), None)
        self.top_k = getattr(base, "num_experts_per_tok", getattr(base.config, "num_experts_per_tok", None))
        self.counts: torch.Tensor | None = None
        self.is_checked = False

    def __call__(
        self, outputs: Any, targets: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the part of a batch in the loss of the step."""
        loss = self.token_loss(outputs, targets, num_items_in_batch)
        if not is_trained(targets):
            return loss
        counts = self.count(outputs) if self.counts is None else self.counts
        return torch.add(loss, _balance(outputs, counts), alpha=self.coefficient)

    def measure(self, model: Callable[..., Any], batches: list[Batch]) -> torch.Tensor:
        """Return the counts of batches, as in `count`; one that trains nothing has none."""
        counts = []
        for batch in batches:
            inputs = {key: value for key, value in batch.items() if key not in ("labels", "shift_labels")}
            counts.append(self.count(model(**inputs)) * is_trained(batch["shift_labels"]))
        return torch.stack(counts).sum(0)

    def count(self, outputs: Any) -> torch.Tensor:
        """Return how many tokens of all layers each expert gets, and last the number of these tokens.

        Raises:
            ConfigError: the model computes another load-balancing loss.
        """
        if self.coefficient is None or self.top_k is None:
            raise self._refusal()
        experts = outputs.router_logits[0].shape[-1]
        chosen = [logits.softmax(-1).topk(self.top_k).indices.flatten() for logits in outputs.router_logits]
        counts = sum(torch.bincount(part, minlength=experts).to(chosen[0].device) for part in chosen)
        routed = sum(len(logits) for logits in outputs.router_logits)
        result = torch.cat((torch.as_tensor(counts), torch.tensor([routed], device=chosen[0].device))).float()
        if not self.is_checked:
            tolerance = 1e-3 if outputs.router_logits[0].dtype == torch.float32 else 2e-2
            expected = torch.as_tensor(outputs.aux_loss).float()
            if not torch.allclose(_balance(outputs, result).detach(), expected.detach(), rtol=tolerance):
                raise self._refusal()
            self.is_checked = True
        return result

    def _refusal(self) -> ConfigError:
        return ConfigError(
            f"the auxiliary loss of {self.name} would depend on how a step is cut into batches; set "
            "`overrides_of_model_config: {output_router_logits: false}` to train without it"
        )


def is_trained(targets: torch.Tensor) -> bool:
    """Return whether any position is in the loss."""
    return bool((targets != MASKED).any())


def _balance(outputs: Any, counts: torch.Tensor) -> torch.Tensor:
    """Return the part of a batch in the load-balancing loss of a step with these counts."""
    probs = sum(logits.float().softmax(-1).sum(0).to(counts.device) for logits in outputs.router_logits)
    shares, routed = counts[:-1] / counts[-1], counts[-1]
    return len(shares) * (shares * torch.as_tensor(probs)).sum() / routed
