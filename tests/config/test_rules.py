"""Rules across keys: each one broken once, with what to do instead."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError

QLORA = {"adapter": "qlora", "load_in_4bit": True}
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"load_in_4bit": True, "load_in_8bit": True}, "`load_in_8bit: true` and `load_in_4bit: true`: use only one"),
        (
            {"bf16": True, "fp16": True},
            "`fp16: true` and `bf16: true`: use only one; bf16 is better where the machine has it",
        ),
        (
            {"bf16": "full", "fp16": True},
            "`fp16: true` and `bf16: full`: use only one; bf16 is better where the machine has it",
        ),
        ({"chat_template": "jinja"}, "`chat_template: jinja` needs `chat_template_jinja`"),
        ({"lora_r": None}, "`adapter: lora` needs `lora_r` or `lora_model_dir`; `lora_r: 16` is a good start"),
        ({"adapter": "qlora"}, "`adapter: qlora` needs `load_in_4bit: true`"),
        ({**QLORA, "load_in_8bit": True}, "`load_in_8bit: true` and"),
        (
            {**FULL, "load_in_4bit": True},
            "bit: true` needs `adapter`; quantized weights cannot be trained. Set `adapter: qlora`",
        ),
        (
            {**FULL, "load_in_8bit": True},
            "bit: true` needs `adapter`; quantized weights cannot be trained. Set `adapter: qlora`",
        ),
        ({"adapter": None, "lora_model_dir": "x"}, "`lora_model_dir: x` needs `adapter`"),
        ({"lora_target_modules": "q.*"}, "`lora_target_linear: true` and the regular expression `q.*`: use only one"),
        (
            {"lora_target_linear": None},
            "`adapter: lora` needs `lora_target_linear: true`, `lora_target_modules`, `lora_target_parameters` or",
        ),
        (
            {"val_set_size": 0.1, "test_datasets": [{"path": "a", "type": "alpaca"}]},
            "and `test_datasets`: use only one",
        ),
        ({"warmup_steps": 1, "warmup_ratio": 0.1}, "`warmup_ratio: 0.1` and `warmup_steps: 1`: use only one"),
        ({"save_steps": 5, "saves_per_epoch": 2}, "`saves_per_epoch: 2` and `save_steps: 5.0`: use only one"),
        (
            {"eval_steps": 5, "evals_per_epoch": 2, "val_set_size": 0.1},
            "`evals_per_epoch: 2` and `eval_steps: 5.0`: use only one",
        ),
        (
            {"batch_size": 4, "gradient_accumulation_steps": 2},
            "`gradient_accumulation_steps: 2` and `batch_size: 4`: use only one",
        ),
        ({"batch_size": 3, "micro_batch_size": 2}, "`batch_size: 3` must be a multiple of `micro_batch_size: 2`"),
        (
            {"save_steps": 5, "save_strategy": "epoch"},
            "`save_steps: 5.0` needs `save_strategy: steps`, not `save_strategy: epoch`",
        ),
        ({"saves_per_epoch": 2, "save_strategy": "no"}, "`saves_per_epoch: 2` needs `save_strategy: steps`"),
        (
            {"eval_steps": 5, "eval_strategy": "epoch", "val_set_size": 0.1},
            "`eval_steps: 5.0` needs `eval_strategy: steps`, not `eval_strategy: epoch`",
        ),
        (
            {"lora_target_linear": None, "lora_target_modules": "(q_proj"},
            "`lora_target_modules: (q_proj` is not a regular expression: missing ), unterminated subpattern at",
        ),
        ({"eval_steps": 2}, "`eval_steps: 2.0` needs rows to evaluate on; set `val_set_size: 0.05`"),
        ({"early_stopping_patience": 2}, "`early_stopping_patience: 2` needs rows to evaluate on"),
        ({"load_best_model_at_end": True}, "`load_best_model_at_end: true` needs rows to evaluate on"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path, write_config, changes, expected):
    file = write_config(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ({"chat_template": "jinja"}, "`chat_template: jinja` needs `chat_template_jinja`"),
        ({"shards": 2, "shards_idx": 2}, "`shards_idx: 2` must be below `shards: 2`"),
    ],
)
@pytest.mark.parametrize("key", ["datasets", "test_datasets"])
def test_rules_of_a_dataset_name_its_line(tmp_path, write_config, key, dataset, expected):
    entry = {"path": "a.jsonl", "type": "chat_template"}
    file = write_config(tmp_path, **({"datasets": [entry]} | {key: [entry, {**entry, **dataset}]}))
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    lines = file.read_text().splitlines()
    _, line, _, text = str(caught.value).split(":", 3)
    assert expected in text
    assert lines[int(line) - 1].strip(" -").split(":")[0] in dataset


@pytest.mark.parametrize(
    "changes",
    [
        {},
        QLORA,
        FULL,
        {"lora_target_linear": None, "lora_target_modules": ["q_proj"]},
        {"lora_r": None, "lora_target_linear": None, "lora_model_dir": "out"},
        {"val_set_size": 0.1, "evals_per_epoch": 2, "early_stopping_patience": 1},
        {"batch_size": 4, "micro_batch_size": 2},
        {"save_strategy": "steps", "save_steps": 5},
        {"bf16": "auto", "fp16": True},
        {"chat_template": "jinja", "chat_template_jinja": "{{ messages }}"},
        {"datasets": [{"path": "a", "type": "alpaca", "shards": 2, "shards_idx": 1}]},
    ],
)
def test_keys_that_go_together_are_accepted(tmp_path, write_config, changes):
    assert load(str(write_config(tmp_path, **changes))).notes == ()
