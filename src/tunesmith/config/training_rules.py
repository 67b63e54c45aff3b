"""Rules across the keys of training: steps, optimizers, schedules, batches."""

from collections.abc import Iterator

from tunesmith.config.conditions import key_and_value
from tunesmith.config.methods import (
    ACCELERATOR,
    CHECKPOINTING,
    DEEPSPEED,
    OPTIMIZERS,
    REFUSED_OPTIMIZERS,
    RENAMED_OPTIMIZERS,
    SCHEDULES,
    optimizer_options,
)
from tunesmith.config.metrics import GREATER_IS_BETTER, logged_name, metric_kind
from tunesmith.config.problem import Problem, at
from tunesmith.config.yaml_source import flow
from tunesmith.data.splits import set_names
from tunesmith.errors import did_you_mean
from tunesmith.sections import DataSection, DistributionSection, EvaluationSection, TrainingSection
from tunesmith.sections.training import WATCHING

HIGHEST_RATE = 10
"""Higher learning rates are mistakes with every optimizer."""


def training_problems(
    training: TrainingSection, data: DataSection, evaluation: EvaluationSection, distribution: DistributionSection
) -> Iterator[Problem]:
    """Yield the problems between keys of training."""
    yield from _optimizer(training)
    yield from _optimizer_options(training)
    yield from _options(training, distribution)
    if training.learning_rate > HIGHEST_RATE:
        yield at(
            "learning_rate",
            f"{key_and_value(training, 'learning_rate')} is far too high; use 2e-4 for LoRA, 1e-5 to 2e-5 otherwise",
        )
    yield from _batches(training, data)
    yield from _events(training, data)
    yield from _best_metric(training, data, evaluation)
    yield from _schedule(training)


def _best_metric(training: TrainingSection, data: DataSection, evaluation: EvaluationSection) -> Iterator[Problem]:
    """Yield that `metric_for_best_model` is not measured, or that nobody knows which way it is better."""
    metrics = ["loss", "reward_accuracy", "reward_margin", "reward_chosen", "reward_rejected"]
    if data.rl is None:
        metrics = ["loss", "perplexity"]
        metrics += evaluation.eval_causal_lm_metrics if evaluation.do_causal_lm_eval else []
        metrics += ["pass_rate"] if evaluation.evaluation.during_training else []
    if len(data.test_datasets) > 1:
        metrics += [f"{name}_loss" for name in set_names(data.test_datasets)]
    metric, known = training.metric_for_best_model, [logged_name(name) for name in dict.fromkeys(metrics)]
    if logged_name(metric) in known:
        return
    text = f"known are {', '.join(known)}"
    if metric_kind(metric) in GREATER_IS_BETTER:
        with_rl = f" with `rl: {data.rl}`" if data.rl else ""
        yield at("metric_for_best_model", f"`metric_for_best_model: {metric}` is not measured{with_rl}; {text}")
    elif training.greater_is_better is None:
        text += ". Another one also needs `greater_is_better: true` or `false`"
        yield at("metric_for_best_model", f"`metric_for_best_model: {metric}` is unknown; {text}")


def _optimizer(training: TrainingSection) -> Iterator[Problem]:
    name = training.optimizer
    if name in REFUSED_OPTIMIZERS:
        yield at("optimizer", f"`optimizer: {name}`: {REFUSED_OPTIMIZERS[name]}")
    elif RENAMED_OPTIMIZERS.get(name, name) not in OPTIMIZERS:
        hint = f"known are {', '.join(OPTIMIZERS)}{did_you_mean(name, [*RENAMED_OPTIMIZERS, *OPTIMIZERS])}"
        yield at("optimizer", f"`optimizer: {name}` is unknown; {hint}")


def _optimizer_options(training: TrainingSection) -> Iterator[Problem]:
    """Yield where `optim_args` differs from the keys that set the same."""
    try:
        options = optimizer_options(training.optim_args)
    except ValueError as error:
        yield at("optim_args", str(error))
        return
    betas = [training.adam_beta1, training.adam_beta2]
    for name, key, value in (
        ("lr", "learning_rate", training.learning_rate),
        ("weight_decay", "weight_decay", training.weight_decay),
        ("betas", "adam_beta1", betas),
        ("beta1", "adam_beta1", training.adam_beta1),
        ("beta2", "adam_beta2", training.adam_beta2),
        ("eps", "adam_epsilon", training.adam_epsilon),
    ):
        always = key in ("learning_rate", "weight_decay")  # the groups of weights have theirs from there
        if name in options and options[name] != value and (always or key in training.model_fields_set):
            setting = flow({name: options[name]})
            yield at(
                "optim_args", f"`optim_args: {setting}` and {key_and_value(training, key)}: use only one; set `{key}`"
            )


