"""Keys of training on preferences that do not go together, or change nothing."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError

PAIRS = {"datasets": [{"path": "pairs.jsonl"}], "rl": "dpo"}


def loaded(tmp_path, write_config, **keys):
    return load(str(write_config(tmp_path, **(PAIRS | keys))))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sample_packing": True}, "`sample_packing: true` and `rl: dpo`: answers are not packed; set it to false"),
        ({"deepspeed": "zero2.json"}, "`deepspeed` and `rl: dpo`: preferences are trained with a whole model"),
        (
            {"rl": "kto"},
            "`rl: kto` estimates the KL divergence from the rows of a step, which has one row. Set",
        ),
        ({"use_eaft": True}, "`use_eaft: true` and `rl: dpo`: use only one"),
        ({"rl": "orpo", "rl_beta": 0.2, "orpo_alpha": 0.1}, "`rl_beta: 0.2` and `orpo_alpha: 0.1`: use only one"),
        ({"rl": "simpo", "dpo_loss_type": ["ipo"]}, "`dpo_loss_type` needs `rl: dpo`, found `rl: simpo`"),
        ({"dpo_loss_weights": [1.0, 0.5]}, r"`dpo_loss_weights: \[1.0, 0.5\]` needs as many losses in `dpo_loss_type`"),
        ({"dpo_loss_type": ["exo_pair"]}, r"`dpo_loss_type: \[exo_pair\]` needs `dpo_label_smoothing` above 0"),
        ({"dpo_loss_type": ["aot"], "dpo_use_weighting": True}, "`dpo_use_weighting: true` weighs pairs, which"),
        (
            {"metric_for_best_model": "eval_perplexity", "val_set_size": 0.1},
            "`metric_for_best_model: eval_perplexity` is not measured with `rl: dpo`; known are eval_loss, ",
        ),
        ({"rl": "grpo"}, "`rl` is grpo: online reinforcement learning needs a generation server"),
        ({"rpo_alpha": 1.0}, r"set `dpo_loss_type: \[sigmoid, sft\]`"),
        ({"reward_model": True}, "reward models are not trained here"),
        ({"dpo_loss_type": ["sigmid"]}, "sigmid"),
    ],
)
def test_what_does_not_go_together_is_said(keys, message, tmp_path, write_config):
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, write_config, **keys)


def test_the_old_name_of_beta_is_taken(tmp_path, write_config):
    config = loaded(tmp_path, write_config, dpo_beta=0.3)
    assert config.preference.rl_beta == 0.3
    assert any("`dpo_beta` is taken as `rl_beta: 0.3`" in note for note in config.notes)


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ({"lora_dropout": 0.05}, "`lora_dropout`: ignored: dropout is off with `rl`"),
        ({"neftune_noise_alpha": 5}, "`neftune_noise_alpha`: ignored: noise is off with `rl`"),
        ({"train_on_inputs": True}, "`train_on_inputs`: ignored: answers are compared"),
        ({"kto_desirable_weight": 2.0}, "`kto_desirable_weight`: ignored: only `rl: kto` reads it"),
        (
            {"dpo_loss_type": ["hinge"], "dpo_label_smoothing": 0.1},
            "`dpo_label_smoothing`: ignored: the loss does not read it",
        ),
        ({"rl": "orpo", "dpo_label_smoothing": 0.1}, "`dpo_label_smoothing`: ignored: only `rl: dpo` reads it"),
        ({"rl": None, "rl_beta": 0.2}, "`rl_beta`: ignored: there is no `rl`"),
        ({"precompute_ref_log_probs": True}, "`precompute_ref_log_probs`: ignored"),
    ],
)
def test_what_changes_nothing_is_said(keys, note, tmp_path, write_config):
    from tunesmith.config.idle import idle_keys

    config = loaded(tmp_path, write_config, **keys)
    assert any(note in line for line in [*config.notes, *idle_keys(config)])
