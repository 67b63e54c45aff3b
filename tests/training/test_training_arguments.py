"""How the config's keys become the arguments of a run."""

import pytest

from tunesmith.errors import ConfigError
from tunesmith.hardware import Hardware
from tunesmith.modeling.precision import Precision
from tunesmith.sections import TrainingSection
from tunesmith.training.arguments import (
    Schedule,
    accumulation,
    check_warmup,
    how_often,
    plan_steps,
    training_arguments,
    warmup_steps,
)

CPU = Hardware(kind="cpu", count=1, name="CPU", memory=2**34, bf16=True)
GPU = Hardware(kind="cuda", count=1, name="GPU", memory=2**36, bf16=True, quantised_optimizer=True)
FP32 = Precision("float32", "float32", "float32", "")
SCHEDULE = Schedule(steps=200, per_epoch=100, sequences=1)


def section(**keys):
    return TrainingSection(**({"learning_rate": 1e-4} | keys))


def arguments(*, has_eval=True, **keys):
    return training_arguments(section(output_dir="out", **keys), SCHEDULE, FP32, CPU, has_eval=has_eval)


@pytest.mark.parametrize(
    ("keys", "sequences", "world", "expected"),
    [
        ({}, 10, 1, Schedule(10, 10, 1)),
        ({"gradient_accumulation_steps": 4}, 10, 1, Schedule(3, 3, 4)),
        ({"micro_batch_size": 3, "gradient_accumulation_steps": 2}, 10, 1, Schedule(2, 2, 6)),
        ({"micro_batch_size": 2}, 10, 2, Schedule(3, 3, 4)),
        ({"num_epochs": 2.5}, 10, 1, Schedule(25, 10, 1)),
        ({"max_steps": 7, "num_epochs": 3}, 10, 1, Schedule(7, 10, 1)),
        ({"gradient_accumulation_steps": 64}, 10, 1, Schedule(1, 1, 64)),
        ({"batch_size": 4, "micro_batch_size": 2}, 16, 1, Schedule(4, 4, 4)),
        ({"micro_batch_size": 3, "dataloader_drop_last": True}, 10, 1, Schedule(3, 3, 3)),
        ({"micro_batch_size": 2, "dataloader_drop_last": True}, 11, 2, Schedule(2, 2, 4)),
    ],
)
def test_steps_are_planned_as_the_trainer_will_do_them(keys, sequences, world, expected):
    assert plan_steps(section(**keys), sequences, world) == expected


def test_batch_size_takes_the_place_of_gradient_accumulation():
    assert accumulation(section(batch_size=12, micro_batch_size=3)) == 4


@pytest.mark.parametrize(
    ("keys", "steps", "expected"),
    [
        ({}, 10, 1),
        ({}, 1000, 30),
        ({}, 100_000, 100),
        ({"warmup_steps": 0}, 1000, 0),
        ({"warmup_steps": 7}, 1000, 7),
        ({"warmup_ratio": 0.105}, 1000, 105),
        ({"warmup_ratio": 0.0}, 1000, 0),
        ({}, 2, 1),
        ({}, 1, 0),  # the first step of a warmup has a learning rate of 0
    ],
)
def test_warmup_is_as_set_or_three_percent(keys, steps, expected):
    assert warmup_steps(section(**keys), steps) == expected


@pytest.mark.parametrize(
    ("strategy", "steps", "per_epoch", "expected"),
    [
        (None, None, None, ("epoch", None)),
        ("no", None, None, ("no", None)),
        ("epoch", None, None, ("epoch", None)),
        ("steps", None, None, ("steps", 100)),
        (None, 30, None, ("steps", 30)),
        ("steps", 30, None, ("steps", 30)),
        (None, 0.1, None, ("steps", 20)),
        (None, 0.0001, None, ("steps", 1)),
        (None, None, 4, ("steps", 25)),
        (None, None, 1000, ("steps", 1)),
    ],
)
def test_how_often_to_save_or_evaluate(strategy, steps, per_epoch, expected):
    assert how_often(strategy, steps, per_epoch, SCHEDULE, "epoch") == expected


