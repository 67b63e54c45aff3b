"""Rules across the keys of training: steps, optimizers, schedules, batches; and which of them change nothing."""

from collections.abc import Iterator

from tunesmith.config.methods import (
    ACCELERATOR,
    CHECKPOINTING,
    DEEPSPEED,
    LOW_RANK,
    NO_BETAS,
    OPTIMIZERS,
    REFUSED_OPTIMIZERS,
    RENAMED_OPTIMIZERS,
    SCHEDULES,
    WATCHING,
    optimizer_options,
)
from tunesmith.config.problem import Idle, Problem, at
from tunesmith.config.yaml_source import flow
from tunesmith.errors import did_you_mean
from tunesmith.sections import Config, DataSection, TrainingSection

ONE_OF = (
    ("warmup_steps", "warmup_ratio"),
    ("save_steps", "saves_per_epoch"),
    ("eval_steps", "evals_per_epoch"),
    ("batch_size", "gradient_accumulation_steps"),
    ("embedding_lr", "embedding_lr_scale"),
    *(("loraplus_lr_ratio", other) for other in ("lr_groups", "embedding_lr", "embedding_lr_scale")),
)
"""Keys of which a file may set one."""


HIGHEST_RATE = 10
"""Learning rates above this are mistakes for every optimizer."""


def training_problems(config: Config) -> Iterator[Problem]:
    """Yield the problems between keys of training."""
    training = config.training
    for one, other in ONE_OF:
        if {one, other} <= training.model_fields_set:
            yield at(other, f"`{_said(training, one)}` and `{_said(training, other)}`: keep one")
    yield from _optimizer(training)
    yield from _optimizer_options(training)
    yield from _options(config)
    if training.learning_rate > HIGHEST_RATE:
        yield at(
            "learning_rate",
            f"`{_said(training, 'learning_rate')}` is far too high; 2e-4 suits LoRA, 1e-5 to 2e-5 full fine-tuning",
        )
    if training.loraplus_lr_ratio is not None and config.adapter.adapter is None:
        yield at("loraplus_lr_ratio", f"`{_said(training, 'loraplus_lr_ratio')}` needs `adapter: lora` (or qlora)")
    yield from _batches(training, config.data)
    yield from _events(config)
    measured = ["loss", "perplexity", "reward_accuracy", "reward_margin"]
    measured += config.evaluation.eval_causal_lm_metrics if config.evaluation.do_causal_lm_eval else []
    measured += ["pass_rate"] if config.evaluation.evaluation.during_training else []
    if not (metric := training.metric_for_best_model).endswith(tuple(measured)):
        known = ", ".join(f"eval_{name}" for name in measured)
        yield at("metric_for_best_model", f"`metric_for_best_model: {metric}` is not measured; known are {known}")
    yield from _schedule(training)


def _said(training: TrainingSection, key: str) -> str:
    """Return a key and its value as the file has them, but for lists of blocks."""
    value = getattr(training, key)
    return key if isinstance(value, list) else f"{key}: {str(value).lower() if isinstance(value, bool) else value}"


def _optimizer(training: TrainingSection) -> Iterator[Problem]:
    name = training.optimizer
    if name in REFUSED_OPTIMIZERS:
        yield at("optimizer", f"`optimizer: {name}`: {REFUSED_OPTIMIZERS[name]}")
    elif RENAMED_OPTIMIZERS.get(name, name) not in OPTIMIZERS:
        known = f"known are {', '.join(OPTIMIZERS)}{did_you_mean(name, [*RENAMED_OPTIMIZERS, *OPTIMIZERS])}"
        yield at("optimizer", f"`optimizer: {name}` is unknown; {known}")
    elif name.startswith(LOW_RANK) and not training.optim_target_modules:
        yield at("optimizer", f"`optimizer: {name}` needs `optim_target_modules`, such as all_linear or [q_proj]")


def _optimizer_options(training: TrainingSection) -> Iterator[Problem]:
    """Yield where `optim_args` says other than the keys that set the same."""
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
            yield at("optim_args", f"`optim_args: {said}` and `{_said(training, key)}`: keep one; set `{key}`")


def _options(config: Config) -> Iterator[Problem]:
    """Yield names that no library knows in keys whose value is handed on to one."""
    training, deepspeed = config.training, config.distribution.deepspeed
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
    if data.curriculum_sampling and training.group_by_length:
        yield at("group_by_length", "`curriculum_sampling: true` and `group_by_length: true`: keep one")
    if data.curriculum_sampling and data.shuffle_merged_datasets and "shuffle_merged_datasets" in data.model_fields_set:
        text = "`curriculum_sampling: true` and `shuffle_merged_datasets: true`: keep one; the first keeps the order"
        yield at("shuffle_merged_datasets", text)
    if (training.accelerator_config or {}).get("dispatch_batches"):
        yield at("accelerator_config", "`dispatch_batches: true` is for data without a length; remove it")
    if (training.accelerator_config or {}).get("split_batches"):
        text = "`split_batches: true` makes `micro_batch_size` that of all processes; set `micro_batch_size` instead"
        yield at("accelerator_config", text)


