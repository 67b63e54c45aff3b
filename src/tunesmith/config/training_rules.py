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
from tunesmith.config.problem import Problem, at
from tunesmith.config.yaml_source import flow
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
    measured = ["loss", "perplexity", "reward_accuracy", "reward_margin"]
    measured += evaluation.eval_causal_lm_metrics if evaluation.do_causal_lm_eval else []
    measured += ["pass_rate"] if evaluation.evaluation.during_training else []
    if not (metric := training.metric_for_best_model).endswith(tuple(measured)):
        known = ", ".join(f"eval_{name}" for name in measured)
        yield at("metric_for_best_model", f"`metric_for_best_model: {metric}` is not measured; known are {known}")
    yield from _schedule(training)


def _optimizer(training: TrainingSection) -> Iterator[Problem]:
    name = training.optimizer
    if name in REFUSED_OPTIMIZERS:
        yield at("optimizer", f"`optimizer: {name}`: {REFUSED_OPTIMIZERS[name]}")
    elif RENAMED_OPTIMIZERS.get(name, name) not in OPTIMIZERS:
        known = f"known are {', '.join(OPTIMIZERS)}{did_you_mean(name, [*RENAMED_OPTIMIZERS, *OPTIMIZERS])}"
        yield at("optimizer", f"`optimizer: {name}` is unknown; {known}")


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
            said = flow({name: options[name]})
            yield at(
                "optim_args", f"`optim_args: {said}` and {key_and_value(training, key)}: use only one; set `{key}`"
            )


def _options(training: TrainingSection, distribution: DistributionSection) -> Iterator[Problem]:
    """Yield unknown names in keys whose value is passed to a library."""
    deepspeed = distribution.deepspeed
    for key, given, known in (
        ("accelerator_config", training.accelerator_config, ACCELERATOR),
        ("gradient_checkpointing_kwargs", training.gradient_checkpointing_kwargs, CHECKPOINTING),
        ("deepspeed", deepspeed if isinstance(deepspeed, dict) else None, DEEPSPEED),
    ):
        for name in set(given or {}) - set(known):
            hint = did_you_mean(str(name), known) or f"; known are {', '.join(known)}"
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
    has_eval = bool(data.val_set_size or data.test_datasets)
    off = None if has_eval else "rows to evaluate on; set `val_set_size: 0.05`"
    if has_eval and (training.eval_strategy == "no" or training.evals_per_epoch == 0):
        switch = "eval_strategy" if training.eval_strategy else "evals_per_epoch"
        off = f"evaluations, not {key_and_value(training, switch)}"
    evaluating = {
        "eval_steps": training.eval_steps is not None and not has_eval,
        "early_stopping_patience": training.early_stopping_patience is not None,
        "load_best_model_at_end": training.load_best_model_at_end,
        "save_strategy": training.save_strategy == "best",
        "lr_scheduler": training.lr_scheduler in WATCHING,
    }
    for key in evaluating if off else ():
        if evaluating[key]:
            yield at(key, f"{key_and_value(training, key)} needs {off}, or remove it")
    (save, saved, save_said), (evaluate, evaluated, eval_said) = (_rhythm(training, kind) for kind in ("save", "eval"))
    # Between a fraction and a number of steps only the run can tell; the Trainer refuses what does not fit.
    apart = saved >= 1 and evaluated >= 1 and saved % evaluated
    if training.load_best_model_at_end and not off and (save not in ("best", evaluate) or apart):
        text = f"needs an evaluation at each save, not `{save_said}` and `{eval_said}`"
        yield at("load_best_model_at_end", f"`load_best_model_at_end: true` {text}")


def _rhythm(training: TrainingSection, kind: str) -> tuple[str, float, str]:
    """Return the strategy, the steps if they are set, and the key that sets them."""
    for key in (f"{kind}_steps", f"{kind}s_per_epoch"):
        if value := getattr(training, key):
            return "steps", value if key.endswith("steps") else 0, f"{key}: {value:g}"
    strategy = getattr(training, f"{kind}_strategy") or "epoch"
    return strategy, 0, f"{kind}_strategy: {strategy}"


def _schedule(training: TrainingSection) -> Iterator[Problem]:
    name, every = training.lr_scheduler, training.jagged_restart_steps
    if name not in SCHEDULES:
        known = f"known are {', '.join(SCHEDULES)}{did_you_mean(name, SCHEDULES)}"
        yield at("lr_scheduler", f"`lr_scheduler: {name}` is unknown; {known}")
    rise, fall = training.jagged_restart_warmup_steps or 10, training.jagged_restart_anneal_steps or 1
    if every and rise + fall > every:
        parts = f"`jagged_restart_warmup_steps: {rise}` and `jagged_restart_anneal_steps: {fall}`"
        yield at("jagged_restart_steps", f"`jagged_restart_steps: {every}` is too short for {parts}")