@pytest.mark.parametrize(
    ("keys", "name", "expected"),
    [
        ({"seed": 7}, "seed", 7),
        ({"seed": 7}, "data_seed", None),
        ({"data_seed": 7}, "data_seed", 7),
        ({"micro_batch_size": 3}, "per_device_train_batch_size", 3),
        ({"micro_batch_size": 3}, "per_device_eval_batch_size", 3),
        ({"eval_batch_size": 5}, "per_device_eval_batch_size", 5),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps", 4),
        ({"batch_size": 8, "micro_batch_size": 2}, "gradient_accumulation_steps", 4),
        ({"num_epochs": 2.5}, "num_train_epochs", 2.5),
        ({"max_steps": 9}, "max_steps", 9),
        ({}, "max_steps", -1),
        ({"learning_rate": 3e-4}, "learning_rate", 3e-4),
        ({"optimizer": "adafactor"}, "optim", "adafactor"),
        ({"optim_args": {"a": 1, "b": "x"}}, "optim_args", "a=1,b=x"),
        ({"optim_args": "a=1"}, "optim_args", "a=1"),
        ({"lr_scheduler": "linear"}, "lr_scheduler_type", "linear"),
        ({"lr_scheduler_kwargs": {"num_cycles": 2}}, "lr_scheduler_kwargs", {"num_cycles": 2}),
        ({"warmup_steps": 11}, "warmup_steps", 11),
        ({"warmup_ratio": 0.5}, "warmup_steps", 100),
        ({"weight_decay": 0.1}, "weight_decay", 0.1),
        ({"adam_beta1": 0.8}, "adam_beta1", 0.8),
        ({"adam_beta2": 0.95}, "adam_beta2", 0.95),
        ({"adam_epsilon": 1e-6}, "adam_epsilon", 1e-6),
        ({"max_grad_norm": 0.3}, "max_grad_norm", 0.3),
        ({"gradient_checkpointing": True}, "activation_checkpointing", True),
        ({}, "activation_checkpointing_kwargs", {"use_reentrant": False}),
        (
            {"gradient_checkpointing_kwargs": {"use_reentrant": True}},
            "activation_checkpointing_kwargs",
            {"use_reentrant": True},
        ),
        ({"dataloader_num_workers": 2}, "dataloader_num_workers", 2),
        ({"dataloader_num_workers": 1, "dataloader_prefetch_factor": 3}, "dataloader_prefetch_factor", 3),
        ({"dataloader_prefetch_factor": 3}, "dataloader_prefetch_factor", None),
        ({"dataloader_drop_last": True}, "dataloader_drop_last", True),
        ({"optim_target_modules": ["q_proj"]}, "optim_target_modules", ["q_proj"]),
        ({"save_strategy": "best"}, "save_strategy", "best"),
        ({"metric_for_best_model": "eval_perplexity"}, "metric_for_best_model", "eval_perplexity"),
        ({"greater_is_better": True}, "greater_is_better", True),
        ({"ddp_find_unused_parameters": True}, "ddp_find_unused_parameters", True),
        ({"logging_steps": 3}, "logging_steps", 3),
        ({}, "logging_steps", 10),
        ({"eval_strategy": "no"}, "eval_strategy", "no"),
        ({"eval_steps": 6}, "eval_steps", 6),
        ({"evals_per_epoch": 5}, "eval_steps", 20),
        ({"save_strategy": "no"}, "save_strategy", "no"),
        ({"save_steps": 6}, "save_steps", 6),
        ({"saves_per_epoch": 2}, "save_steps", 50),
        ({"save_total_limit": 2}, "save_total_limit", 2),
        ({"save_only_model": True}, "save_only_model", True),
        ({"torch_empty_cache_steps": 7}, "torch_empty_cache_steps", 7),
        ({"load_best_model_at_end": True}, "load_best_model_at_end", True),
    ],
)
def test_a_key_arrives_in_the_arguments_of_the_trainer(keys, name, expected):
    assert getattr(arguments(**keys), name) == expected


def test_every_key_of_the_section_is_tested_above_or_used_elsewhere():
    table = test_a_key_arrives_in_the_arguments_of_the_trainer.pytestmark[0].args[1]
    elsewhere = {
        "output_dir",
        "cosine_min_lr_ratio",  # to group_by_length: test_schedules.py, test_optimizers.py, test_order.py
        "cosine_constant_lr_ratio",
        "lr_quadratic_warmup",
        "lr_div_factor",
        "jagged_restart_steps",
        "jagged_restart_warmup_steps",
        "jagged_restart_anneal_steps",
        "embedding_lr",
        "embedding_lr_scale",
        "lr_groups",
        "loraplus_lr_ratio",
        "loraplus_lr_embedding",
        "adam_beta3",
        "adam_epsilon2",
        "neftune_noise_alpha",
        "use_eaft",
        "eaft_alpha",
        "eaft_k",
        "group_by_length",
        "accelerator_config",
        "dataloader_pin_memory",
        "resume_from_checkpoint",
        "auto_resume_from_checkpoints",
        "early_stopping_patience",
        "save_first_step",  # to gc_collect_steps: test_callbacks.py
        "dynamic_checkpoint",
        "profiler_steps",
        "profiler_steps_start",
        "gc_collect_steps",
        "loss_watchdog_threshold",
        "loss_watchdog_patience",
    }
    assert {key for keys, _, _ in table for key in keys} | elsewhere == set(TrainingSection.model_fields)


