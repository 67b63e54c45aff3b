"""The learning rate over the steps: transformers' schedules, and those that only Axolotl has.

All but three are a factor of the learning rate as a function of the step, so that restarts can be laid over them.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from transformers import get_scheduler
from transformers.trainer_utils import SchedulerType

from tunesmith.config.metrics import greater_is_better
from tunesmith.sections import TrainingSection
from tunesmith.sections.training import WATCHING

Factor = Callable[[int], float]


def transformers_schedule(training: TrainingSection) -> tuple[str, dict[str, Any]]:
    """Return the name that transformers gives the schedule, or the nearest one that it has, and its arguments."""
    name, arguments = training.lr_scheduler, training.lr_scheduler_kwargs
    if name == "cosine" and training.cosine_min_lr_ratio is not None:
        return "cosine_with_min_lr", arguments | {"min_lr_rate": training.cosine_min_lr_ratio}
    if name == "cosine" and {"min_lr", "min_lr_rate"} & set(arguments):
        return "cosine_with_min_lr", arguments
    if name in WATCHING and greater_is_better(training.metric_for_best_model, training.greater_is_better):
        return name, {"mode": "max"} | arguments
    return (name, arguments) if name in set(SchedulerType) else ("constant", {})


def make_schedule(training: TrainingSection, optimizer: Optimizer, warmup: int, steps: int) -> LRScheduler:
    """Return the learning rate schedule of a run of `steps` steps, of which `warmup` rise."""
    schedule: LambdaLR
    if training.lr_scheduler == "one_cycle":
        return _one_cycle(training, optimizer, warmup, steps)
    if training.lr_scheduler == "rex":
        schedule = LambdaLR(
            optimizer, _rex(training.cosine_min_lr_ratio or 0.0, warmup, steps, **training.lr_scheduler_kwargs)
        )
    elif training.lr_quadratic_warmup or training.cosine_constant_lr_ratio:
        schedule = LambdaLR(optimizer, _cosine(training, warmup, steps, **training.lr_scheduler_kwargs))
    else:
        name, arguments = transformers_schedule(training)
        schedule = get_scheduler(name, optimizer, warmup, steps, arguments)
    if training.jagged_restart_steps:
        return LambdaLR(optimizer, [_jagged(training, factor) for factor in schedule.lr_lambdas])
    return schedule


def highest_rate(training: TrainingSection, warmup: int, steps: int) -> float:
    """Return the highest learning rate of the steps of a run."""
    optimizer = SGD([torch.zeros(1)], lr=training.learning_rate)
    schedule = make_schedule(training, optimizer, warmup, steps)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return max(rates)


def _one_cycle(training: TrainingSection, optimizer: Optimizer, warmup: int, steps: int) -> LRScheduler:
    """Up and down once, with the momentum the other way round where the optimizer has one."""
    steps = max(steps, 2)
    rise = warmup + 1e-6 if warmup == 1 else warmup  # torch divides by the steps of the rise less one
    arguments: dict[str, Any] = {"pct_start": rise / steps, "anneal_strategy": "cos"}
    arguments["cycle_momentum"] = bool({"momentum", "betas"} & set(optimizer.defaults))
    if training.lr_div_factor is not None:
        arguments["div_factor"] = training.lr_div_factor
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=steps, **(arguments | training.lr_scheduler_kwargs))


def _rex(low: float, warmup: int, steps: int) -> Factor:
    """Reflected exponential (Chen et al., 2021), with Axolotl's constants; its first step is already step 1."""

    def factor(step: int) -> float:
        done = step + 1
        if done <= warmup:
            return done / warmup
        remaining = max(0.0, (steps - done) / max(1, steps - warmup))
        return low + (1 - low) * remaining / (0.1 + 0.9 * remaining)

    return factor


def _cosine(training: TrainingSection, warmup: int, steps: int, *, num_cycles: float = 0.5) -> Factor:
    """A cosine with a floor, that may be reached before the end, and with a warmup that may be a parabola."""
    end = int(steps * training.cosine_constant_lr_ratio) if training.cosine_constant_lr_ratio else steps
    low = training.cosine_min_lr_ratio or 0.0

    def factor(step: int) -> float:
        if step < warmup:
            return (step / warmup) ** (2 if training.lr_quadratic_warmup else 1)
        progress = (min(step, end) - warmup) / max(1, end - warmup)
        return low + (1 - low) * max(0.0, 0.5 * (1 + math.cos(2 * math.pi * num_cycles * progress)))

    return factor


def _jagged(training: TrainingSection, inner: Factor) -> Factor:
    """Fall to nearly nothing at each restart (where ReLoRA merges its adapter), and rise again."""
    every, rise = training.jagged_restart_steps or 0, training.jagged_restart_warmup_steps or 10
    fall, low = training.jagged_restart_anneal_steps or 1, training.cosine_min_lr_ratio or 0.001

    def factor(step: int) -> float:
        position = step % every
        if step < every - fall:
            fraction = 1.0
        elif position < rise:
            fraction = position / rise
        else:
            fraction = min(1.0, (every - position) / fall)
        return inner(step) * (low + (1 - low) * fraction)

    return factor
