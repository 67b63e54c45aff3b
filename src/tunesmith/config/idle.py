"""Keys that are supported but change nothing in this run, because another key makes them idle."""

from collections.abc import Callable, Iterator

from tunesmith.config.data_rules import IDLE_DATA
from tunesmith.config.model_rules import IDLE_MODEL
from tunesmith.config.preference_rules import IDLE_PREFERENCE
from tunesmith.config.sections import Config, Dataset
from tunesmith.config.tracking_rules import IDLE_TRACKING
from tunesmith.config.training_rules import IDLE_TRAINING


def _without_evaluation(config: Config) -> bool:
    return not config.data.val_set_size and not config.data.test_datasets


_ANSWERS = "generate_samples do_causal_lm_eval evaluation.during_training"

IDLE: list[tuple[str, Callable[[Config], bool], str]] = [
    ("lora_", lambda c: c.adapter.adapter is None, "there is no `adapter`, all weights are trained"),
    (
        "eval_batch_size eval_sample_packing eval_strategy evals_per_epoch generate_samples do_causal_lm_eval "
        "evaluation.during_training",
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
        lambda c: not any(name in c.training.optimizer for name in ("adam", "lion", "came", "muon", "apollo")),
        "the optimizer has no such argument",
    ),
    (
        "chat_template_jinja",
        lambda c: c.model.chat_template not in (None, "jinja"),
        "`chat_template` names another template",
    ),
    (_ANSWERS, lambda c: c.training.eval_strategy == "no", "`eval_strategy` is no"),
    (_ANSWERS, lambda c: c.data.rl is not None, "a pair has no single answer"),
    (
        "generation_max_new_tokens generation_prompt_ratio",
        lambda c: not c.evaluation.generate_samples and not c.evaluation.do_causal_lm_eval,
        "there is no `generate_samples: true` and no `do_causal_lm_eval: true`",
    ),
    (
        "num_generation_samples generation_do_sample generation_temperature generation_top_",
        lambda c: not c.evaluation.generate_samples,
        "there is no `generate_samples: true`",
    ),
    (
        "generation_temperature generation_top_",
        lambda c: c.evaluation.generate_samples and not c.evaluation.draws,
        "`generation_do_sample: false` takes the likeliest token",
    ),
    ("eval_causal_lm_metrics", lambda c: not c.evaluation.do_causal_lm_eval, "there is no `do_causal_lm_eval: true`"),
    *IDLE_MODEL,
    *IDLE_TRAINING,
    *IDLE_PREFERENCE,
    *IDLE_DATA,
    *IDLE_TRACKING,
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
    asked += [f"evaluation.{key}" for key, value in (config.values.get("evaluation") or {}).items() if value]
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
