"""Training on preferences: the objective's loss compares completions, in pairs or each with its label.

A batch is laid out as in any other training: each prompt with a completion is a document, and none sees another.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tunesmith.data.types import MASKED, SPLIT_INDEX_COLUMN, Example
from tunesmith.objectives.dpo import SORTED
from tunesmith.objectives.objective import Completions, Objective
from tunesmith.sections import PreferenceSection
from tunesmith.training.collate import NOTHING, Batch, FlatCollator, Sequences
from tunesmith.training.trainer import TokenMeanTrainer

if TYPE_CHECKING:
    from datasets import Dataset


class MismatchedRows(torch.utils.data.Dataset[list[Example]]):
    """Rows of KTO, each with its mismatched completion: its prompt with the completion of the row before.

    As in TRL, the order of the data decides which rows are combined, not that of the batches.
    """

    def __init__(self, rows: Sequences) -> None:
        """Take the rows, one document each."""
        self.rows, self.lengths = rows, rows.lengths
        self.longest = max(rows.lengths)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Example]:
        if not (row := self.rows[index]):
            return []
        return [row[0], _mismatch(row[0], self.rows[(index - 1) % self.rows.num_rows][0], self.longest)]


@dataclass(frozen=True)
class CompletionCollator:
    """Packs completions without padding; with `mismatched` the second document of each row by itself."""

    flat: FlatCollator
    mismatched: bool

    def __call__(self, rows: Sequence[list[Example]]) -> Batch:
        """Return the inputs of `forward`; `is_chosen`, `is_rejected` and `num_tokens` of each completion."""
        if not self.mismatched:
            return self._collate([document for row in rows for document in row])
        batch = self._collate([document for row in rows for document in row[:1]])
        batch["mismatched"] = self._collate([document for row in rows for document in row[1:]])
        return batch

    def _collate(self, documents: list[Example]) -> Batch:
        documents = documents or [NOTHING]
        batch = self.flat([documents])
        del batch["labels"]  # the model would compute another loss
        batch["is_chosen"] = torch.tensor([document.label is True for document in documents])
        batch["is_rejected"] = torch.tensor([document.label is False for document in documents])
        trained = [sum(label != MASKED for label in document.labels[1:]) for document in documents]
        return batch | {"num_tokens": torch.tensor(trained)}


def _mismatch(document: Example, other: Example, longest: int) -> Example:
    """Return the prompt of a document with the completion of another one, of at most `longest` tokens."""
    start, other_start = (next(i for i, label in enumerate(doc.labels) if label != MASKED) for doc in (document, other))
    completion = other.labels[other_start:]
    prompt = document.input_ids[: min(start, longest - 1)]
    return Example([*prompt, *completion][:longest], [*[MASKED] * len(prompt), *completion][:longest])


class Totals(NamedTuple):
    """What is summed up over all batches of a step and over all processes, or over an evaluation set.

    Attributes:
        rows: pairs, or completions of KTO.
        mean_tokens: the mean number of tokens of the chosen completions.
        kl: KTO's estimate of the KL divergence from the reference.
    """

    rows: torch.Tensor
    mean_tokens: torch.Tensor
    kl: torch.Tensor


def find_preference_warnings(
    objective: Objective, section: PreferenceSection, prepared: "Dataset", batches: int
) -> Iterator[str]:
    """Yield what makes preferences train something else than the config seems to say.

    Args:
        objective: what is trained.
        section: its settings.
        prepared: the training rows.
        batches: batches in a step, over all processes.
    """
    if objective.rows == "kto":
        labels = {bool(index) for index in prepared[SPLIT_INDEX_COLUMN]}
        if len(labels) == 1:
            kind, missing = ("true", "false") if True in labels else ("false", "true")
            yield (
                f"all {len(prepared):,} rows have `label: {kind}`: `rl: kto` learns from both kinds; add rows with "
                f"`label: {missing}`"
            )
    sorted_losses = sorted(SORTED & set(section.dpo_loss_type)) if "dpo_loss_type" in objective.keys else []
    if sorted_losses and batches > 1:
        yield (
            f"`dpo_loss_type: {sorted_losses}` sorts the pairs of a batch, and a step has {batches} batches: the loss "
            "depends on `micro_batch_size`"
        )


class PreferenceTrainer(TokenMeanTrainer):
    """A Trainer with the loss of an objective that compares completions.

    The reference is kept as the trained parameters as they were at the start: a full model in full fine-tuning, an
    adapter otherwise.
    """

    objective: Objective
    has_noise = False

    def __init__(self, *args: Any, objective: Objective, section: PreferenceSection, **kwargs: Any) -> None:
        """Take the objective and its settings besides what a Trainer takes."""
        collator = CompletionCollator(kwargs.pop("data_collator"), mismatched=objective.estimates_kl)
        if objective.estimates_kl:
            kwargs |= {key: _mismatched(kwargs.get(key)) for key in ("train_dataset", "eval_dataset")}
        super().__init__(*args, data_collator=collator, **kwargs)
        self.objective, self.section = objective, section
        self.is_weighted = section.dpo_use_weighting and "dpo_use_weighting" in objective.keys
        self.model_accepts_loss_kwargs = False  # the loss is a mean over rows, not over tokens
        self.compute_loss_func = objective.loss  # so that the Trainer does not divide it by the number of batches
        named = self.model.named_parameters() if objective.has_reference else ()
        self.reference = {name: weight.detach().clone() for name, weight in named if weight.requires_grad}
        self.sums: list[list[float]] = []
        self.totals: Totals | None = None

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
        """Return the part of a batch in the loss of the step, and keep its sums for `log`."""
        totals = self.totals or self._add_up([inputs])
        loss, sums = self._compare(model, inputs, totals)
        self.sums.append(sums)
        share = float(sums[1] / totals.rows.item() * self.args.world_size)
        return loss * share  # gradients are averaged over the processes

    def begin_step(self, batches: list[Batch]) -> None:
        """Sum up what the loss of each batch needs to know of the whole step."""
        self.totals = self._add_up(batches)

    def _summed(self, dataset: Sequences) -> list[float]:
        """Return what `measure` gives, with the totals of the set."""
        self.totals = self._add_up(inputs for inputs, counts in self._collated(dataset) if counts)
        return super()._summed(dataset)

    def _add_up(self, batches: Iterable[Batch]) -> Totals:
        """Return the totals of batches over all processes."""
        sums = torch.zeros(5, device=self.args.device)
        for batch in batches:
            chosen, rejected = batch["is_chosen"], batch["is_rejected"]
            rows = chosen.sum() if self.objective.has_pairs else chosen.sum() + rejected.sum()
            log_ratio, count = self._measure_mismatched(batch.get("mismatched"))
            numbers = (rows, chosen.sum(), batch["num_tokens"][chosen].clamp(min=1).sum(), log_ratio, count)
            sums += torch.stack([torch.as_tensor(number, device=sums.device) for number in numbers])
        rows, num_chosen, tokens, log_ratio, count = self.accelerator.reduce(sums, reduction="sum")
        return Totals(rows, tokens / num_chosen.clamp(min=1), (log_ratio / count.clamp(min=1)).clamp(min=0))

    @torch.no_grad()
    def _measure_mismatched(self, batch: Batch | None) -> tuple[torch.Tensor | float, torch.Tensor | int]:
        """Return the sum of the log ratios of mismatched completions, and their number."""
        if batch is None:
            return 0.0, 0
        with self.compute_loss_context_manager():
            log_ratio = self._complete(self.model, self._prepare_inputs(batch)).log_ratio
        counted = batch["num_tokens"] > 0
        return log_ratio[counted].sum(), counted.sum()

    def measure(self, inputs: Batch) -> list[float]:
        """Return the sums of a batch: loss, rows, correct rows, then rewards and number of chosen and of rejected."""
        return self._compare(self.model, inputs, self.totals or self._add_up([inputs]))[1]

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

    def _compare(self, model: torch.nn.Module, inputs: Batch, totals: Totals) -> tuple[torch.Tensor, list[float]]:
        """Return the mean loss over the rows of a batch, and its sums as in `measure`."""
        completions = self._complete(model, inputs, totals)
        chosen, rejected = completions.select(inputs["is_chosen"]), completions.select(inputs["is_rejected"])
        assert self.objective.loss is not None
        if len(chosen.logp) + len(rejected.logp):
            loss = self.objective.loss(chosen, rejected, self.section, totals.kl)
        else:
            loss = completions.logp.sum()  # 0, with a gradient for each weight: processes wait for one another
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

    def _complete(self, model: torch.nn.Module, inputs: Batch, totals: Totals | None = None) -> Completions:
        """Return the log-probabilities of a batch, by the model and by the reference."""
        _turn_off_noise(self.model)
        logp, weight = _compute_logp(model, inputs, weighted=self.is_weighted)
        reference_logp = torch.zeros_like(logp)
        if self.reference:
            with torch.no_grad():
                reference_logp = _compute_logp(self._forward_reference, inputs)[0]
        num_tokens = inputs["num_tokens"].clamp(min=1)
        mean_tokens = totals.mean_tokens.expand(len(logp)) if totals else num_tokens
        return Completions(logp, reference_logp, num_tokens, weight, mean_tokens)

    def _forward_reference(self, **inputs: Any) -> Any:
        return functional_call(self.model, self.reference, args=(), kwargs=inputs)


def _mismatched(rows: Any) -> Any:
    """Return rows with their mismatched completions: one set, several by name, or none."""
    if isinstance(rows, dict):
        return {name: MismatchedRows(part) for name, part in rows.items()}
    return None if rows is None else MismatchedRows(rows)


def _turn_off_noise(model: torch.nn.Module) -> None:
    """Turn off dropout and router noise: the reference has none, so that theirs would count as a preference.

    Modules that recompute activations do so only in training mode; they keep it, as do quantized linear layers, whose
    products are rounded otherwise in evaluation.
    """
    for module in model.modules():
        is_plain = not any(True for _ in module.children()) and "Dropout" not in type(module).__name__
        module.training = is_plain or bool(getattr(module, "gradient_checkpointing", False))


OWN_INPUTS = ("shift_labels", "is_chosen", "is_rejected", "num_tokens", "mismatched")
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