def _options(training: TrainingSection, distribution: DistributionSection) -> Iterator[Problem]:
    """Yield unknown names in keys whose value is passed to a library."""
    deepspeed = distribution.deepspeed
    for key, options, names in (
        ("accelerator_config", training.accelerator_config, ACCELERATOR),
        ("gradient_checkpointing_kwargs", training.gradient_checkpointing_kwargs, CHECKPOINTING),
        ("deepspeed", deepspeed if isinstance(deepspeed, dict) else None, DEEPSPEED),
    ):
        for name in set(options or {}) - set(names):
            hint = did_you_mean(str(name), names) or f"; known are {', '.join(names)}"
            yield (key, str(name)), f"unknown key `{name}` in `{key}`{hint}"


def _batches(training: TrainingSection, data: DataSection) -> Iterator[Problem]:
    size = training.micro_batch_size
    if training.batch_size is not None and training.batch_size % size:
        yield at("batch_size", f"`batch_size: {training.batch_size}` must be a multiple of `micro_batch_size: {size}`")
    if data.curriculum_sampling and data.shuffle_merged_datasets and "shuffle_merged_datasets" in data.model_fields_set:
        text = (
            "`curriculum_sampling: true` and `shuffle_merged_datasets: true`: use only one; the first keeps the order"
        )
        yield at("shuffle_merged_datasets", text)
    if (training.accelerator_config or {}).get("dispatch_batches"):
        yield at("accelerator_config", "`dispatch_batches: true` is for data without a length; remove it")
    if (training.accelerator_config or {}).get("split_batches"):
        text = (
            "`split_batches: true` makes `micro_batch_size` the total of all processes; set `micro_batch_size` instead"
        )
        yield at("accelerator_config", text)


def _events(training: TrainingSection, data: DataSection) -> Iterator[Problem]:
    """Yield keys that need evaluations which the run does not have, or has at other steps."""
    has_eval_rows = bool(data.val_set_size or data.test_datasets)
    need = _find_missing_eval(training, has_eval_rows)
    if need:
        for key in _keys_with_eval(training, has_eval_rows):
            yield at(key, f"{key_and_value(training, key)} needs {need}, or remove it")
    elif training.load_best_model_at_end:
        yield from _best_model(training)


def _find_missing_eval(training: TrainingSection, has_eval_rows: bool) -> str | None:
    """Return what a run without evaluations lacks; None if it evaluates."""
    if not has_eval_rows:
        return "rows to evaluate on; set `val_set_size: 0.05`"
    if training.eval_strategy == "no" or training.evals_per_epoch == 0:
        switch = "eval_strategy" if training.eval_strategy else "evals_per_epoch"
        return f"evaluations, not {key_and_value(training, switch)}"
    return None


def _keys_with_eval(training: TrainingSection, has_eval_rows: bool) -> list[str]:
    """Return the keys that are set and do nothing without evaluations."""
    is_set = {
        "eval_steps": training.eval_steps is not None and not has_eval_rows,
        "early_stopping_patience": training.early_stopping_patience is not None,
        "load_best_model_at_end": training.load_best_model_at_end,
        "save_strategy": training.save_strategy == "best",
        "lr_scheduler": training.lr_scheduler in WATCHING,
    }
    return [key for key in is_set if is_set[key]]


def _best_model(training: TrainingSection) -> Iterator[Problem]:
    """Yield that `load_best_model_at_end` has no evaluation at each save."""
    save, save_steps, save_setting = _interval(training, "save")
    evaluate, eval_steps, eval_setting = _interval(training, "eval")
    # Between a fraction and a number of steps only the run can tell; the Trainer refuses what does not fit.
    steps_differ = save_steps >= 1 and eval_steps >= 1 and save_steps % eval_steps
    if save not in ("best", evaluate) or steps_differ:
        text = f"needs an evaluation at each save, not `{save_setting}` and `{eval_setting}`"
        yield at("load_best_model_at_end", f"`load_best_model_at_end: true` {text}")


def _interval(training: TrainingSection, kind: str) -> tuple[str, float, str]:
    """Return the strategy, the steps if they are set, and the key that sets them."""
    for key in (f"{kind}_steps", f"{kind}s_per_epoch"):
        if value := getattr(training, key):
            return "steps", value if key.endswith("steps") else 0, f"{key}: {value:g}"
    strategy = getattr(training, f"{kind}_strategy") or "epoch"
    return strategy, 0, f"{kind}_strategy: {strategy}"


def _schedule(training: TrainingSection) -> Iterator[Problem]:
    name, restart_steps = training.lr_scheduler, training.jagged_restart_steps
    if name not in SCHEDULES:
        hint = f"known are {', '.join(SCHEDULES)}{did_you_mean(name, SCHEDULES)}"
        yield at("lr_scheduler", f"`lr_scheduler: {name}` is unknown; {hint}")
    warmup, anneal = training.jagged_restart_warmup_steps or 10, training.jagged_restart_anneal_steps or 1
    if restart_steps and warmup + anneal > restart_steps:
        parts = f"`jagged_restart_warmup_steps: {warmup}` and `jagged_restart_anneal_steps: {anneal}`"
        yield at("jagged_restart_steps", f"`jagged_restart_steps: {restart_steps}` is too short for {parts}")
