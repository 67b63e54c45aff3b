"""SimPO (2405.14734): the margin of mean log-probabilities, without a reference model."""

from typing import TYPE_CHECKING

from tunesmith.objectives.objective import Completions, Objective
from tunesmith.sections import PreferenceSection

if TYPE_CHECKING:
    import torch


def compute_simpo_loss(
    chosen: Completions, rejected: Completions, section: PreferenceSection, kl: "torch.Tensor"
) -> "torch.Tensor":
    """Return the mean loss over pairs, plus `cpo_alpha` times the NLL of the chosen completions."""
    from torch.nn.functional import logsigmoid

    logits = section.rl_beta * (chosen.mean_logp - rejected.mean_logp) - section.simpo_gamma
    return (section.cpo_alpha * chosen.nll - logsigmoid(logits)).mean()


SIMPO = Objective("simpo", rows="dpo", loss=compute_simpo_loss, keys=frozenset({"rl_beta", "simpo_gamma", "cpo_alpha"}))
