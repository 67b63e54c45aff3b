"""DPO (2305.18290), with the losses that TRL offers for it, and IPO (2310.12036), which is one of them.

Numbers are those of the papers on arXiv; where TRL has a loss, it is the same to the last digit.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tunesmith.objectives.objective import Completions, Objective
from tunesmith.sections import Config, PreferenceSection

if TYPE_CHECKING:
    import torch

PairLoss = Callable[[Completions, Completions, float, float], "torch.Tensor"]
"""(chosen, rejected, beta, label_smoothing) -> the loss of each pair."""

SORTED = frozenset({"aot", "aot_unpaired"})
"""Losses that sort the completions of a batch."""
SMOOTHED = {"sigmoid", "robust", "exo_pair", "aot", "aot_unpaired"}
"""Losses that read `dpo_label_smoothing`."""


def _smooth(logits: "torch.Tensor", label_smoothing: float) -> "torch.Tensor":
    from torch.nn.functional import logsigmoid

    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)


def _sigmoid(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    return _smooth(beta * (chosen.log_ratio - rejected.log_ratio), label_smoothing)


def _hinge(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2305.10425."""
    from torch.nn.functional import relu

    return relu(1 - beta * (chosen.log_ratio - rejected.log_ratio))


def _per_token(chosen: Completions, rejected: Completions) -> "torch.Tensor":
    return chosen.log_ratio / chosen.num_tokens - rejected.log_ratio / rejected.num_tokens


def _ipo(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2310.12036."""
    return (_per_token(chosen, rejected) - 1 / (2 * beta)) ** 2


def _exo_pair(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2402.00856."""
    import torch
    from torch.nn.functional import logsigmoid

    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    of_chosen = torch.sigmoid(logits) * (logsigmoid(logits) - torch.log1p(torch.tensor(-label_smoothing)))
    return of_chosen + torch.sigmoid(-logits) * (logsigmoid(-logits) - torch.tensor(label_smoothing).log())


def _nca_pair(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2402.05369."""
    from torch.nn.functional import logsigmoid

    chosen_reward, rejected_reward = beta * chosen.log_ratio, beta * rejected.log_ratio
    return -logsigmoid(chosen_reward) - 0.5 * logsigmoid(-chosen_reward) - 0.5 * logsigmoid(-rejected_reward)


def _robust(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2403.00409."""
    from torch.nn.functional import logsigmoid

    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    loss = (label_smoothing - 1) * logsigmoid(logits) + label_smoothing * logsigmoid(-logits)
    return loss / (1 - 2 * label_smoothing)


def _bco_pair(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2404.04656."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * chosen.log_ratio) - logsigmoid(-beta * rejected.log_ratio)


def _sppo_hard(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2405.00675."""
    return (chosen.log_ratio - 0.5 / beta) ** 2 + (rejected.log_ratio + 0.5 / beta) ** 2


def _aot(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2406.05882."""
    policy = (chosen.logp - rejected.logp).sort().values
    reference = (chosen.reference_logp - rejected.reference_logp).sort().values
    return _smooth(beta * (policy - reference), label_smoothing)


def _aot_unpaired(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2406.05882."""
    return _smooth(beta * (chosen.log_ratio.sort().values - rejected.log_ratio.sort().values), label_smoothing)


def _apo_zero(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2408.06266."""
    import torch

    return torch.sigmoid(-beta * chosen.log_ratio) + torch.sigmoid(beta * rejected.log_ratio)


def _apo_down(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2408.06266."""
    import torch

    margin = beta * (rejected.log_ratio - chosen.log_ratio)
    return torch.sigmoid(beta * chosen.log_ratio) + torch.sigmoid(margin)


def _discopop(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    """2406.08414."""
    import torch
    from torch.nn.functional import logsigmoid

    logits = beta * (chosen.log_ratio - rejected.log_ratio)
    modulation = torch.sigmoid(logits / 0.05)
    return -logsigmoid(logits) * (1 - modulation) + torch.exp(-logits) * modulation


def _sft(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    return chosen.nll


def _sigmoid_norm(chosen: Completions, rejected: Completions, beta: float, label_smoothing: float) -> "torch.Tensor":
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * _per_token(chosen, rejected))


PAIR_LOSSES: dict[str, PairLoss] = {
    "sigmoid": _sigmoid,
    "hinge": _hinge,
    "ipo": _ipo,
    "exo_pair": _exo_pair,
    "nca_pair": _nca_pair,
    "robust": _robust,
    "bco_pair": _bco_pair,
    "sppo_hard": _sppo_hard,
    "aot": _aot,
    "aot_unpaired": _aot_unpaired,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
    "discopop": _discopop,
    "sft": _sft,
    "sigmoid_norm": _sigmoid_norm,
}
"""Value in `dpo_loss_type` -> its loss."""


def compute_dpo_loss(
    chosen: Completions, rejected: Completions, section: PreferenceSection, kl: "torch.Tensor"
) -> "torch.Tensor":
    """Return the mean over pairs of the weighted sum of the losses in `dpo_loss_type`."""
    weights = section.dpo_loss_weights or [1.0] * len(section.dpo_loss_type)
    total = chosen.logp.new_zeros(len(chosen.logp))
    for name, weight in zip(section.dpo_loss_type, weights, strict=True):
        total = total + weight * PAIR_LOSSES[name](chosen, rejected, section.rl_beta, section.dpo_label_smoothing)
    return (total * chosen.weight * rejected.weight).mean()


def compute_ipo_loss(
    chosen: Completions, rejected: Completions, section: PreferenceSection, kl: "torch.Tensor"
) -> "torch.Tensor":
    """Return the mean IPO loss over pairs."""
    return (_ipo(chosen, rejected, section.rl_beta, 0.0) * chosen.weight * rejected.weight).mean()


def find_dpo_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the problems between the keys of DPO's losses."""
    section = config.preference
    losses, weights = section.dpo_loss_type, section.dpo_loss_weights
    if weights is not None and len(weights) != len(losses):
        text = f"`dpo_loss_weights: {weights}` needs as many losses in `dpo_loss_type`, found {losses}"
        yield "dpo_loss_weights", text
    if "exo_pair" in losses and not section.dpo_label_smoothing:
        yield "dpo_loss_type", "`dpo_loss_type: [exo_pair]` needs `dpo_label_smoothing` above 0, such as 0.001"
    sorted_losses = sorted(SORTED & set(losses))
    if section.dpo_use_weighting and sorted_losses:
        text = f"`dpo_use_weighting: true` weighs pairs, which `dpo_loss_type: {sorted_losses}` takes apart"
        yield "dpo_use_weighting", text


def _ignored(section: PreferenceSection) -> frozenset[str]:
    return frozenset() if SMOOTHED & set(section.dpo_loss_type) else frozenset({"dpo_label_smoothing"})


DPO = Objective(
    "dpo",
    rows="dpo",
    loss=compute_dpo_loss,
    keys=frozenset({"rl_beta", "dpo_loss_type", "dpo_loss_weights", "dpo_label_smoothing", "dpo_use_weighting"}),
    has_reference=True,
    find_problems=find_dpo_problems,
    ignored=_ignored,
)
IPO = Objective(
    "ipo",
    rows="dpo",
    loss=compute_ipo_loss,
    keys=frozenset({"rl_beta", "dpo_use_weighting"}),
    has_reference=True,
)