def test_without_held_out_rows_nothing_is_evaluated():
    assert arguments(has_eval=False).eval_strategy == "no"


@pytest.mark.parametrize(
    ("precision", "bf16", "fp16"),
    [
        (FP32, False, False),
        (Precision("bfloat16", "bfloat16", "float32", ""), True, False),
        (Precision("bfloat16", "bfloat16", "bfloat16", ""), False, False),
        (Precision("float16", "float16", "float32", ""), False, True),
        (Precision("float16", "float16", "float16", ""), False, False),
    ],
)
def test_autocast_is_on_where_weights_are_trained_in_another_format(precision, bf16, fp16):
    assert precision.autocast == bf16
    made = training_arguments(section(output_dir="out"), SCHEDULE, precision, CPU, has_eval=False)
    assert (made.bf16, made.fp16) == (False, fp16)  # on a CPU the trainer does it


@pytest.mark.parametrize(
    ("keys", "steps", "warning"),
    [
        ({"warmup_steps": 4}, 5, ""),
        ({"warmup_steps": 1000, "lr_scheduler": "constant"}, 5, ""),
        (
            {"warmup_steps": 1000},
            5,
            "`warmup_steps: 1000` is a warmup of 1000 steps in a run of 5: the learning rate rises to",
        ),
        ({"warmup_ratio": 1.0}, 5, "`warmup_ratio: 1.0` is a warmup of 5 steps in a run of 5: "),
        ({"warmup_steps": 3, "lr_scheduler": "rex"}, 1, "`warmup_steps: 3` is a warmup of 3 steps in a run of 1: "),
    ],
)
def test_a_warmup_that_takes_the_whole_run_is_said(keys, steps, warning):
    assert check_warmup(section(**keys), steps).startswith(warning)
    assert bool(check_warmup(section(**keys), steps)) == bool(warning)


@pytest.mark.parametrize(
    "keys", [{"warmup_steps": 10}, {"warmup_ratio": 1.0}, {"warmup_steps": 1, "lr_scheduler": "linear"}]
)
def test_a_run_whose_only_step_has_a_learning_rate_of_0_is_refused(keys):
    with pytest.raises(ConfigError, match="whose learning rate would be 0: nothing would be trained"):
        check_warmup(section(**keys), 1)


@pytest.mark.parametrize("keys", [{"warmup_ratio": 0.1}, {"warmup_steps": 0.5}, {"warmup_ratio": 0.99}])
def test_a_warmup_that_is_a_share_leaves_a_step(keys):
    assert check_warmup(section(**keys), 1) == ""
    assert check_warmup(section(**keys), 2) == ""


def test_settings_that_the_trainer_refuses_are_an_error_of_the_config():
    with pytest.raises(ConfigError, match="save and eval strategy to match"):
        arguments(load_best_model_at_end=True, save_strategy="epoch", eval_steps=10)


def test_dropping_the_only_batch_is_refused():
    with pytest.raises(ConfigError, match="`dataloader_drop_last: true` leaves none of 3 sequences"):
        plan_steps(section(micro_batch_size=4, dataloader_drop_last=True), 3, 1)


def test_settings_of_accelerate_arrive():
    made = arguments(accelerator_config={"even_batches": False, "use_seedable_sampler": False}).accelerator_config
    assert (made.even_batches, made.use_seedable_sampler) == (False, False)


@pytest.mark.parametrize("pinned", [True, False])
def test_memory_is_pinned_for_a_gpu_as_set(pinned):
    gpu = Hardware(kind="cuda", count=1, name="GPU", memory=2**36, bf16=True)
    keys = section(output_dir="out", dataloader_pin_memory=pinned)
    assert training_arguments(keys, SCHEDULE, FP32, gpu, has_eval=False).dataloader_pin_memory is pinned