def _events(config: Config) -> Iterator[Problem]:
    training, has_eval = config.training, bool(config.data.val_set_size or config.data.test_datasets)
    for kind in ("save", "eval"):
        strategy = getattr(training, f"{kind}_strategy")
        for key in (f"{kind}_steps", f"{kind}s_per_epoch"):
            if key in training.model_fields_set and strategy in ("no", "epoch", "best"):
                yield at(key, f"`{_said(training, key)}` needs `{kind}_strategy: steps`, found `{strategy}`")
    off = None if has_eval else "rows to evaluate on; set `val_set_size: 0.05`"
    if has_eval and (training.eval_strategy == "no" or training.evals_per_epoch == 0):
        off = f"evaluations, and `{_said(training, 'eval_strategy' if training.eval_strategy else 'evals_per_epoch')}`"
    evaluating = {
        "eval_steps": training.eval_steps is not None and not has_eval,
        "early_stopping_patience": training.early_stopping_patience is not None,
        "load_best_model_at_end": training.load_best_model_at_end,
        "save_strategy": training.save_strategy == "best",
        "lr_scheduler": training.lr_scheduler in WATCHING,
    }
    for key in evaluating if off else ():
        if evaluating[key]:
            yield at(key, f"`{_said(training, key)}` needs {off}, or remove it")
    (save, saved, save_said), (evaluate, evaluated, eval_said) = (_rhythm(training, kind) for kind in ("save", "eval"))
    # Between a fraction and a number of steps only the run can tell; the Trainer refuses what does not fit.
    apart = saved >= 1 and evaluated >= 1 and saved % evaluated
    if training.load_best_model_at_end and not off and (save not in ("best", evaluate) or apart):
        text = f"needs an evaluation at each save; found `{save_said}` and `{eval_said}`"
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
    for key in ("cosine_min_lr_ratio", "lr_quadratic_warmup", "cosine_constant_lr_ratio"):
        low = key == "cosine_min_lr_ratio"  # which is also the floor of rex, and of restarts
        if getattr(training, key) and name != "cosine" and not (low and (name == "rex" or every)):
            wanted = "`lr_scheduler: cosine` or `lr_scheduler: rex`" if low else "`lr_scheduler: cosine`"
            yield at(key, f"`{_said(training, key)}` needs {wanted}, found `{name}`")
    if training.cosine_constant_lr_ratio and training.cosine_min_lr_ratio is None:
        said = _said(training, "cosine_constant_lr_ratio")
        yield at("cosine_constant_lr_ratio", f"`{said}` needs `cosine_min_lr_ratio`, the share that it ends at")
    if every and name in (*WATCHING, "one_cycle"):
        text = f"`jagged_restart_steps: {every}` does not go with `lr_scheduler: {name}`; use cosine"
        yield at("jagged_restart_steps", text)
    rise, fall = training.jagged_restart_warmup_steps or 10, training.jagged_restart_anneal_steps or 1
    if every and rise + fall > every:
        parts = f"`jagged_restart_warmup_steps: {rise}` and `jagged_restart_anneal_steps: {fall}`"
        yield at("jagged_restart_steps", f"`jagged_restart_steps: {every}` leaves no room for {parts}")


def _nothing_best(config: Config) -> bool:
    training = config.training
    asked = training.early_stopping_patience or training.load_best_model_at_end or training.save_strategy == "best"
    return not asked and training.lr_scheduler not in WATCHING


_NO_WARMUP = "the schedule has no warmup; `lr_scheduler: constant_with_warmup` has one"
IDLE_TRAINING: list[Idle] = [
    (
        "adam_beta1 adam_beta2 adam_epsilon",
        lambda c: any(name in c.training.optimizer for name in NO_BETAS),
        "the optimizer has no such argument",
    ),
    ("adam_epsilon", lambda c: "lion" in c.training.optimizer, "Lion has no such argument"),
    (
        "adam_beta3 adam_epsilon2",
        lambda c: "came" not in c.training.optimizer,
        "only `optimizer: came_pytorch` has them",
    ),
    ("optim_target_modules", lambda c: not c.training.optimizer.startswith(LOW_RANK), "only GaLore and APOLLO read it"),
    ("loraplus_lr_embedding", lambda c: c.training.loraplus_lr_ratio is None, "there is no `loraplus_lr_ratio`"),
    ("save_total_limit", lambda c: c.training.save_strategy == "no", "`save_strategy: no` saves no checkpoints"),
    ("lr_div_factor", lambda c: c.training.lr_scheduler != "one_cycle", "only `lr_scheduler: one_cycle` reads it"),
    ("jagged_restart_", lambda c: c.training.jagged_restart_steps is None, "there is no `jagged_restart_steps`"),
    ("warmup_steps warmup_ratio", lambda c: c.training.lr_scheduler in ("constant", *WATCHING), _NO_WARMUP),
    ("use_eaft", lambda c: c.data.rl is not None, "pairs have a loss of their own"),
    ("eaft_", lambda c: not c.training.use_eaft, "`use_eaft` is off"),
    ("group_by_length", lambda c: c.data.sample_packing, "packed rows are of one length"),
    ("sample_packing_sequentially", lambda c: not c.data.sample_packing, "`sample_packing` is off"),
    ("dataloader_prefetch_factor", lambda c: not c.training.dataloader_num_workers, "no `dataloader_num_workers`"),
    ("metric_for_best_model greater_is_better", _nothing_best, "no key asks for the best checkpoint"),
]
"""Keys of training, or how their names begin -> when they change nothing -> why; a part of the doctor's table."""
