"""Keys that are supported but change nothing in this run, because another key makes them idle."""

from collections.abc import Iterator
from pathlib import Path

from tunesmith.config.data_rules import IDLE_DATA
from tunesmith.config.model_rules import IDLE_MODEL
from tunesmith.config.preference_rules import IDLE_PREFERENCE
from tunesmith.config.problem import Idle
from tunesmith.config.tracking_rules import IDLE_TRACKING
from tunesmith.config.training_rules import IDLE_TRAINING
from tunesmith.references import resolve_file
from tunesmith.sections import Config, Dataset


def _without_evaluation(config: Config) -> bool:
    return not config.data.val_set_size and not config.data.test_datasets


_ANSWERS = "generate_samples do_causal_lm_eval evaluation.during_training"

IDLE: list[Idle] = [
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

_MESSAGES = (
    "roles message_field_role message_field_content message_property_mappings split_thinking drop_system_message "
    "field_tools field_thinking template_thinking_key"
)
_TRAINED = "roles_to_train train_on_eos train_on_eot message_field_training message_field_training_detail"
_TEMPLATED = ("chat_template", "prompt_completion")
_INSTRUCT = (
    *("alpaca", "gpteacher", "jeopardy", "oasst", "explainchoice", "concisechoice", "summarizetldr", "reflection"),
    *("orcamini", "metharme", "context_qa", "creative_acr", "instruct", "user_defined"),
)
ONLY_FOR: list[tuple[str, tuple[str, ...]]] = [
    (f"{_MESSAGES} {_TRAINED} chat_template chat_template_jinja".replace("roles ", ""), _TEMPLATED),
    ("roles", (*_TEMPLATED, "sharegpt")),
    ("field_messages", ("chat_template", "sharegpt", "pygmalion", "llama2_chat")),
    ("field_instruction field_input field_output", _INSTRUCT),
    ("field_system", (*_TEMPLATED, *_INSTRUCT)),
    ("field_chosen field_rejected", ()),
    ("field", ("completion", "pretrain")),
    ("text_column", ("pretrain",)),
    ("field_human field_model strict", ("sharegpt",)),
    ("conversation", ("sharegpt", "instruct", "alpaca_chat")),
    ("step_separator max_completion_length train_on_last_step_only", ("stepwise_supervised",)),
]
"""Keys of an entry of `datasets` -> how the types begin that read them, where they are not preference data."""

_CONVERSATIONS = (
    "chat_template",
    *(f"{name}.{style}" for name in ("chatml", "llama3") for style in ("argilla_chat", "ultra")),
)
ONLY_FOR_RL: list[tuple[str, tuple[str, ...]]] = [
    (_MESSAGES.replace("drop_system_message ", ""), _CONVERSATIONS),
    ("field_messages field_chosen field_rejected chat_template chat_template_jinja", ("chat_template",)),
    ("field_system", ("chat_template", "chatml", "llama3", "zephyr")),
    ("drop_system_message", ("chat_template", "chatml", "llama3")),
    (f"{_TRAINED} field_instruction field_input field_output field text_column conversation", ()),
    ("field_human field_model strict step_separator max_completion_length train_on_last_step_only", ()),
]
"""The same for preference data."""


def fits(key: str, names: str) -> bool:
    """Return whether a key is one of `names`, of which those with `_` at the end stand for all that begin so."""
    return any(key == name or (name.endswith("_") and key.startswith(name)) for name in names.split())


def idle(config: Config) -> Iterator[tuple[list[str], str]]:
    """Yield keys that the file sets and that change nothing, with the reason."""
    asked = [key for key, value in config.values.items() if value not in (False, "", [], {})]
    asked += [f"evaluation.{key}" for key, value in (config.values.get("evaluation") or {}).items() if value]
    for names, when, why in IDLE:
        found = [key for key in asked if fits(key, names)]
        if found and when(config):
            yield found, why
    for name, entries in (("datasets", config.data.datasets), ("test_datasets", config.data.test_datasets)):
        for index, entry in enumerate(entries):
            for keys, why in _idle_in(entry, config, is_test=name == "test_datasets"):
                if found := [f"{name}.{index}.{key}" for key in keys.split() if key in entry.model_fields_set]:
                    yield found, why


def idle_keys(config: Config) -> list[str]:
    """Return a line for each reason why keys that the file sets change nothing."""
    return [f"{', '.join(f'`{key}`' for key in found)}: without effect: {why}" for found, why in idle(config)]


def _idle_in(entry: Dataset, config: Config, *, is_test: bool) -> Iterator[tuple[str, str]]:
    """The keys of one dataset that its type or its place does not read; a type of one's own may read all."""
    if entry.kind and ".py:" not in entry.kind and not entry.kind.startswith("passthrough"):
        for names, kinds in ONLY_FOR_RL if config.data.rl else ONLY_FOR:
            if not entry.kind.startswith(kinds):
                yield names, f"`type: {entry.kind}` does not read it"
    path = Path(resolve_file(entry.path, config.source))
    names = "revision" if is_test else "name revision"  # `name` is that of the loss too
    if path.is_file() or "://" in entry.path:
        is_part = entry.split in (None, "train") or "[" in str(entry.split)
        yield f"{names} data_files{'' if is_part else ' split'}", "`path` is one file"
    elif path.is_dir():
        yield names, "`path` is a folder"
