"""Training on preferences: the objective's loss compares completions, in pairs or each with its label.

A batch is laid out as in any other training: each prompt with a completion is a document, and none sees another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tunesmith.data.types import MASKED, Example
from tunesmith.objectives.objective import Completions, Objective
from tunesmith.sections import PreferenceSection
from tunesmith.training.collate import Batch, FlatCollator
from tunesmith.training.trainer import TokenMeanTrainer


@dataclass(frozen=True)
class CompletionCollator:
    """Packs completions without padding; with `mismatched` also each prompt with the completion of another row."""

    flat: FlatCollator
    mismatched: bool

    def __call__(self, rows: Sequence[list[Example]]) -> Batch:
        """Return the inputs of `forward`, and `is_chosen` and `num_tokens` of each completion."""
        batch = self._collate([document for row in rows for document in row])
        if self.mismatched and len(rows) > 1:
            batch["mismatched"] = self._collate(_mismatch([row[0] for row in rows]))
        return batch

    def _collate(self, documents: list[Example]) -> Batch:
        batch = self.flat([documents])
        del batch["labels"]  # the model would compute another loss
        batch["is_chosen"] = torch.tensor([bool(document.label) for document in documents])
        trained = [sum(label != MASKED for label in document.labels[1:]) for document in documents]
        return batch | {"num_tokens": torch.tensor(trained)}


def _mismatch(documents: list[Example]) -> list[Example]:
    """Return each prompt with the completion of the document before, truncated to the length of the longest."""
    longest = max(len(document.input_ids) for document in documents)
    starts = [next(i for i, label in enumerate(document.labels) if label != MASKED) for document in documents]
    mismatched = []
    for index, start in enumerate(starts):
        completion = documents[index - 1].labels[starts[index - 1] :]
        prompt = documents[index].input_ids[: min(start, longest - 1)]
        labels = [*[MASKED] * len(prompt), *completion]
        mismatched.append(Example([*prompt, *completion][:longest], labels[:longest]))
    return mismatched


class PreferenceTrainer(TokenMeanTrainer):
    """A Trainer with the loss of an objective that compares completions.

    The reference is kept as the trained parameters as they were at the start: a full model in full fine-tuning, an
    adapter otherwise.
    """

    objective: Objective

    def __init__(self, *args: Any, objective: Objective, section: PreferenceSection, **kwargs: Any) -> None:
        """Take the objective and its settings besides what a Trainer takes."""
        collator = CompletionCollator(kwargs.pop("data_collator"), mismatched=objective.estimates_kl)
        super().__init__(*args, data_collator=collator, **kwargs)
        self.objective, self.section = objective, section
        self.is_weighted = section.dpo_use_weighting and "dpo_use_weighting" in objective.keys
        self.model_accepts_loss_kwargs = False  # the loss is a mean over rows, not over tokens
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # its noise would count as a preference
        named = self.model.named_parameters() if objective.has_reference else ()
        self.reference = {name: weight.detach().clone() for name, weight in named if weight.requires_grad}
        self.sums: list[list[float]] = []

    def parts(self, inputs: Batch) -> list[Batch]:
        """Return the batch whole: its answers are compared with each other."""
        return [inputs]

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch, and keep its sums for `log`."""
        loss, sums = self._compare(model, inputs)
        self.sums.append(sums)
        return loss

    def measure(self, inputs: Batch) -> list[float]:
        """Return the sums of a batch: loss, rows, correct rows, then rewards and number of chosen and of rejected."""
        return self._compare(self.model, inputs)[1]

    def named(self, sums: list[float]) -> dict[str, float]:
        """Return loss, the fraction of rows that the model tells apart correctly, and mean rewards."""
        loss, rows, correct, chosen, num_chosen, rejected, num_rejected = sums
        metrics = {"loss": loss / max(rows, 1), "reward_accuracy": correct / max(rows, 1)}
        if num_chosen:
            metrics["reward_chosen"] = chosen / num_chosen
        if num_rejected:
            metrics["reward_rejected"] = rejected / num_rejected
        if num_chosen and num_rejected:
            metrics["reward_margin"] = chosen / num_chosen - rejected / num_rejected
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the rewards since the last line beside the loss."""
        if "loss" in logs and self.sums:
            metrics = self.named(self.total(self.sums))
            logs |= {key: value for key, value in metrics.items() if key != "loss"}
            self.sums = []
        super().log(logs, start_time)

    def _compare(self, model: torch.nn.Module, inputs: Batch) -> tuple[torch.Tensor, list[float]]:
        """Return the loss of a batch, and its sums as in `measure`."""
        completions, is_chosen = self._complete(model, inputs), inputs["is_chosen"]
        chosen, rejected = completions.select(is_chosen), completions.select(~is_chosen)
        assert self.objective.loss is not None
        loss = self.objective.loss(chosen, rejected, self.section, self._estimate_kl(model, inputs))
        chosen_rewards, rejected_rewards = self._rewards(chosen), self._rewards(rejected)
        if self.objective.has_pairs:
            rows, correct = len(chosen_rewards), (chosen_rewards > rejected_rewards).sum()
        else:
            rows = len(chosen_rewards) + len(rejected_rewards)
            correct = (chosen_rewards > 0).sum() + (rejected_rewards < 0).sum()
        sums = [loss.item() * rows, rows, correct.item()]
        for rewards in (chosen_rewards, rejected_rewards):
            sums += [rewards.sum().item(), len(rewards)]
        return loss, [float(value) for value in sums]

    def _rewards(self, completions: Completions) -> torch.Tensor:
        """Return the implicit reward of each completion."""
        logp = completions.log_ratio if self.reference else completions.mean_logp
        return self.objective.beta(self.section) * logp.detach()

    def _estimate_kl(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        """Return the KL divergence from the reference, on prompts with completions of other rows, if there are any."""
        kl = torch.zeros((), device=inputs["is_chosen"].device)
        if not self.objective.estimates_kl:
            return kl
        if mismatched := inputs.get("mismatched"):
            with torch.no_grad():
                kl = self._complete(model, mismatched).log_ratio.mean()
        reduced: torch.Tensor = self.accelerator.reduce(kl, reduction="mean")
        return reduced.clamp(min=0)

    def _complete(self, model: torch.nn.Module, inputs: Batch) -> Completions:
        """Return the log-probabilities of a batch, by the model and by the reference."""
        logp, weight = _compute_logp(model, inputs, weighted=self.is_weighted)
        reference_logp = torch.zeros_like(logp)
        if self.reference:
            was_training = self.model.training
            self.model.eval()
            with torch.no_grad():
                reference_logp = _compute_logp(self._forward_reference, inputs)[0]
            self.model.train(was_training)
        return Completions(logp, reference_logp, inputs["num_tokens"].clamp(min=1), weight)

    def _forward_reference(self, **inputs: Any) -> Any:
        return functional_call(self.model, self.reference, args=(), kwargs=inputs)


OWN_INPUTS = ("shift_labels", "is_chosen", "num_tokens", "mismatched")
"""Entries of a batch that the model does not take."""


def _compute_logp(
    model: Callable[..., Any], batch: Batch, *, weighted: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of each completion, and its weight in WPO (2406.11827)."""
    inputs = {key: value for key, value in batch.items() if key not in OWN_INPUTS}
    targets, sizes = batch["shift_labels"], batch["num_tokens"].tolist()
    logits = model(**inputs).logits[targets != MASKED].float()
    logps = -cross_entropy(logits, targets[targets != MASKED], reduction="none")
    sums = torch.stack([part.sum() for part in torch.split(logps, sizes)])
    if not weighted:
        return sums, torch.ones_like(sums)
    with torch.no_grad():
        aligned = logps - torch.logsumexp(2 * logits.log_softmax(-1), dim=-1)
        return sums, torch.stack([part.mean() for part in torch.split(aligned, sizes)]).exp()
