"""Keys that are supported but change nothing in this run, because another key makes them idle."""

from collections.abc import Callable, Iterator

from tunesmith.config.sections import Config, Dataset


def _without_evaluation(config: Config) -> bool:
    return not config.data.val_set_size and not config.data.test_datasets


IDLE: list[tuple[str, Callable[[Config], bool], str]] = [
    ("lora_ peft_", lambda c: c.adapter.adapter is None, "there is no `adapter`, all weights are trained"),
    (
        "eval_batch_size eval_sample_packing eval_strategy evals_per_epoch",
        _without_evaluation,
        "there are no rows to evaluate on; `val_set_size: 0.05` holds some out",
    ),
    ("eval_sample_packing", lambda c: c.data.rl is not None, "pairs are not packed"),
    ("loss_watchdog_patience", lambda c: c.training.loss_watchdog_threshold is None, "no `loss_watchdog_threshold`"),
    (
        "gradient_checkpointing_kwargs",
        lambda c: not c.training.gradient_checkpointing,
        "`gradient_checkpointing` is off",
    ),
    ("num_epochs", lambda c: c.training.max_steps is not None, "`max_steps` says when the run ends"),
    (
        "adam_beta1 adam_beta2 adam_epsilon",
        lambda c: "adam" not in c.training.optimizer and "lion" not in c.training.optimizer,
        "the optimizer has no such argument",
    ),
    (
        "chat_template_jinja",
        lambda c: c.model.chat_template not in (None, "jinja"),
        "`chat_template` names another template",
    ),
]
"""Keys, or how their names begin -> when they change nothing -> why."""

_CHAT = (
    "roles_to_train train_on_eos train_on_eot message_field_training message_field_training_detail "
    "message_property_mappings split_thinking drop_system_message field_tools field_thinking template_thinking_key"
)
ONLY_FOR: list[tuple[str, tuple[str, ...]]] = [
    (_CHAT, ("chat_template", "prompt_completion")),
    ("skip text_column", ("pretrain",)),
    ("field_human field_model strict", ("sharegpt",)),
    ("conversation", ("sharegpt", "alpaca_chat", "pygmalion")),
    ("step_separator max_completion_length train_on_last_step_only", ("stepwise_supervised",)),
]
"""Keys of an entry of `datasets` -> how the types begin that read them, where they are not preference data."""


def idle_keys(config: Config) -> list[str]:
    """Return a line for each reason why keys that the file sets change nothing."""
    asked = [key for key, value in config.values.items() if value not in (False, "", [], {})]
    lines = []
    for names, when, why in IDLE:
        idle = [f"`{key}`" for key in asked if key.startswith(tuple(names.split()))]
        if idle and when(config):
            lines.append(f"{', '.join(idle)}: without effect: {why}")
    for name, entries in (("datasets", config.data.datasets), ("test_datasets", config.data.test_datasets)):
        if config.data.rl:
            break
        lines += [line for index, entry in enumerate(entries) for line in _idle_in(entry, f"{name}.{index}")]
    return lines


def _idle_in(entry: Dataset, place: str) -> Iterator[str]:
    """The keys of one dataset that its type does not read; a type of one's own may read all."""
    if not entry.kind or ".py:" in entry.kind:
        return
    for names, kinds in ONLY_FOR:
        idle = [f"`{place}.{key}`" for key in names.split() if key in entry.model_fields_set]
        if idle and not entry.kind.startswith(kinds):
            yield f"{', '.join(idle)}: without effect: `type: {entry.kind}` does not read it"
