"""ORPO (2403.07691): plain training on the chosen completions, plus the odds ratio of chosen and rejected ones."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.objectives.objective import Completions, Objective
from tunesmith.sections import Config, PreferenceSection

if TYPE_CHECKING:
    import torch


def read_alpha(section: PreferenceSection) -> float:
    """Return the weight of the odds ratio: `orpo_alpha`, or `rl_beta`."""
    return section.rl_beta if section.orpo_alpha is None else section.orpo_alpha


def compute_orpo_loss(
    chosen: Completions, rejected: Completions, section: PreferenceSection, kl: "torch.Tensor"
) -> "torch.Tensor":
    """Return the NLL of the chosen completions plus the weighted loss of the log odds ratio."""
    from torch.nn.functional import logsigmoid

    log_odds = chosen.mean_logp - rejected.mean_logp - _log1mexp(chosen.mean_logp) + _log1mexp(rejected.mean_logp)
    return (chosen.nll - read_alpha(section) * logsigmoid(log_odds)).mean()


def _log1mexp(logp: "torch.Tensor") -> "torch.Tensor":
    """Return log(1 - p), finite also for p = 1."""
    import torch

    return torch.log(-torch.expm1(logp.clamp(max=-1e-6)))


def find_orpo_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Yield that two keys set the same number."""
    section = config.preference
    if {"rl_beta", "orpo_alpha"} <= section.model_fields_set:
        text = f"`rl_beta: {section.rl_beta}` and `orpo_alpha: {section.orpo_alpha}`: use only one"
        yield "orpo_alpha", text


ORPO = Objective(
    "orpo",
    rows="orpo",
    loss=compute_orpo_loss,
    keys=frozenset({"rl_beta", "orpo_alpha"}),
    beta=read_alpha,
    find_problems=find_orpo_problems,
)
