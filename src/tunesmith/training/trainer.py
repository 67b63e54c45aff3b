"""transformers' Trainer with the config's methods, and the mean loss per trained token whatever the batches."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerControl
from transformers.trainer_pt_utils import get_length_grouped_indices

from tunesmith.config.metrics import GREATER_IS_BETTER, logged_name, metric_kind
from tunesmith.data.types import MASKED
from tunesmith.errors import RunError
from tunesmith.sections import TrainingSection
from tunesmith.training.collate import Batch, Sequences, pieces
from tunesmith.training.losses import EntropyWeighted, TokenLoss
from tunesmith.training.noise import EmbeddingNoise
from tunesmith.training.optim.optimizers import Methods
from tunesmith.training.router import RouterLoss, adds_router_loss

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


class ByLength(torch.utils.data.Sampler[int]):
    """Sequences of like length after each other, in another order each epoch, which depends on the seed alone."""

    def __init__(self, lengths: list[int], batch: int, seed: int) -> None:
        """Group `batch` sequences of `lengths` tokens."""
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; accelerate calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch, generator=generator))


class TokenMeanTrainer(Methods):
    """A Trainer whose `eval_loss` is the sum over trained tokens divided by their number."""

    train_dataset: Sequences
    has_noise = True
    """Whether NEFTune's noise is added."""

    def __init__(
        self,
        *args: Any,
        training: TrainingSection | None = None,
        answers: Callable[["CausalLM", int], dict[str, float]] | None = None,
        own_loss: bool = False,
        autocast: bool = False,
        **kwargs: Any,
    ) -> None:
        """Take besides what a Trainer takes the section `training`, and what answers prompts at each evaluation.

        With `own_loss`, the loss is `TokenLoss` in place of transformers' code for the same. With `autocast`, a CPU
        computes in bf16; accelerate, asked for that, would turn all logits into fp32 besides.
        """
        self.answers, self.autocast = answers, autocast
        if training and training.use_eaft:
            kwargs["compute_loss_func"] = EntropyWeighted(training.eaft_alpha, training.eaft_k)
        elif own_loss:
            kwargs["compute_loss_func"] = TokenLoss()
        super().__init__(*args, training=training, **kwargs)
        if training and training.neftune_noise_alpha and self.has_noise:
            EmbeddingNoise(self.model, training.neftune_noise_alpha)
        self.router: RouterLoss | None = None
        if adds_router_loss(self.model):
            self.router = RouterLoss(self.model, self.compute_loss_func or TokenLoss())
            self.compute_loss_func = self.router

    def _get_train_sampler(
        self, train_dataset: torch.utils.data.Dataset[Any] | None = None
    ) -> torch.utils.data.Sampler[Any] | None:
        """Return the order of the sequences: that of transformers, or by length."""
        if not self.training or not self.training.group_by_length:
            return super()._get_train_sampler(train_dataset)
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return ByLength(self.train_dataset.lengths, batch, self.training.shuffle_seed)

    def compute_loss_context_manager(self) -> contextlib.ExitStack:
        """Return the context in which a loss is computed."""
        context: contextlib.ExitStack = super().compute_loss_context_manager()
        if self.autocast and self.args.device.type == "cpu":
            context.enter_context(torch.autocast("cpu", torch.bfloat16))
        return context

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor | int | None]:
        """Return the batches of a step and their trained tokens, after a look at all of them."""
        batches, num_tokens = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.begin_step(batches)
        return batches, num_tokens

    def begin_step(self, batches: list[Batch]) -> None:
        """Sum up what the loss of each batch needs to know of the whole step."""
        parts = [part for batch in batches for part in self.parts(self._prepare_inputs(batch))]
        if self.router is None or (len(parts) == 1 and self.args.world_size == 1):
            return
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            counts = self.router.measure(self.model_wrapped, parts)
        self.router.counts = self.accelerator.reduce(counts, reduction="sum")

    def training_step(
        self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Add up the gradients of a batch, a piece of it at a time, and return its loss."""
        parts = self.parts(inputs)
        loss = torch.zeros((), device=self.args.device)
        for index, part in enumerate(parts, 1):
            with contextlib.nullcontext() if index == len(parts) else self.accelerator.no_sync(model):
                loss += super().training_step(model, part, num_items_in_batch)
        return loss

    def parts(self, inputs: Batch) -> list[Batch]:
        """Return a batch in pieces whose gradients add up."""
        return pieces(inputs, rounded=self.router is None)  # each token counts for the balance of experts

    def evaluate(
        self,
        eval_dataset: torch.utils.data.Dataset[Any] | dict[str, torch.utils.data.Dataset[Any]] | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return what `named` says of the evaluation set; of several, by name, each loss too."""
        datasets = eval_dataset if eval_dataset is not None else self.eval_dataset
        sets: dict[str, Any] = datasets if isinstance(datasets, dict) else {"": datasets}
        sums = {name: self._summed(part) for name, part in sets.items()}
        totals = self.named([sum(values) for values in zip(*sums.values(), strict=True)])
        metrics = {f"{metric_key_prefix}_{key}": value for key, value in totals.items()}
        for name, values in sums.items():
            if name:
                metrics[f"{metric_key_prefix}_{name}_loss"] = self.named(values)["loss"]
        if self.answers:
            self.model.eval()
            with self.compute_loss_context_manager():
                scores = self.answers(self.model, self.state.global_step)
            self.model.train()
            metrics |= {f"{metric_key_prefix}_{name}": score for name, score in scores.items()}
        self._check_best_metric(metrics)
        self.log(metrics)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _check_best_metric(self, metrics: dict[str, float]) -> None:
        """Raise an error if evaluations do not measure what the best checkpoint is chosen by."""
        metric = self.args.metric_for_best_model
        if metric and logged_name(metric) not in metrics:
            names = ", ".join(name for name in metrics if metric_kind(name) in GREATER_IS_BETTER)
            raise RunError(f"`metric_for_best_model: {metric}` was not measured; evaluations of this run have {names}")

    def measure(self, inputs: Batch) -> list[float]:
        """Return what is summed up over the batches of a set: the loss of all trained tokens, and their number."""
        sums = [0.0, 0.0]
        for part in self.parts(inputs):
            if trained := int((part["shift_labels"] != MASKED).sum()):
                if self.router:
                    part["output_router_logits"] = False  # the loss of tokens alone
                sums = [sums[0] + self.model(**part).loss.item() * trained, sums[1] + trained]
        return sums

    def named(self, sums: list[float]) -> dict[str, float]:
        """Return the metrics that the sums of a set stand for."""
        mean = sums[0] / max(sums[1], 1)
        return {"loss": mean, "perplexity": math.exp(min(mean, 700)), "tokens": sums[1]}

    def _summed(self, dataset: Sequences) -> list[float]:
        """Return what `measure` gives, summed up over a set and all processes."""
        rows = []
        self.model.eval()
        for inputs, counts in self._collated(dataset):
            with torch.no_grad(), self.compute_loss_context_manager():
                row = self.measure(inputs)
            rows.append(row if counts else [0.0] * len(row))
        self.model.train()
        return self.total(rows)

    def _collated(self, dataset: Sequences) -> Iterator[tuple[Batch, bool]]:
        """Yield the evaluation batches of this process, and whether each counts.

        Every process runs as many batches; one that has too few repeats a batch and does not count it.
        """
        batches = self._batches(dataset)
        own_batches = batches[self.args.process_index :: self.args.world_size]
        for index in range(math.ceil(len(batches) / self.args.world_size)):
            counts = index < len(own_batches)
            yield self._prepare_inputs(self.data_collator(own_batches[index] if counts else batches[0])), counts

    def total(self, rows: list[list[float]]) -> list[float]:
        """Return the sums of columns over the rows of all processes."""
        device = self.args.device if self.args.device.type != "mps" else "cpu"
        sums = torch.tensor(rows, dtype=torch.float64, device=device).sum(dim=0)
        return [float(value) for value in self.accelerator.reduce(sums, reduction="sum").tolist()]

    def _batches(self, dataset: Sequences) -> list[list[Any]]:
        """The evaluation set in batches of sequences, in order."""
        size = self.args.per_device_eval_batch_size
        return [
            [dataset[i] for i in range(start, min(start + size, len(dataset)))]
            for start in range(0, len(dataset), size)
        ]
