"""Which optimizer trains, at which learning rate which weights; `Methods` puts it into any of the trainers."""

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_optimizer import is_optimizer_factory

from tunesmith.config.methods import OPTIMIZERS, RENAMED_OPTIMIZERS, WITHOUT_GPU, optimizer_options
from tunesmith.errors import ConfigError
from tunesmith.hardware import Hardware
from tunesmith.sections import TrainingSection
from tunesmith.training.arguments import Decision, Schedule, optimization
from tunesmith.training.optim.schedules import make_schedule

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunesmith.modeling.causal_lm import CausalLM


def choose_optimizer(name: str, hardware: Hardware) -> tuple[str, str]:
    """Return the optimizer for this machine, and why it is not the one asked for, if so.

    Raises:
        ConfigError: its package is missing, and no other optimizer gives the same result.
    """
    chosen = RENAMED_OPTIMIZERS.get(name, name)
    reason = "" if chosen == name else f"the present name of {name}"
    if hardware.kind != "cuda" and chosen in WITHOUT_GPU:
        chosen, reason = WITHOUT_GPU[chosen], f"{name} needs a GPU; the same method, in full precision or without pages"
    package = OPTIMIZERS[chosen]
    if not _has(package, hardware):
        if package not in ("bitsandbytes", "torch_xla", "torch_npu") or "adamw" not in chosen:
            pip = "'tunesmith[qlora]'" if package == "bitsandbytes" else package
            raise ConfigError(
                f"`optimizer: {name}` needs {package}: pip install {pip}, or set `optimizer: adamw_torch`"
            )
        return "adamw_torch", f"{name} needs {package}; the same method, in full precision"
    return chosen, reason


def _has(package: str, hardware: Hardware) -> bool:
    if package == "bitsandbytes":
        return hardware.quantised_optimizer
    try:
        return bool(importlib.metadata.version(package or "torch"))
    except importlib.metadata.PackageNotFoundError:
        return False


def _adam(training: TrainingSection) -> dict[str, Any]:
    """Return AdamW's settings that the file sets; what it leaves open is left to the library's own defaults."""
    fields = training.model_fields_set
    betas = {"betas": (training.adam_beta1, training.adam_beta2)} if fields & {"adam_beta1", "adam_beta2"} else {}
    return betas | ({"eps": training.adam_epsilon} if "adam_epsilon" in fields else {})


def _came(training: TrainingSection) -> dict[str, Any]:
    betas = (training.adam_beta1, training.adam_beta2, training.adam_beta3)
    return {"betas": betas, "eps": (_adam(training).get("eps", 1e-30), training.adam_epsilon2)}


OWN: dict[str, tuple[str, str, Callable[[TrainingSection], dict[str, Any]]]] = {
    "muon": ("tunesmith.training.optim.muon", "make_muon", lambda t: _adam(t) | {"weight_decay": t.weight_decay}),
    "optimi_adamw": ("optimi", "AdamW", lambda t: _adam(t) | {"foreach": False}),
    "came_pytorch": ("came_pytorch", "CAME", _came),
    "lion_pytorch": ("lion_pytorch", "Lion", lambda t: {k: v for k, v in _adam(t).items() if k == "betas"}),
    "adopt_adamw": ("pytorch_optimizer", "ADOPT", lambda t: _adam(t) | {"weight_decouple": True}),
    "ao_adamw_fp8": ("torchao.optim", "AdamWFp8", _adam),
}
"""Optimizer that transformers does not have -> module, class in it, and its arguments."""


def optimizer_class(
    training: TrainingSection, arguments: TrainingArguments, model: "PreTrainedModel"
) -> tuple[Any, dict[str, Any]]:
    """Return the class of the optimizer (or what makes it) and its arguments, with those that transformers forgets."""
    options = optimizer_options(training.optim_args)
    if training.optimizer in OWN:
        module, name, settings = OWN[training.optimizer]
        make = getattr(importlib.import_module(module), name)
        return make, {"lr": training.learning_rate, **settings(training), **options}
    make, arguments_of_class = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    if arguments.optim.startswith(("galore_adamw", "apollo_")):
        arguments_of_class |= {"betas": (training.adam_beta1, training.adam_beta2), "eps": training.adam_epsilon}
        arguments_of_class |= {"weight_decay": training.weight_decay}
    if OPTIMIZERS[arguments.optim] in ("", "bitsandbytes") and "ademamix" not in arguments.optim:
        arguments_of_class |= options
    return make, arguments_of_class


class _Settings(TrainingArguments):
    """The values alone: the whole class also joins the other processes, which is too early before the data is there."""

    def __post_init__(self) -> None:
        pass


