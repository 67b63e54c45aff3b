"""transformers' Trainer with one change: evaluation gives the mean loss per trained token, whatever the batches."""

import math
from typing import Any

import torch
from transformers import Trainer

from tunesmith.data.types import MASKED


class TokenMeanTrainer(Trainer):
    """A Trainer whose `eval_loss` is the sum over trained tokens divided by their number."""

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Return loss and perplexity per trained token of the evaluation set."""
        batches = self._batches(eval_dataset if eval_dataset is not None else self.eval_dataset)
        mine = batches[self.args.process_index :: self.args.world_size]
        # Every process runs as many batches; one that has too few repeats a batch and does not count it.
        rounds = math.ceil(len(batches) / self.args.world_size)
        total = torch.zeros(
            2, dtype=torch.float64, device=self.args.device if self.args.device.type != "mps" else "cpu"
        )
        self.model.eval()
        for index in range(rounds):
            counts = index < len(mine)
            inputs = self._prepare_inputs(self.data_collator(mine[index] if counts else batches[0]))
            trained = int((inputs["shift_labels"] != MASKED).sum())
            with torch.no_grad(), self.compute_loss_context_manager():
                mean_of_batch = self.compute_loss(self.model, inputs)
            if counts and trained:
                batch_sum = mean_of_batch.item() * trained
                total += torch.tensor([batch_sum, trained], dtype=total.dtype, device=total.device)
        self.model.train()
        loss_sum, tokens = self.accelerator.reduce(total, reduction="sum").tolist()
        mean = loss_sum / max(tokens, 1)
        metrics = {
            f"{metric_key_prefix}_loss": mean,
            f"{metric_key_prefix}_perplexity": math.exp(min(mean, 700)),
            f"{metric_key_prefix}_tokens": tokens,
        }
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _batches(self, dataset: Any) -> list[list[Any]]:
        """The evaluation set in batches of sequences, in order."""
        size = self.args.per_device_eval_batch_size
        return [
            [dataset[i] for i in range(start, min(start + size, len(dataset)))]
            for start in range(0, len(dataset), size)
        ]
