"""LISA (arXiv 2403.17919): full fine-tuning of a few blocks at a time, chosen anew at intervals."""

import random

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.errors import ConfigError
from tunesmith.sections import AdapterSection


class Lisa(TrainerCallback):
    """Freezes all blocks of the model but some, chosen by the seed and the step, so that a resumed run goes on."""

    def __init__(self, model: torch.nn.Module, section: AdapterSection) -> None:
        assert section.lisa_n_layers
        assert section.lisa_step_interval
        path = section.lisa_layers_attribute
        modules = dict(model.named_modules())
        if path not in modules:
            raise ConfigError(f"`lisa_layers_attribute: {path}`: {type(model).__name__} has no such layer")
        self.layers = modules[path]
        self.count, self.interval = section.lisa_n_layers, section.lisa_step_interval
        if self.count > len(self.layers):
            raise ConfigError(f"`lisa_n_layers: {self.count}`: the model has {len(self.layers)} blocks")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Refuse processes that would wait for the gradients of frozen blocks."""
        if args.world_size > 1 and not args.ddp_find_unused_parameters:
            raise ConfigError("`lisa_n_layers` in several processes needs `ddp_find_unused_parameters: true`")

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Choose the blocks of this interval."""
        interval = state.global_step // self.interval
        chosen = random.Random(f"{args.seed} {interval}").sample(range(len(self.layers)), self.count)
        for index, layer in enumerate(self.layers):
            layer.requires_grad_(index in chosen)