def for_this_machine(training: TrainingSection, hardware: Hardware) -> tuple[TrainingSection, list[Decision]]:
    """Return the section with the optimizer that this machine has; try optimizer and schedule on a tiny model.

    Raises:
        ConfigError: the optimizer is not to be had, or one of the two does not take its arguments.
    """
    name, reason = choose_optimizer(training.optimizer, hardware)
    training = training.model_copy(update={"optimizer": name})
    arguments = _Settings(training.output_dir, **optimization(training, Schedule(100, 100, 1)))
    sizes = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1)
    model = LlamaForCausalLM(sizes)
    keys = f"`optimizer: {training.optimizer}` and `optim_args: {training.optim_args}`"
    try:
        make, settings = optimizer_class(training, arguments, model)
        if is_optimizer_factory(make):
            optimizer = make()(model, **settings)
        else:
            optimizer = make(settings.pop("params", list(model.parameters())), **settings)
        keys = f"`lr_scheduler: {training.lr_scheduler}` and `lr_scheduler_kwargs: {training.lr_scheduler_kwargs}`"
        make_schedule(training, optimizer, 10, 100)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"{keys} do not go together: {error}") from error
    return training, [Decision("optimizer", name, reason)] if reason else []


def rates(training: TrainingSection, model: "CausalLM") -> dict[torch.nn.Parameter, float]:
    """Return trained weight -> its learning rate, for those that have another one than `learning_rate`.

    Raises:
        ConfigError: a key sets the learning rate of weights of which none is trained.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if training.loraplus_lr_ratio is not None:
        return _loraplus_rates(training, trained, training.learning_rate * training.loraplus_lr_ratio)
    by_weight: dict[torch.nn.Parameter, float] = {}
    for group in reversed(training.lr_groups):  # the first that fits counts
        weights = [weight for name, weight in trained.items() if any(part in name for part in group.modules)]
        by_weight |= _rates_by_key(f"lr_groups: {group.name}", weights, group.lr)
    if rate := training.embedding_lr or training.learning_rate * (training.embedding_lr_scale or 0):
        embeddings = set(embedding_weights(model))
        weights = [weight for weight in trained.values() if weight in embeddings]
        by_weight |= _rates_by_key("embedding_lr", weights, rate)
    return by_weight


def _loraplus_rates(
    training: TrainingSection, trained: dict[str, torch.nn.Parameter], rate: float
) -> dict[torch.nn.Parameter, float]:
    """Return the rates of LoRA+ (2402.12354): `rate` for B matrices, and the one of adapters of embeddings."""
    by_weight = {weight: rate for name, weight in trained.items() if "lora_B" in name or weight.ndim == 1}
    embeddings = [weight for name, weight in trained.items() if "lora_embedding_" in name]
    return by_weight | dict.fromkeys(embeddings, training.loraplus_lr_embedding)


def _rates_by_key(key: str, weights: list[torch.nn.Parameter], rate: float) -> dict[torch.nn.Parameter, float]:
    if not weights:
        raise ConfigError(f"`{key}` sets the learning rate of weights of which none is trained; remove it")
    return dict.fromkeys(weights, rate)


def embedding_weights(model: "CausalLM") -> Iterator[torch.nn.Parameter]:
    """Yield the weights of the embeddings and of the head, with adapters on them."""
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if module is not None:
            yield from module.parameters()


def spread(optimizer: torch.optim.Optimizer, by_weight: dict[torch.nn.Parameter, float]) -> None:
    """Split the optimizer's groups of weights by learning rate."""
    for group in list(optimizer.param_groups):
        by_rate: dict[float, list[torch.nn.Parameter]] = {}
        for weight in group["params"]:
            by_rate.setdefault(by_weight.get(weight, group["lr"]), []).append(weight)
        if set(by_rate) - {group["lr"]}:
            # The group keeps its own rate, which the log shows, if any of its weights has it.
            first = group["lr"] if group["lr"] in by_rate else next(iter(by_rate))
            group["params"], group["lr"] = by_rate.pop(first), first
            for rate, weights in by_rate.items():
                optimizer.add_param_group({**group, "params": weights, "lr": rate})


class Averaged(TrainerCallback):
    """Put the averaged weights of a schedule-free optimizer in place after each step, to be evaluated and saved."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Switch to them; the next step switches back."""
        kwargs["optimizer"].eval()


class Methods(Trainer):
    """A trainer with the config's optimizer, learning rates and schedule: `class Mine(Methods, SomeTrainer)`."""

    model: "CausalLM"

    def __init__(self, *args: Any, training: TrainingSection | None = None, **kwargs: Any) -> None:
        """Take the section `training` besides what the trainer takes; without it, all is as in transformers."""
        super().__init__(*args, **kwargs)
        self.training = training
        if training and training.optimizer.startswith("schedule_free"):
            self.add_callback(Averaged())

    def create_optimizer(self, model: "CausalLM | None" = None) -> torch.optim.Optimizer:
        """Return the optimizer of the config, with its groups of weights."""
        if self.optimizer is not None or self.training is None:
            return super().create_optimizer(model)
        model = self.model if model is None else model
        self.optimizer_cls_and_kwargs = optimizer_class(self.training, self.args, model)
        created = super().create_optimizer(model)
        spread(created, rates(self.training, model))
        return created

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """Return the learning rate schedule of the config."""
        if self.lr_scheduler is None and self.training is not None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            target = optimizer or self.optimizer
            assert target is not None
            self.lr_scheduler: Any = make_schedule(self.training, target, warmup, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)
