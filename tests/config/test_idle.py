"""Keys that change nothing in this run are named, with the reason."""

import pytest

from tunesmith.config.load import load


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"adapter": None},
            "`lora_r`, `lora_target_linear`: without effect: there is no `adapter`, all weights are trained",
        ),
        (
            {"evals_per_epoch": 4, "eval_batch_size": 8},
            "`eval_batch_size`, `evals_per_epoch`: without effect: there are no rows to evaluate on; "
            "`val_set_size: 0.05` holds some out",
        ),
        ({"loss_watchdog_patience": 2}, "`loss_watchdog_patience`: without effect: no `loss_watchdog_threshold`"),
        (
            {"gradient_checkpointing_kwargs": {"use_reentrant": True}},
            "`gradient_checkpointing_kwargs`: without effect: `gradient_checkpointing` is off",
        ),
        ({"num_epochs": 3, "max_steps": 7}, "`num_epochs`: without effect: `max_steps` says when the run ends"),
        (
            {"optimizer": "sgd", "adam_beta1": 0.8},
            "`adam_beta1`: without effect: the optimizer has no such argument",
        ),
        (
            {"chat_template": "chatml", "chat_template_jinja": "{{ messages }}"},
            "`chat_template_jinja`: without effect: `chat_template` names another template",
        ),
        (
            {"datasets": [{"path": "a", "type": "alpaca", "roles_to_train": ["user"], "train_on_eos": "all"}]},
            "`datasets.0.roles_to_train`, `datasets.0.train_on_eos`: without effect: `type: alpaca` does not read it",
        ),
        (
            {"test_datasets": [{"path": "a", "type": "chat_template", "conversation": "chatml"}]},
            "`test_datasets.0.conversation`: without effect: `type: chat_template` does not read it",
        ),
    ],
)
def test_a_key_that_changes_nothing_is_named(tmp_path, write_config, changes, expected):
    assert load(str(write_config(tmp_path, **changes))).notes == (expected,)


@pytest.mark.parametrize(
    "changes",
    [
        {"evals_per_epoch": 4, "val_set_size": 0.1},
        {"adapter": None, "lora_r": None, "lora_target_linear": False},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        {"chat_template_jinja": "{{ messages }}"},
        {"datasets": [{"path": "a", "type": "own.py:rows", "conversation": "chatml", "roles_to_train": ["user"]}]},
        {"datasets": [{"path": "a", "conversation": "chatml"}]},
    ],
)
def test_a_key_that_has_its_effect_is_not_named(tmp_path, write_config, changes):
    assert load(str(write_config(tmp_path, **changes))).notes == ()
