"""From the config's sections to transformers' TrainingArguments, and what had to be decided on the way."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from tunesmith.config.metrics import greater_is_better
from tunesmith.errors import ConfigError
from tunesmith.hardware import Hardware
from tunesmith.modeling.precision import Precision
from tunesmith.sections import TrainingSection
from tunesmith.sections.training import WATCHING
from tunesmith.training.optim.schedules import highest_rate, transformers_schedule


class Decision(NamedTuple):
    """A value that the config leaves open or that this machine replaces, with the reason, to be printed."""

    key: str
    value: str
    reason: str


@dataclass(frozen=True)
class Schedule:
    """Steps of a run.

    Attributes:
        steps: optimizer steps in all.
        per_epoch: optimizer steps in one pass over the data.
        sequences: sequences in one optimizer step, over all processes.
    """

    steps: int
    per_epoch: int
    sequences: int


def plan_steps(training: TrainingSection, sequences: int, world_size: int) -> Schedule:
    """Return the steps of a run over `sequences` sequences.

    Raises:
        ConfigError: `dataloader_drop_last` drops all there is.
    """
    per_step = training.micro_batch_size * accumulation(training) * world_size
    batches = sequences / (training.micro_batch_size * world_size)
    batches = math.floor(batches) if training.dataloader_drop_last else math.ceil(batches)
    if not batches:
        raise ConfigError(f"`dataloader_drop_last: true` leaves none of {sequences} sequences; set it to false")
    per_epoch = max(1, math.ceil(batches / accumulation(training)))
    steps = training.max_steps or math.ceil(per_epoch * training.num_epochs)
    return Schedule(steps, per_epoch, per_step)


def accumulation(training: TrainingSection) -> int:
    """Return gradient_accumulation_steps, which `batch_size` may set."""
    if training.batch_size is not None:
        return training.batch_size // training.micro_batch_size
    return training.gradient_accumulation_steps


def warmup_steps(training: TrainingSection, steps: int) -> int:
    """Return the steps over which the learning rate rises; by default 3% of the run, at most 100 and not all."""
    if training.warmup_steps is not None:
        is_fraction = isinstance(training.warmup_steps, float)
        return _share(training.warmup_steps, steps) if is_fraction else int(training.warmup_steps)
    if training.warmup_ratio is not None:
        return _share(training.warmup_ratio, steps)
    return min(100, math.ceil(0.03 * steps), steps - 1)


def _share(ratio: float, steps: int) -> int:
    """Return a share of the steps, rounded up; less than the whole leaves a step, also in a run of one."""
    return min(math.ceil(ratio * steps), steps - 1 if ratio < 1 else steps)


def check_warmup(training: TrainingSection, steps: int) -> str:
    """Return a warning if the warmup takes the whole run; empty if it does not.

    Raises:
        ConfigError: the learning rate is 0 at all steps.
    """
    warmup = warmup_steps(training, steps)
    if warmup < steps or training.lr_scheduler in ("constant", *WATCHING):
        return ""
    key = "warmup_steps" if training.warmup_steps is not None else "warmup_ratio"
    highest = highest_rate(training, warmup, steps)
    text = f"`{key}: {getattr(training, key)}` is a warmup of {warmup} steps in a run of {steps}"
    if not highest:
        raise ConfigError(f"{text}, whose learning rate would be 0: nothing would be trained. Set `{key}: 0`")
    peak = f"{training.learning_rate:.2e}"
    return f"{text}: the learning rate rises to {highest:.2e} and never reaches {peak}; lower `{key}`"


def how_often(
    strategy: str | None, steps: float | None, per_epoch: int | None, schedule: Schedule, default: str
) -> tuple[str, int | None]:
    """Return transformers' strategy ("no", "steps" or "epoch") and the steps between two events."""
    if per_epoch == 0:
        return "no", None
    if per_epoch is not None:
        return "steps", max(1, schedule.per_epoch // per_epoch)
    if steps is not None:
        return "steps", max(1, math.ceil(steps * schedule.steps) if steps < 1 else int(steps))
    if strategy == "steps":
        return "steps", schedule.per_epoch
    return strategy or default, None


def training_arguments(
    training: TrainingSection,
    schedule: Schedule,
    precision: Precision,
    hardware: Hardware,
    *,
    has_eval: bool,
    in_order: bool = False,
    others: dict[str, Any] | None = None,
) -> TrainingArguments:
    """Return transformers' arguments for a run, `in_order` of the data, with those that others decided.

    Raises:
        ConfigError: the Trainer refuses a combination of keys.
    """
    groups = optimization(training, schedule) | _events(training, schedule, has_eval) | _loading(training)
    try:
        return TrainingArguments(
            output_dir=training.output_dir,
            seed=training.seed,
            data_seed=training.data_seed,
            use_cpu=hardware.kind == "cpu",
            bf16=precision.autocast and hardware.kind != "cpu",  # there the trainer does it, see `trainer.py`
            fp16=precision.trained == "float32" and precision.compute == "float16",
            tf32=precision.tf32,
            per_device_train_batch_size=training.micro_batch_size,
            per_device_eval_batch_size=training.eval_batch_size or training.micro_batch_size,
            gradient_checkpointing=bool(training.gradient_checkpointing),
            gradient_checkpointing_kwargs=training.gradient_checkpointing_kwargs or {"use_reentrant": False},
            train_sampling_strategy="sequential" if in_order else "random",
            ddp_find_unused_parameters=training.ddp_find_unused_parameters,
            include_num_input_tokens_seen="all",
            remove_unused_columns=False,
            disable_tqdm=True,
            **groups,
            **(others or {}),
        )
    except ValueError as error:
        reason = " ".join(str(error).split()).replace("--", "")
        raise ConfigError(f"these keys do not go together: {reason}") from error


def optimization(training: TrainingSection, schedule: Schedule) -> dict[str, Any]:
    """Return the arguments that decide the steps themselves; `optimizers.py` adds what transformers lacks."""
    scheduler, scheduler_arguments = transformers_schedule(training)
    return {
        "gradient_accumulation_steps": accumulation(training),
        "num_train_epochs": training.num_epochs,
        "max_steps": training.max_steps or -1,
        "learning_rate": training.learning_rate,
        "optim": training.optimizer if training.optimizer in set(OptimizerNames) else "adamw_torch",
        "optim_target_modules": training.optim_target_modules,
        "optim_args": _optimizer_arguments(training.optim_args),
        "lr_scheduler_type": scheduler,
        "lr_scheduler_kwargs": scheduler_arguments,
        "warmup_steps": warmup_steps(training, schedule.steps),
        "weight_decay": training.weight_decay,
        "adam_beta1": training.adam_beta1,
        "adam_beta2": training.adam_beta2,
        "adam_epsilon": training.adam_epsilon,
        "max_grad_norm": training.max_grad_norm,
    }


def _events(training: TrainingSection, schedule: Schedule, has_eval: bool) -> dict[str, Any]:
    """Return the arguments that decide when to log, evaluate and save."""
    save, save_steps = how_often(
        training.save_strategy, training.save_steps, training.saves_per_epoch, schedule, default="epoch"
    )
    evaluate, eval_steps = how_often(
        training.eval_strategy, training.eval_steps, training.evals_per_epoch, schedule, default="epoch"
    )
    metric = training.metric_for_best_model
    return {
        "logging_steps": training.logging_steps or max(1, min(10, schedule.steps // 20)),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "eval_strategy": evaluate if has_eval else "no",
        "eval_steps": eval_steps,
        "save_strategy": save,
        "save_steps": save_steps or 500,
        "save_total_limit": training.save_total_limit,
        "save_only_model": training.save_only_model,
        "torch_empty_cache_steps": training.torch_empty_cache_steps,
        "load_best_model_at_end": training.load_best_model_at_end,
        "metric_for_best_model": metric if has_eval else None,
        "greater_is_better": greater_is_better(metric, training.greater_is_better) if has_eval else None,
    }


def _loading(training: TrainingSection) -> dict[str, Any]:
    """Return the arguments that decide how batches are loaded."""
    workers = training.dataloader_num_workers
    return {
        "dataloader_num_workers": workers,
        "dataloader_prefetch_factor": training.dataloader_prefetch_factor if workers else None,
        "dataloader_pin_memory": training.dataloader_pin_memory,
        "dataloader_drop_last": training.dataloader_drop_last,
        "accelerator_config": training.accelerator_config,
    }


def _optimizer_arguments(options: dict[str, Any] | str | None) -> str | None:
    """Return `optim_args` in the form of transformers: "key=value,key=value"."""
    if isinstance(options, dict):
        return ",".join(f"{key}={value}" for key, value in options.items() if not isinstance(value, list))
    return options
