"""Keys that change nothing in this run are named, with the reason."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"adapter": None},
            "`lora_r`, `lora_target_linear`: ignored: only with `adapter`",
        ),
        (
            {"evals_per_epoch": 4, "eval_batch_size": 8},
            "`eval_batch_size`, `evals_per_epoch`: ignored: there are no rows to evaluate on; "
            "`val_set_size: 0.05` takes some from the training data",
        ),
        (
            {"save_strategy": "no", "save_total_limit": 2},
            "`save_total_limit`: ignored: `save_strategy: no`",
        ),
        ({"loss_watchdog_patience": 2}, "`loss_watchdog_patience`: ignored: only with `loss_watchdog_threshold`"),
        (
            {"gradient_checkpointing_kwargs": {"use_reentrant": True}},
            "`gradient_checkpointing_kwargs`: ignored: only with `gradient_checkpointing`",
        ),
        ({"num_epochs": 3, "max_steps": 7}, "`num_epochs`: ignored: `max_steps` is set"),
        (
            {"optimizer": "sgd", "adam_beta1": 0.8},
            "`adam_beta1`: ignored: the optimizer has no such argument",
        ),
        (
            {"chat_template": "chatml", "chat_template_jinja": "{{ messages }}"},
            "`chat_template_jinja`: ignored: only with `chat_template: jinja`",
        ),
        (
            {"datasets": [{"path": "a", "type": "alpaca", "roles_to_train": ["user"], "train_on_eos": "all"}]},
            "`datasets.0.roles_to_train`, `datasets.0.train_on_eos`: ignored: `type: alpaca` does not read it",
        ),
        (
            {"test_datasets": [{"path": "a", "type": "chat_template", "conversation": "chatml"}]},
            "`test_datasets.0.conversation`: ignored: `type: chat_template` does not read it",
        ),
        (
            {"optimizer": "lion_8bit", "adam_beta1": 0.8, "adam_epsilon": 1e-6},
            "`adam_epsilon`: ignored: Lion has no such argument",
        ),
        (
            {"datasets": [{"path": "a", "type": "alpaca", "field_messages": "m", "chat_template": "chatml"}]},
            "`datasets.0.field_messages`, `datasets.0.chat_template`: ignored: `type: alpaca` does not read it",
        ),
        (
            {"datasets": [{"path": "a", "type": "alpaca"}], "chat_template": "chatml", "eot_tokens": ["x"]},
            "`chat_template`, `eot_tokens`: ignored: no dataset uses a chat template",
        ),
        (
            {"default_system_message": "Be brief."},
            "`default_system_message`: ignored: only with `type: sharegpt`",
        ),
        (
            {"datasets": [{"path": "a", "type": "completion"}], "train_on_inputs": True},
            "`train_on_inputs`: ignored: the rows have no prompt to mask",
        ),
        (
            {
                "rl": "dpo",
                "datasets": [{"path": "a", "type": "chatml.intel", "train_on_eos": "all", "roles": {"a": ["b"]}}],
            },
            "`datasets.0.roles`, `datasets.0.train_on_eos`: ignored: `type: chatml.intel` does not read it",
        ),
        (
            {"revision_of_model": "v1"},
            "`revision_of_model`: ignored: `base_model` is not a repository of the Hub",
        ),
        (
            {"datasets": [{"path": __file__, "type": "completion", "name": "en", "data_files": "x", "split": "test"}]},
            "`datasets.0.name`, `datasets.0.data_files`, `datasets.0.split`: ignored: `path` is a single file",
        ),
        (
            {"datasets": [{"path": "data/*.jsonl", "type": "completion", "revision": "x", "data_files": "x"}]},
            "`datasets.0.revision`, `datasets.0.data_files`: ignored: `path` is a pattern",
        ),
    ],
)
def test_a_key_that_changes_nothing_is_named(tmp_path, write_config, changes, expected):
    assert load(str(write_config(tmp_path, **changes))).notes == tuple(expected.split("\n"))


@pytest.mark.parametrize(
    "changes",
    [
        {"evals_per_epoch": 4, "val_set_size": 0.1},
        {"adapter": None, "lora_r": None, "lora_target_linear": False},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        {"chat_template_jinja": "{{ messages }}"},
        {"datasets": [{"path": "a", "type": "own.py:rows", "conversation": "chatml", "roles_to_train": ["user"]}]},
        {"datasets": [{"path": "a", "conversation": "chatml"}], "chat_template": "chatml"},
        {"datasets": [{"path": __file__, "type": "completion", "split": "train[:5%]"}]},
        {"optimizer": "ademamix", "adam_beta1": 0.8, "adam_epsilon": 1e-6},
        {"optimizer": "lion_8bit", "adam_beta2": 0.8},
        {
            "rl": "dpo",
            "datasets": [{"path": "a", "type": "chatml.ultra", "roles": {"user": ["x"]}, "field_system": "s"}],
        },
        {"rl": "dpo", "datasets": [{"path": "a", "type": "chat_template", "field_chosen": "c", "field_messages": "m"}]},
        {"datasets": [{"path": "a", "type": "alpaca", "skip": 3}]},
    ],
)
def test_a_key_that_has_its_effect_is_not_named(tmp_path, write_config, changes):
    assert load(str(write_config(tmp_path, **changes))).notes == ()


@pytest.fixture
def saved(tmp_path):
    """The folder of a saved adapter of rank 8."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/adapter_config.json").write_text('{"r": 8, "lora_alpha": 16, "use_dora": false}')
    return str(tmp_path / "saved")


def test_beside_a_saved_adapter_equal_keys_say_nothing_and_others_are_named(tmp_path, write_config, saved):
    notes = load(str(write_config(tmp_path, lora_model_dir=saved, lora_alpha=16, peft_init_lora_weights=True))).notes
    assert notes == (
        "`lora_target_linear`, `peft_init_lora_weights`: ignored: the adapter in `lora_model_dir` has its own value",
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"lora_r": 4}, "`lora_r: 4`, but the adapter in `lora_model_dir: .*saved` has 8; remove `lora_r`, or"),
        ({"lora_alpha": 8}, "`lora_alpha: 8.0`, but the adapter in .* has 16"),
        ({"peft_use_dora": True}, "`peft_use_dora: true`, but the adapter in .* has false"),
    ],
)
def test_a_key_that_says_other_than_the_saved_adapter_is_an_error(tmp_path, write_config, saved, keys, expected):
    with pytest.raises(ConfigError, match=expected):
        load(str(write_config(tmp_path, lora_model_dir=saved, **keys)))


@pytest.mark.parametrize(
    ("names", "is_equal"),
    [
        (["lm_head", "embed_tokens"], True),
        (["embed_tokens"], True),
        (["model.embed_tokens", "lm_head"], True),
        (["lm_head"], False),
    ],
)
def test_the_names_that_peft_saves_for_tied_layers_are_those_of_the_config(tmp_path, write_config, names, is_equal):
    (tmp_path / "adapter_config.json").write_text(
        '{"modules_to_save": ["embed_tokens", "model.embed_tokens"], "ensure_weight_tying": true}'
    )
    file = str(write_config(tmp_path, lora_model_dir=str(tmp_path), lora_modules_to_save=names))
    if is_equal:
        load(file)
        return
    with pytest.raises(ConfigError, match=r"`lora_modules_to_save: .lm_head.`, but the adapter"):
        load(file)
