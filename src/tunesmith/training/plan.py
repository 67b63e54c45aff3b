"""What is decided before anything slow: precision, attention, optimizer, kernels, devices and trackers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.hardware import Hardware
from tunesmith.modeling.load import training_attention
from tunesmith.modeling.precision import Precision, choose_precision
from tunesmith.objectives import find_objective
from tunesmith.objectives.objective import Objective
from tunesmith.sections import Config, TrainingSection
from tunesmith.training.arguments import Decision
from tunesmith.training.optim.optimizers import for_this_machine
from tunesmith.training.record.publish import hub_arguments
from tunesmith.training.record.trackers import choose_trackers
from tunesmith.training.runtime.distribution import distribution_arguments
from tunesmith.training.runtime.kernels import kernel_arguments
from tunesmith.world import World


@dataclass(frozen=True)
class Plan:
    """How a config is trained on this machine.

    Attributes:
        objective: what is trained.
        hardware: the machine.
        world: the processes.
        precision: formats of weights and products.
        attention: transformers' name of the attention code.
        training: the section, with what this machine has in place of what it lacks.
        arguments: for TrainingArguments, about devices, kernels, trackers and the Hub.
        trackers: names of the trackers that run.
        decisions: what was decided and why, to be printed.
    """

    objective: Objective
    hardware: Hardware
    world: World
    precision: Precision
    attention: str
    training: TrainingSection
    arguments: dict[str, Any]
    trackers: list[str]
    decisions: list[Decision]


def make_plan(config: Config, hardware: Hardware, world: World) -> Plan:
    """Return how the config is trained on this machine.

    Raises:
        UserError: the machine lacks something, and doing without it would change the result.
    """
    precision = choose_precision(config.model, hardware)
    attention, attention_why = training_attention(config.model, hardware)
    training, replaced = for_this_machine(config.training, hardware)
    devices, spread = distribution_arguments(config, hardware, world.size)
    kernels, fast = kernel_arguments(config.model, hardware)
    trackers = choose_trackers(config.tracking, Path(training.output_dir), world)
    formats = f"{precision.compute}, trained weights {precision.trained}"
    unused = [Decision("tf32", "off", f"a {hardware.kind} has none; the same result")]
    decisions = [
        Decision("hardware", str(hardware), "detected"),
        Decision("precision", formats, precision.reason),
        Decision("attention", attention, attention_why),
        *(unused if config.model.tf32 is True and hardware.kind != "cuda" else []),
        *(*replaced, *spread, *fast, *trackers.decisions),
    ]
    arguments = devices | kernels | trackers.arguments | hub_arguments(config.tracking, world)
    return Plan(
        find_objective(config.data.rl),
        hardware,
        world,
        precision,
        attention,
        training,
        arguments,
        trackers.names,
        decisions,
    )
