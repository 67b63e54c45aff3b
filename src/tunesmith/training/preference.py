"""Training on preferences: pairs of answers (dpo, ipo, simpo, orpo), or answers that are good or bad (kto).

A batch is laid out as in any other training: each prompt with an answer is a document, and none sees another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tunesmith.config.preference_rules import REFERENCED
from tunesmith.data.types import MASKED, Example
from tunesmith.sections import Config
from tunesmith.training.collate import FlatCollator
from tunesmith.training.preference_losses import Answers, kto_loss, pair_loss, strength
from tunesmith.training.trainer import TokenMeanTrainer


def objective(config: Config) -> Callable[..., TokenMeanTrainer]:
    """Return the trainer of what a config asks for: of answers that are compared, or of texts."""
    return partial(PreferenceTrainer, config=config) if config.data.rl else TokenMeanTrainer


@dataclass(frozen=True)
class AnswerCollator:
    """Lays answers end to end; with `mismatched` also each prompt with the answer of another row, for kto."""

    flat: FlatCollator
    mismatched: bool

    def __call__(self, rows: Sequence[list[Example]]) -> dict[str, Any]:
        """Return the inputs of `forward`, and `good` and `tokens` of each answer."""
        batch = self._laid_out([document for row in rows for document in row])
        if self.mismatched and len(rows) > 1:
            batch["mismatched"] = self._laid_out(_exchanged([row[0] for row in rows]))
        return batch

    def _laid_out(self, documents: list[Example]) -> dict[str, Any]:
        batch = self.flat([documents])
        del batch["labels"]  # the model would compute another loss
        batch["good"] = torch.tensor([bool(document.label) for document in documents])
        trained = [sum(label != MASKED for label in document.labels[1:]) for document in documents]
        return batch | {"tokens": torch.tensor(trained)}


def _exchanged(documents: list[Example]) -> list[Example]:
    """Return each prompt with the answer of the document before, cut to the length of the longest."""
    longest = max(len(document.input_ids) for document in documents)
    starts = [next(i for i, label in enumerate(document.labels) if label != MASKED) for document in documents]
    found = []
    for here, start in enumerate(starts):
        answer = documents[here - 1].labels[starts[here - 1] :]
        prompt = documents[here].input_ids[: min(start, longest - 1)]
        found.append(Example([*prompt, *answer][:longest], [*[MASKED] * len(prompt), *answer][:longest]))
    return found


class PreferenceTrainer(TokenMeanTrainer):
    """A Trainer with the losses of preferences.

    The reference is kept as the weights that are trained, as they were at the start: a whole model in full
    fine-tuning, an adapter otherwise.
    """

    def __init__(self, *args: Any, config: Config, **kwargs: Any) -> None:
        """Take the config besides what a Trainer takes."""
        collator = AnswerCollator(kwargs.pop("data_collator"), mismatched=config.data.rl == "kto")
        super().__init__(*args, data_collator=collator, **kwargs)
        self.rl, self.section = str(config.data.rl), config.preference
        self.model_accepts_loss_kwargs = False  # the loss is a mean over rows, not over tokens
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its noise would count as a preference
        named = self.model.named_parameters() if self.rl in REFERENCED else ()
        self.start = {name: weight.detach().clone() for name, weight in named if weight.requires_grad}
        self.seen: list[list[float]] = []

    def parts(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the batch whole: its answers are compared with each other."""
        return [inputs]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Return the loss of a batch, and keep what `log` says of it."""
        loss, sums = self._compared(model, inputs)
        self.seen.append(sums)
        return loss

    def measure(self, inputs: dict[str, Any]) -> list[float]:
        """Return the sums of a batch: losses, rows, right rows, and rewards and numbers of good and bad answers."""
        return self._compared(self.model, inputs)[1]

    def named(self, sums: list[float]) -> dict[str, float]:
        """Return loss, share of rows that the model tells apart rightly, and mean rewards."""
        loss, rows, right, good, goods, bad, bads = sums
        found = {"loss": loss / max(rows, 1), "reward_accuracy": right / max(rows, 1)}
        if goods:
            found["reward_chosen"] = good / goods
        if bads:
            found["reward_rejected"] = bad / bads
        return found | ({"reward_margin": good / goods - bad / bads} if goods and bads else {})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the rewards since the last line beside the loss."""
        if "loss" in logs and self.seen:
            found = self.named(self.total(self.seen))
            logs |= {key: value for key, value in found.items() if key != "loss"}
            self.seen = []
        super().log(logs, start_time)

    def _compared(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, list[float]]:
        """Return the loss of a batch, and what `measure` says of it."""
        answers, is_good = self._answers(model, inputs), inputs["good"]
        good, bad = answers.of(is_good), answers.of(~is_good)
        if self.rl == "kto":
            drift = torch.zeros((), device=is_good.device)
            if others := inputs.get("mismatched"):
                with torch.no_grad():
                    drift = self._answers(model, others).ratio.mean()
            drift = self.accelerator.reduce(drift, reduction="mean").clamp(min=0)
            loss = kto_loss(self.section, good, bad, drift)
        else:
            loss = pair_loss(self.rl, self.section, good, bad)
        rewards = [
            strength(self.rl, self.section) * (some.ratio if self.start else some.logp / some.tokens).detach()
            for some in (good, bad)
        ]
        one, other = rewards
        right = (one > 0).sum() + (other < 0).sum() if self.rl == "kto" else (one > other).sum()
        rows = len(one) + len(other) if self.rl == "kto" else len(one)
        sums = [loss.item() * rows, rows, right.item(), *(x for r in rewards for x in (r.sum().item(), len(r)))]
        return loss, [float(value) for value in sums]

    def _answers(self, model: Any, inputs: dict[str, Any]) -> Answers:
        weighted = self.section.dpo_use_weighting and self.rl in ("dpo", "ipo")
        logp, weight = _likelihoods(model, inputs, weighted=weighted)
        reference = torch.zeros_like(logp)
        if self.start:
            training = self.model.training
            self.model.eval()
            with torch.no_grad():
                reference = _likelihoods(self._at_start, inputs)[0]
            self.model.train(training)
        return Answers(logp, reference, inputs["tokens"].clamp(min=1), weight)

    def _at_start(self, **inputs: Any) -> Any:
        return functional_call(self.model, self.start, args=(), kwargs=inputs)


def _likelihoods(
    model: Callable[..., Any], batch: dict[str, Any], *, weighted: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of each answer, and its weight in WPO (2406.11827)."""
    inputs = {key: value for key, value in batch.items() if key not in ("shift_labels", "good", "tokens", "mismatched")}
    targets, sizes = batch["shift_labels"], batch["tokens"].tolist()
    logits = model(**inputs).logits[targets != MASKED].float()
    logps = -cross_entropy(logits, targets[targets != MASKED], reduction="none")
    sums = torch.stack([part.sum() for part in torch.split(logps, sizes)])
    if not weighted:
        return sums, torch.ones_like(sums)
    with torch.no_grad():
        aligned = logps - torch.logsumexp(2 * logits.log_softmax(-1), dim=-1)
        return sums, torch.stack([part.mean() for part in torch.split(aligned, sizes)]).exp()
