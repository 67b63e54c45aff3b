"""KTO (2402.01306): completions that are good or bad, each compared with the KL divergence from the reference."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.objectives.objective import Completions, Objective
from tunesmith.sections import Config, PreferenceSection

if TYPE_CHECKING:
    import torch


def compute_kto_loss(
    chosen: Completions, rejected: Completions, section: PreferenceSection, kl: "torch.Tensor"
) -> "torch.Tensor":
    """Return the mean loss over all completions; good ones are `chosen`, bad ones `rejected`."""
    import torch

    beta = section.rl_beta
    of_chosen = section.kto_desirable_weight * torch.sigmoid(beta * (kl - chosen.log_ratio))
    of_rejected = section.kto_undesirable_weight * torch.sigmoid(beta * (rejected.log_ratio - kl))
    return torch.cat([of_chosen, of_rejected]).mean()


def find_kto_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Yield that a step is too small to estimate the KL divergence."""
    training = config.training
    if (training.batch_size or training.micro_batch_size * training.gradient_accumulation_steps) < 2:
        text = "`rl: kto` estimates the KL divergence from the rows of a step, which has one row"
        yield "micro_batch_size", f"{text}. Set `micro_batch_size` or `gradient_accumulation_steps` to 2 or more"


KTO = Objective(
    "kto",
    rows="kto",
    loss=compute_kto_loss,
    keys=frozenset({"rl_beta", "kto_desirable_weight", "kto_undesirable_weight"}),
    has_reference=True,
    estimates_kl=True,
    find_problems=find_kto_problems,
)
