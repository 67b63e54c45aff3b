"""The record of a training objective, and the completions that its loss compares."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tunesmith.sections import Config, PreferenceSection

if TYPE_CHECKING:
    import torch


class Completions(NamedTuple):
    """Completions of a batch, each a number in tensors of shape (completions,).

    Attributes:
        logp: log-probability of all tokens of the completion.
        reference_logp: the same by the model as it was at the start; 0 where the objective has no reference.
        num_tokens: how many tokens it has.
        weight: weight of WPO, how likely the model is to write it; 1 where the objective does not ask.
        mean_tokens: the mean of `num_tokens` over the chosen completions of the step, the same number for each.
    """

    logp: "torch.Tensor"
    reference_logp: "torch.Tensor"
    num_tokens: "torch.Tensor"
    weight: "torch.Tensor"
    mean_tokens: "torch.Tensor"

    @property
    def log_ratio(self) -> "torch.Tensor":
        """The log of the probability relative to the reference's."""
        return self.logp - self.reference_logp

    @property
    def mean_logp(self) -> "torch.Tensor":
        """The log-probability per token."""
        return self.logp / self.num_tokens

    @property
    def nll(self) -> "torch.Tensor":
        """The loss of plain training: the mean over the completions of a step is the NLL per token of the step."""
        return -self.logp / self.mean_tokens

    def select(self, mask: "torch.Tensor") -> "Completions":
        """Return the completions at which a mask is true."""
        return Completions(*(values[mask] for values in self))


Loss = Callable[[Completions, Completions, PreferenceSection, "torch.Tensor"], "torch.Tensor"]
"""(chosen, rejected, settings, kl) -> the mean loss over the rows of a batch.

The trainer weights batches by their rows, so the loss of a step does not depend on how it was cut into batches."""


def find_no_problems(config: Config) -> Iterator[tuple[str, str]]:
    """Yield nothing: an objective without rules of its own."""
    yield from ()


def read_beta(section: PreferenceSection) -> float:
    """Return beta, which scales rewards."""
    return section.rl_beta


@dataclass(frozen=True)
class Objective:
    """A training objective: what it prepares, collates, computes and logs, and which keys it reads.

    Attributes:
        name: value of `rl`; `sft` stands for files without it.
        rows: group of dataset types that it trains on, in `data/formats/answers.py`: `dpo` and `orpo` have pairs of
            chosen and rejected completions, `kto` single ones with a label; empty for supervised training.
        loss: computes the loss of a batch of completions; None: cross-entropy on the labels.
        keys: keys of the preference section that it reads.
        has_reference: the loss compares with the model as it was at the start.
        estimates_kl: each prompt is also run with the completion of another row, to estimate the KL divergence.
        beta: the scale of the rewards that are logged.
        find_problems: rules of its own across keys: (key, text) of each that is broken.
        ignored: settings -> keys among `keys` that this run ignores.
    """

    name: str
    rows: str = ""
    loss: Loss | None = None
    keys: frozenset[str] = frozenset()
    has_reference: bool = False
    estimates_kl: bool = False
    beta: Callable[[PreferenceSection], float] = read_beta
    find_problems: Callable[[Config], Iterator[tuple[str, str]]] = find_no_problems
    ignored: Callable[[PreferenceSection], frozenset[str]] = lambda section: frozenset()

    @property
    def has_pairs(self) -> bool:
        """Whether a row has a chosen and a rejected completion."""
        return self.rows not in ("", "kto")
