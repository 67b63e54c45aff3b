"""What evaluations log, and which way each metric is better: one table for everything that looks for the best."""

from collections.abc import Sequence
from typing import Any

GREATER_IS_BETTER = {
    "loss": False,
    "perplexity": False,
    "reward_accuracy": True,
    "reward_margin": True,
    "reward_chosen": True,
    "reward_rejected": False,
    "sacrebleu": True,
    "chrf": True,
    "ter": False,
    "pass_rate": True,
}
"""Metric -> whether a higher value is better. An evaluation logs it as `eval_` and its name."""


def logged_name(metric: str) -> str:
    """Return the name under which an evaluation logs a value of `metric_for_best_model`."""
    return f"eval_{metric.removeprefix('eval_')}"


def metric_kind(metric: str) -> str:
    """Return the entry of the table that a name stands for, such as `loss` for `eval_loss` and `eval_code_loss`."""
    name = metric.removeprefix("eval_")
    return "loss" if name.endswith("_loss") else name


def greater_is_better(metric: str, setting: bool | None) -> bool:
    """Return whether a higher value is better: the `setting` of the config, or else what the table says."""
    return GREATER_IS_BETTER.get(metric_kind(metric), False) if setting is None else setting


def best_evaluation(evaluations: Sequence[dict[str, Any]], metric: str, setting: bool | None) -> dict[str, Any] | None:
    """Return the evaluation with the best value of a metric, the first one of several; None if none has it."""
    name = logged_name(metric)
    measured = [entry for entry in evaluations if entry.get(name) is not None]
    sign = -1 if greater_is_better(metric, setting) else 1
    return min(measured, key=lambda entry: sign * entry[name], default=None)
