"""Losses of preferences, of one number for each answer: how likely the model holds it, and held it at the start.

Numbers are those of the papers on arXiv; where TRL has a loss, it is the same to the last digit.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid, relu

from tunesmith.sections import PreferenceSection


class Answers(NamedTuple):
    """Answers of a batch, each a number in tensors of shape (answers,).

    Attributes:
        logp: log-probability of all tokens of the answer.
        reference: the same by the model as it was at the start; 0 where the loss does not ask.
        tokens: how many tokens it has.
        weight: how likely the model is to write it, as WPO has it; 1 where the loss does not ask.
    """

    logp: torch.Tensor
    reference: torch.Tensor
    tokens: torch.Tensor
    weight: torch.Tensor

    @property
    def ratio(self) -> torch.Tensor:
        """How much likelier the answer has become."""
        return self.logp - self.reference

    @property
    def likelihood(self) -> torch.Tensor:
        """Loss of plain training on these answers: the mean over all their tokens."""
        return -self.logp.sum() / self.tokens.sum()

    def of(self, chosen: torch.Tensor) -> "Answers":
        """Return those at some places."""
        return Answers(*(values[chosen] for values in self))


def _smoothed(margin: torch.Tensor, doubt: float) -> torch.Tensor:
    return -(1 - doubt) * logsigmoid(margin) - doubt * logsigmoid(-margin)


def _robust(margin: torch.Tensor, doubt: float) -> torch.Tensor:
    return ((doubt - 1) * logsigmoid(margin) + doubt * logsigmoid(-margin)) / (1 - 2 * doubt)


def _exo_pair(margin: torch.Tensor, doubt: float) -> torch.Tensor:
    for_good = torch.sigmoid(margin) * (logsigmoid(margin) - torch.log1p(torch.tensor(-doubt)))
    return for_good + torch.sigmoid(-margin) * (logsigmoid(-margin) - torch.tensor(doubt).log())


def _discopop(margin: torch.Tensor) -> torch.Tensor:
    share = torch.sigmoid(margin / 0.05)
    return -logsigmoid(margin) * (1 - share) + torch.exp(-margin) * share


def _per_token(good: Answers, bad: Answers) -> torch.Tensor:
    return good.ratio / good.tokens - bad.ratio / bad.tokens


PairLoss = Callable[[Answers, Answers, float, float], torch.Tensor]

PAIR_LOSSES: dict[str, PairLoss] = {
    "sigmoid": lambda g, b, beta, doubt: _smoothed(beta * (g.ratio - b.ratio), doubt),  # 2305.18290
    "hinge": lambda g, b, beta, doubt: relu(1 - beta * (g.ratio - b.ratio)),  # 2305.10425
    "ipo": lambda g, b, beta, doubt: (_per_token(g, b) - 1 / (2 * beta)) ** 2,  # 2310.12036
    "exo_pair": lambda g, b, beta, doubt: _exo_pair(beta * (g.ratio - b.ratio), doubt),  # 2402.00856
    "nca_pair": lambda g, b, beta, doubt: (  # 2402.05369
        -logsigmoid(beta * g.ratio) - 0.5 * logsigmoid(-beta * g.ratio) - 0.5 * logsigmoid(-beta * b.ratio)
    ),
    "robust": lambda g, b, beta, doubt: _robust(beta * (g.ratio - b.ratio), doubt),  # 2403.00409
    "bco_pair": lambda g, b, beta, doubt: -logsigmoid(beta * g.ratio) - logsigmoid(-beta * b.ratio),  # 2404.04656
    "sppo_hard": lambda g, b, beta, doubt: (g.ratio - 0.5 / beta) ** 2 + (b.ratio + 0.5 / beta) ** 2,  # 2405.00675
    "aot": lambda g, b, beta, doubt: _smoothed(  # 2406.05882
        beta * ((g.logp - b.logp).sort().values - (g.reference - b.reference).sort().values), doubt
    ),
    "aot_unpaired": lambda g, b, beta, doubt: _smoothed(beta * (g.ratio.sort().values - b.ratio.sort().values), doubt),
    "apo_zero": lambda g, b, beta, doubt: torch.sigmoid(-beta * g.ratio) + torch.sigmoid(beta * b.ratio),  # 2408.06266
    "apo_down": lambda g, b, beta, doubt: torch.sigmoid(beta * g.ratio) + torch.sigmoid(beta * (b.ratio - g.ratio)),
    "discopop": lambda g, b, beta, doubt: _discopop(beta * (g.ratio - b.ratio)),  # 2406.08414
    "sft": lambda g, b, beta, doubt: g.likelihood.expand(len(g.logp)),
    "sigmoid_norm": lambda g, b, beta, doubt: -logsigmoid(beta * _per_token(g, b)),
}
"""Loss of `rl: dpo` -> the losses of pairs, of the good answers, the bad ones, beta and label smoothing."""


def pair_loss(rl: str, section: PreferenceSection, good: Answers, bad: Answers) -> torch.Tensor:
    """Return the mean loss of a batch of pairs."""
    beta, doubt = strength(rl, section), section.dpo_label_smoothing
    if rl == "simpo":  # 2405.14734
        margin = beta * (good.logp / good.tokens - bad.logp / bad.tokens) - section.simpo_gamma
        return -logsigmoid(margin).mean() + section.cpo_alpha * good.likelihood
    if rl == "orpo":  # 2403.07691
        one, other = good.logp / good.tokens, bad.logp / bad.tokens
        odds = one - other - _log_of_rest(one) + _log_of_rest(other)
        return good.likelihood - beta * logsigmoid(odds).mean()
    names = ["ipo"] if rl == "ipo" else section.dpo_loss_type
    weights = section.dpo_loss_weights or [1.0] * len(names)
    total = torch.zeros_like(good.logp)
    for name, weight in zip(names, weights, strict=True):
        total = total + weight * PAIR_LOSSES[name](good, bad, beta, doubt)
    return (total * good.weight * bad.weight).mean()


def kto_loss(section: PreferenceSection, good: Answers, bad: Answers, drift: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of a batch of good and bad answers; `drift` is how far the model is from the start."""
    beta = section.rl_beta  # 2402.01306
    of_good = section.kto_desirable_weight * torch.sigmoid(beta * (drift - good.ratio))
    of_bad = section.kto_undesirable_weight * torch.sigmoid(beta * (bad.ratio - drift))
    return torch.cat([of_good, of_bad]).mean()


def strength(rl: str, section: PreferenceSection) -> float:
    """Return beta, which `orpo_alpha` may set."""
    return section.orpo_alpha if rl == "orpo" and section.orpo_alpha is not None else section.rl_beta


def _log_of_rest(logp: torch.Tensor) -> torch.Tensor:
    """Return log(1 - p), finite also for what is certain."""
    return torch.log(-torch.expm1(logp.clamp(max=-1e-6)))
