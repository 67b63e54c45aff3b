"""Which optimizer trains, at which learning rate which weights; `Methods` puts it into any of the trainers."""

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
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
    from tunesmith.modeling.causal_lm import CausalLM


def choose_optimizer(name: str, hardware: Hardware) -> tuple[str, str]:
    """Return the optimizer for this machine, and why it is not the one asked for, if so.

    Raises:
        ConfigError: its package is missing, and no other optimizer gives the same result.
    """
    found = RENAMED_OPTIMIZERS.get(name, name)
    why = "" if found == name else f"the present name of {name}"
    if hardware.kind != "cuda" and found in WITHOUT_GPU:
        found, why = WITHOUT_GPU[found], f"{name} needs a GPU; the same method, in full precision or without pages"
    package = OPTIMIZERS[found]
    if not _has(package, hardware):
        if package not in ("bitsandbytes", "torch_xla", "torch_npu") or "adamw" not in found:
            pip = "'tunesmith[qlora]'" if package == "bitsandbytes" else package
            raise ConfigError(
                f"`optimizer: {name}` needs {package}: pip install {pip}, or set `optimizer: adamw_torch`"
            )
        return "adamw_torch", f"{name} needs {package}; the same method, in full precision"
    return found, why


def _has(package: str, hardware: Hardware) -> bool:
    if package == "bitsandbytes":
        return hardware.quantised_optimizer
    try:
        return bool(importlib.metadata.version(package or "torch"))
    except importlib.metadata.PackageNotFoundError:
        return False


def _adam(training: TrainingSection) -> dict[str, Any]:
    """Return AdamW's settings that the file sets; what it leaves open is left to the library's own defaults."""
    given = training.model_fields_set
    betas = {"betas": (training.adam_beta1, training.adam_beta2)} if given & {"adam_beta1", "adam_beta2"} else {}
    return betas | ({"eps": training.adam_epsilon} if "adam_epsilon" in given else {})


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


def optimizer_class(training: TrainingSection, arguments: TrainingArguments, model: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class of the optimizer (or what makes it) and its arguments, with those that transformers forgets."""
    given = optimizer_options(training.optim_args)
    if training.optimizer in OWN:
        module, name, settings = OWN[training.optimizer]
        made = getattr(importlib.import_module(module), name)
        return made, {"lr": training.learning_rate, **settings(training), **given}
    made, kept = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    if arguments.optim.startswith(("galore_adamw", "apollo_")):
        kept |= {"betas": (training.adam_beta1, training.adam_beta2), "eps": training.adam_epsilon}
        kept |= {"weight_decay": training.weight_decay}
    if OPTIMIZERS[arguments.optim] in ("", "bitsandbytes") and "ademamix" not in arguments.optim:
        kept |= given
    return made, kept


class _Settings(TrainingArguments):
    """The values alone: the whole class also joins the other processes, which is too early before the data is there."""

    def __post_init__(self) -> None:
        pass


def for_this_machine(training: TrainingSection, hardware: Hardware) -> tuple[TrainingSection, list[Decision]]:
    """Return the section with the optimizer that this machine has; try optimizer and schedule on a tiny model.

    Raises:
        ConfigError: the optimizer is not to be had, or one of the two does not take its arguments.
    """
    name, why = choose_optimizer(training.optimizer, hardware)
    training = training.model_copy(update={"optimizer": name})
    arguments = _Settings(training.output_dir, **optimization(training, Schedule(100, 100, 1)))
    sizes = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1)
    model = LlamaForCausalLM(sizes)
    keys = f"`optimizer: {training.optimizer}` and `optim_args: {training.optim_args}`"
    try:
        made, settings = optimizer_class(training, arguments, model)
        if is_optimizer_factory(made):
            optimizer = made()(model, **settings)
        else:
            optimizer = made(settings.pop("params", list(model.parameters())), **settings)
        keys = f"`lr_scheduler: {training.lr_scheduler}` and `lr_scheduler_kwargs: {training.lr_scheduler_kwargs}`"
        make_schedule(training, optimizer, 10, 100)
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError(f"{keys} do not go together: {error}") from error
    return training, [Decision("optimizer", name, why)] if why else []


def rates(training: TrainingSection, model: Any) -> dict[Any, float]:
    """Return trained weight -> its learning rate, for those that have another one than `learning_rate`.

    Raises:
        ConfigError: a key sets the learning rate of weights of which none is trained.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if training.loraplus_lr_ratio is not None:
        far = training.learning_rate * training.loraplus_lr_ratio
        found = {weight: far for name, weight in trained.items() if "lora_B" in name or weight.ndim == 1}
        inside = [weight for name, weight in trained.items() if "lora_embedding_" in name]
        return found | dict.fromkeys(inside, training.loraplus_lr_embedding)
    found = {}
    wanted = [
        (
            f"lr_groups: {group.name}",
            [w for name, w in trained.items() if any(part in name for part in group.modules)],
            group.lr,
        )
        for group in training.lr_groups
    ]
    if rate := training.embedding_lr or training.learning_rate * (training.embedding_lr_scale or 0):
        embeddings = set(embedding_weights(model))
        wanted.insert(0, ("embedding_lr", [weight for weight in trained.values() if weight in embeddings], rate))
    for key, weights, rate in reversed(wanted):  # the first that fits counts
        if not weights:
            raise ConfigError(f"`{key}` sets the learning rate of weights of which none is trained; remove it")
        found |= dict.fromkeys(weights, rate)
    return found


def embedding_weights(model: Any) -> Iterator[Any]:
    """Yield the weights of the embeddings and of the head, with adapters on them."""
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if module is not None:
            yield from module.parameters()


def spread(optimizer: torch.optim.Optimizer, by_weight: dict[Any, float]) -> None:
    """Split the optimizer's groups of weights by learning rate."""
    for group in list(optimizer.param_groups):
        by_rate: dict[float, list[Any]] = {}
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

    def create_optimizer(self, model: Any = None) -> Any:
        """Return the optimizer of the config, with its groups of weights."""
        if self.optimizer is not None or self.training is None:
            return super().create_optimizer(model)
        model = self.model if model is None else model
        self.optimizer_cls_and_kwargs = optimizer_class(self.training, self.args, model)
        made = super().create_optimizer(model)
        spread(made, rates(self.training, model))
        return made

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the learning rate schedule of the config."""
        if self.lr_scheduler is None and self.training is not None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            target = optimizer or self.optimizer
            assert target is not None
            self.lr_scheduler: Any = make_schedule(self.training, target, warmup, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)
