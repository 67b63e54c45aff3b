"""Rules across the keys of training, each broken once, and the keys that change nothing."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError

EVAL = {"val_set_size": 0.1}
BEST = {"load_best_model_at_end": True, **EVAL}
GROUP = [{"name": "head", "modules": ["lm_head"], "lr": 1e-4}]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"optimizer": "adamww"}, "`optimizer: adamww` is unknown; known are adamw_torch, "),
        ({"optimizer": "adamw_torhc"}, "; did you mean `adamw_torch`?"),
        ({"optimizer": "dion"}, "`optimizer: dion`: Dion is for many GPUs and not supported; use `optimizer: muon`"),
        ({"optimizer": "galore_adamw_layerwise"}, "its state is not in checkpoints"),
        (
            {"optimizer": "galore_adamw"},
            "`optimizer: galore_adamw` needs `optim_target_modules`; such as all_linear or [q_proj]",
        ),
        ({"lr_scheduler": "cosin"}, "`lr_scheduler: cosin` is unknown; known are linear, cosine, "),
        ({"lr_scheduler": "cosin"}, "; did you mean `cosine`?"),
        ({"learning_rate": -1}, "`learning_rate` must be greater than 0, found -1"),
        (
            {"embedding_lr": 1e-5, "embedding_lr_scale": 0.1},
            "`embedding_lr_scale: 0.1` and `embedding_lr: 1e-05`: use only one",
        ),
        ({"loraplus_lr_ratio": 16, "lr_groups": GROUP}, "`loraplus_lr_ratio: 16.0` and `lr_groups`: use only one"),
        (
            {"loraplus_lr_ratio": 16, "embedding_lr": 1e-5},
            "`loraplus_lr_ratio: 16.0` and `embedding_lr: 1e-05`: use only one",
        ),
        ({"loraplus_lr_ratio": 16, "adapter": None}, "`loraplus_lr_ratio: 16.0` needs `adapter`"),
        ({"lr_groups": [{"name": "a", "modules": [], "lr": 1}]}, "`lr_groups.0.modules` needs at least 1 entry"),
        (
            {"lr_groups": [{"name": "a", "module": "x"}]},
            "unknown key `module` in `lr_groups.0`; did you mean `modules`?",
        ),
        (
            {"curriculum_sampling": True, "group_by_length": True},
            "`curriculum_sampling: true` and `group_by_length: true`: use only one",
        ),
        (
            {"curriculum_sampling": True, "shuffle_merged_datasets": True},
            "`curriculum_sampling: true` and `shuffle_merged_datasets: true`: use only one",
        ),
        (
            {"learning_rate": 1e300},
            "`learning_rate: 1e+300` is far too high; use 2e-4 for LoRA, 1e-5 to 2e-5 otherwise",
        ),
        ({"optim_args": "foo"}, "`optim_args: foo` is neither a mapping nor of the form key=value,key=value"),
        ({"optim_args": "lr=3"}, "`optim_args: {lr: 3}` and `learning_rate: 0.001`: use only one; set `learning_rate`"),
        (
            {"optim_args": {"weight_decay": 0.2}, "weight_decay": 0.1},
            "`optim_args: {weight_decay: 0.2}` and `weight_decay: 0.1`: use only one; set `weight_decay`",
        ),
        ({"optim_args": {"eps": 1e-6}, "adam_epsilon": 1e-7}, "`optim_args: {eps: 1e-06}` and `adam_epsilon: 1e-07`"),
        ({"optim_args": {"betas": [0.8, 0.9]}, "adam_beta1": 0.7}, "`optim_args: {betas: [0.8, 0.9]}` and `adam_beta1"),
        ({"optimizer": "AdamW"}, "; did you mean `adamw`?"),
        ({"accelerator_config": {"even": True}}, "unknown key `even` in `accelerator_config`; did you mean `even_"),
        ({"accelerator_config": {"dispatch_batches": True}}, "`dispatch_batches: true` is for data without a length"),
        (
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"a": 1}},
            "unknown key `a` in `gradient_checkpointing_kwargs`; known are use_reentrant, ",
        ),
        (
            {"deepspeed": {"zero_optimisation": {"stage": 3}}},
            "unknown key `zero_optimisation` in `deepspeed`; did you mean `zero_optimization`?",
        ),
        ({"accelerator_config": {"split_batches": True}}, "set `micro_batch_size` instead"),
        ({"auto_find_batch_size": True}, "would start over with half-trained weights; set `micro_batch_size: 1`"),
        ({"torchdistx_path": "/opt"}, "`torchdistx_path`: torchdistx is no longer kept up"),
        ({"save_strategy": "best"}, "`save_strategy: best` needs rows to evaluate on; set `val_set_size: 0.05`"),
        (
            {"save_strategy": "best", "save_steps": 5, **EVAL},
            "`save_steps: 5.0` needs `save_strategy: steps`, not `save_strategy: best`",
        ),
        ({"lr_scheduler": "reduce_lr_on_plateau"}, "`lr_scheduler: reduce_lr_on_plateau` needs rows to evaluate on"),
        (
            {"early_stopping_patience": 2, "eval_strategy": "no", **EVAL},
            "`early_stopping_patience: 2` needs evaluations, not `eval_strategy: no`, or remove it",
        ),
        (
            {"metric_for_best_model": "bleu", **EVAL},
            "`metric_for_best_model: bleu` is unknown; known are eval_loss, eval_perplexity. Another one also needs "
            "`greater_is_better: true` or `false`",
        ),
        (
            {"metric_for_best_model": "eval_chrf", **EVAL},
            "`metric_for_best_model: eval_chrf` is not measured; known are eval_loss, eval_perplexity",
        ),
        (
            {"metric_for_best_model": "eval_code_loss", **EVAL},
            "`metric_for_best_model: eval_code_loss` is not measured; known are eval_loss, ",
        ),
        (
            {**BEST, "save_steps": 10, "eval_steps": 4},
            "`load_best_model_at_end: true` needs an evaluation at each save, not `save_steps: 10` and `eval_steps: 4`",
        ),
        (
            {**BEST, "save_steps": 10},
            "`load_best_model_at_end: true` needs an evaluation at each save, not `save_steps: 10` and",
        ),
        (
            {**BEST, "evals_per_epoch": 2},
            "`load_best_model_at_end: true` needs an evaluation at each save, not `save_strategy: epoch` and",
        ),
        (
            {"cosine_min_lr_ratio": 0.1, "lr_scheduler": "linear"},
            "`cosine_min_lr_ratio: 0.1` needs `lr_scheduler: cosine`, `lr_scheduler: rex` or `jagged_restart_steps`",
        ),
        (
            {"lr_quadratic_warmup": True, "lr_scheduler": "linear"},
            "`lr_quadratic_warmup: true` needs `lr_scheduler: cosine`",
        ),
        ({"cosine_constant_lr_ratio": 0.8}, "`cosine_constant_lr_ratio: 0.8` needs `cosine_min_lr_ratio`"),
        (
            {"jagged_restart_steps": 10, "jagged_restart_warmup_steps": 8, "jagged_restart_anneal_steps": 4},
            "`jagged_restart_steps: 10` is too short for `jagged_restart_warmup_steps: 8` and "
            "`jagged_restart_anneal_steps: 4`",
        ),
        (
            {"jagged_restart_steps": 50, "lr_scheduler": "one_cycle"},
            "`jagged_restart_steps: 50` and `lr_scheduler: one_cycle`: use only one",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path, write_config, changes, expected):
    file = write_config(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")


@pytest.mark.parametrize(
    "changes",
    [
        {"optim_args": "eps=1e-6,weight_decay=0.1", "weight_decay": 0.1},
        {"optim_args": {"betas": [0.8, 0.9]}},
        {"optimizer": "adamw_bnb_8bit"},
        {"optimizer": "muon", "lr_scheduler": "rex", "cosine_min_lr_ratio": 0.1},
        {"optimizer": "galore_adamw", "optim_target_modules": "all_linear"},
        {"cosine_min_lr_ratio": 0.1, "cosine_constant_lr_ratio": 0.8, "lr_quadratic_warmup": True},
        {"cosine_constant_lr_ratio": 0},
        {"jagged_restart_steps": 150, "jagged_restart_warmup_steps": 10, "jagged_restart_anneal_steps": False},
        {"loraplus_lr_ratio": 16, "loraplus_lr_embedding": 1e-5},
        {"curriculum_sampling": True, "sample_packing": True, "sample_packing_sequentially": True},
        {**BEST, "save_steps": 20, "eval_steps": 10, "metric_for_best_model": "eval_perplexity"},
        {**BEST, "saves_per_epoch": 2, "evals_per_epoch": 4},
        {**BEST, "save_strategy": "best"},
        {"lr_scheduler": "reduce_lr_on_plateau", **EVAL},
    ],
)
def test_keys_that_go_together_are_accepted(tmp_path, write_config, changes):
    assert load(str(write_config(tmp_path, **changes))).notes == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"adam_eps": 1e-5}, "`adam_eps` is taken as `adam_epsilon: 1e-05`"),
        ({"eta_min": 7e-7}, "`eta_min` is taken as `lr_scheduler_kwargs: {min_lr: 7e-07}`"),
        ({"adam_beta3": 0.9}, "`adam_beta3`: ignored: only with `optimizer: came_pytorch`"),
        (
            {"optim_target_modules": ["q"]},
            "`optim_target_modules`: ignored: only with `optimizer: galore_...` or `optimizer: apollo_...`",
        ),
        ({"loraplus_lr_embedding": 1e-5}, "`loraplus_lr_embedding`: ignored: only with `loraplus_lr_ratio`"),
        ({"lr_div_factor": 5}, "`lr_div_factor`: ignored: only with `lr_scheduler: one_cycle`"),
        (
            {"jagged_restart_warmup_steps": 5},
            "`jagged_restart_warmup_steps`: ignored: only with `jagged_restart_steps`",
        ),
        ({"lr_scheduler": "constant", "warmup_steps": 5}, "`warmup_steps`: ignored: the schedule has no warmup"),
        ({"eaft_k": 5}, "`eaft_k`: ignored: only with `use_eaft: true`"),
        (
            {"group_by_length": True, "sample_packing": True},
            "`group_by_length`: ignored: `sample_packing: true` is set",
        ),
        (
            {"sample_packing_sequentially": True},
            "`sample_packing_sequentially`: ignored: only with `sample_packing: true`",
        ),
        (
            {"dataloader_prefetch_factor": 2},
            "`dataloader_prefetch_factor`: ignored: only with `dataloader_num_workers`",
        ),
        (
            {"metric_for_best_model": "eval_loss", **EVAL},
            "`metric_for_best_model`: ignored: only with `early_stopping_patience`, `load_best_model_at_end: true`,",
        ),
    ],
)
def test_a_key_that_changes_nothing_or_has_another_name_is_named(tmp_path, write_config, changes, expected):
    (note,) = load(str(write_config(tmp_path, **changes))).notes
    assert note.startswith(expected)
