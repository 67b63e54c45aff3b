"""ReLoRA (arXiv 2307.05695): the sum of many low-rank updates, learnt one after the other.

What an adapter learnt until a restart stays as a frozen adapter beside the new one, instead of being added to the base
weights: the same sum, but nothing is rounded to 16 or 4 bits, checkpoints stay small, and the result is an ordinary
adapter, whose rank is that of all its parts together.
"""

from dataclasses import replace
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.modeling.adapters import KEPT
from tunesmith.sections import AdapterSection

TRAINED = "default"
"""peft's name of the adapter that is trained."""


class ReLora(TrainerCallback):
    """Restarts the adapter and thins the optimizer's memory of it, each so many steps."""

    def __init__(self, model: Any, section: AdapterSection, every: int) -> None:
        self.model, self.every, self.method = model, every, section.relora_prune_method
        usual = 0.999 if self.method == "reset" else 0.9
        self.ratio = usual if section.relora_prune_ratio is None else section.relora_prune_ratio

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Take up what a checkpoint kept."""
        if KEPT in self.model.peft_config:
            self._activate()

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, optimizer: Any = None, **_: object) -> None:
        """Restart, if it is time."""
        if state.global_step == 0 or state.global_step % self.every:
            return
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(args.seed + state.global_step)
            self._collect(KEPT)
            for layer in self._layers():
                layer.reset_lora_parameters(TRAINED, True)
            self._activate()
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    self.thin(optimizer.state.get(parameter, {}))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Make one adapter of all parts, to be saved."""
        if KEPT in self.model.peft_config:
            self._collect(TRAINED)
            self.model.delete_adapter(KEPT)

    def _layers(self) -> list[LoraLayer]:
        return [module for module in self.model.modules() if isinstance(module, LoraLayer)]

    def _activate(self) -> None:
        """Let both adapters take part, and only the new one be trained."""
        self.model.base_model.set_adapter([TRAINED, KEPT])
        self.model.set_requires_grad(KEPT, False)

    def _collect(self, name: str) -> None:
        """Let the adapter `name` be the sum of all, which is one of their ranks added up."""
        parts = [part for part in (KEPT, TRAINED) if part in self.model.peft_config]
        layers = self._layers()
        sums = [_sum(layer, parts) for layer in layers]
        rank = sum(self.model.peft_config[part].r for part in parts)
        config = replace(self.model.peft_config[TRAINED], r=rank, lora_alpha=rank)
        if name == KEPT:
            config = replace(config, lora_dropout=0.0)  # what is frozen is not to be made noisy
        if name in parts:
            self.model.delete_adapter(name)
        self.model.add_adapter(name, config)
        for layer, factors in zip(layers, sums, strict=True):
            for weight, factor in zip(_factors(layer, name), factors, strict=True):
                weight.data = factor

    def thin(self, memory: dict[str, Any]) -> None:
        """Zero a share of each tensor in an optimizer's state of one weight; a rounded state is dropped whole."""
        tensors = [value for value in memory.values() if torch.is_tensor(value) and value.ndim > 0]
        if not all(value.is_floating_point() for value in tensors):
            memory.clear()
            return
        for value in tensors:
            size = torch.rand_like(value) if self.method in ("random", "reset") else value.abs()
            zeroed = int(self.ratio * value.numel())
            value.view(-1)[size.flatten().argsort()[:zeroed]] = 0


def _factors(layer: LoraLayer, name: str) -> tuple[torch.nn.Parameter, torch.nn.Parameter]:
    """Return the two matrices of an adapter in a layer, of shapes (rank, in) and (out, rank)."""
    if name in layer.lora_A:
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    else:
        down, up = layer.lora_embedding_A[name], layer.lora_embedding_B[name]
    assert isinstance(down, torch.nn.Parameter)
    assert isinstance(up, torch.nn.Parameter)
    return down, up


def _sum(layer: LoraLayer, parts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices of one adapter that adds what all `parts` add, each with its scale."""
    pairs = [_factors(layer, part) for part in parts]
    downs = [pair[0].data * layer.scaling[part] for pair, part in zip(pairs, parts, strict=True)]
    return torch.cat(downs), torch.cat([pair[1].data for pair in pairs], dim=1)
