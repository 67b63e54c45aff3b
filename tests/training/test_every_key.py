"""Every documented key changes something: it is set to another value, and two real runs of a tiny model differ.

The field's tools are full of flags that nothing reads. A key whose effect such a run cannot show (a GPU, a tracker,
the Hub) names the test that shows it. A new key without a line in one of the tables fails the first test.
"""

import hashlib
import json
import typing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open

from tunesmith.config.load import load
from tunesmith.config.sections import SECTIONS, Section
from tunesmith.data.splits import prepare_splits

pytestmark = pytest.mark.slow


class Flip(NamedTuple):
    """Another value of a key, and the keys that it needs beside it."""

    value: Any
    beside: Any = MappingProxyType({})


class TokenFlip(NamedTuple):
    """Another value of a key, the rows that show it, and what the entry of `datasets` and the file need beside it."""

    value: Any
    rows: list[dict[str, Any]]
    entry: Any = MappingProxyType({})
    beside: Any = MappingProxyType({})


HELD_OUT = {"val_set_size": 3}
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}
CHECKPOINTED = {"gradient_checkpointing": True, "lora_dropout": 0.5}
WATCHED = {"loss_watchdog_threshold": 1e-3}

FLIPS: dict[str, Flip] = {
    "bf16": Flip("full"),
    "attn_implementation": Flip("eager"),
    "adapter": Flip(None),
    "lora_r": Flip(2),
    "lora_alpha": Flip(100),
    "lora_dropout": Flip(0.5),
    "lora_target_modules": Flip(["q_proj"], {"lora_target_linear": None, "lora_target_modules": ["k_proj"]}),
    "lora_modules_to_save": Flip(["lm_head"]),
    "peft_use_dora": Flip(True),
    "peft_use_rslora": Flip(True),
    "val_set_size": Flip(3),
    "sequence_len": Flip(8),
    "sample_packing": Flip(True),
    "eval_sample_packing": Flip(True, HELD_OUT),
    "min_sample_len": Flip(9),
    "shuffle_merged_datasets": Flip(False),
    "seed": Flip(7),
    "micro_batch_size": Flip(2),
    "gradient_accumulation_steps": Flip(2),
    "batch_size": Flip(2),
    "num_epochs": Flip(2, {"max_steps": None}),
    "max_steps": Flip(2),
    "learning_rate": Flip(1e-3),
    "optimizer": Flip("sgd"),
    "optim_args": Flip({"momentum": 0.9}, {"optimizer": "sgd"}),
    "lr_scheduler": Flip("constant"),
    "lr_scheduler_kwargs": Flip({"num_cycles": 2}, {"lr_scheduler": "cosine_with_restarts"}),
    "cosine_min_lr_ratio": Flip(0.5),
    "warmup_steps": Flip(2),
    "warmup_ratio": Flip(0.7),
    "weight_decay": Flip(0.5),
    "adam_beta1": Flip(0.5),
    "adam_beta2": Flip(0.5),
    "adam_epsilon": Flip(0.1),
    "max_grad_norm": Flip(0.01),
    "neftune_noise_alpha": Flip(50),
    "logging_steps": Flip(2),
    "eval_strategy": Flip("no", HELD_OUT),
    "eval_steps": Flip(1, HELD_OUT),
    "evals_per_epoch": Flip(4, HELD_OUT),
    "save_strategy": Flip("no"),
    "save_steps": Flip(1),
    "saves_per_epoch": Flip(6),
    "save_total_limit": Flip(1, {"save_steps": 1}),
}
"""Key -> how to flip it; inside a block as `datasets[].type`."""

TEXTS = [{"text": "One two three."}, {"text": "A week has seven days."}, {"text": "Frozen water is ice."}]
TASKS = [
    {"instruction": "Add.", "input": "1 2", "output": "3", "system": "You add.", "more": "Add both, with care."},
    {"instruction": "Spell.", "input": "", "output": "a b c", "system": "You spell.", "more": "Spell it out."},
]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "You add."},
            {"role": "user", "content": "1 + 2?"},
            {"role": "assistant", "content": "<think>easy</think>It is 3.", "train": False},
            {"role": "user", "content": "And 4?"},
            {"role": "assistant", "content": "It is 7.", "own": "thought", "spans": []},
        ],
        "other": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        "renamed": [{"who": "bot", "what": "Hello."}],
    }
]
CHAT = {"type": "chat_template"}
COMPLETION = {"type": "completion"}
ALPACA = {"type": "alpaca"}

TOKEN_FLIPS: dict[str, TokenFlip] = {
    "mask": TokenFlip("axolotl", TASKS, ALPACA),
    "train_on_inputs": TokenFlip(True, TASKS, ALPACA),
    "excess_length_strategy": TokenFlip("truncate", TASKS, ALPACA, {"sequence_len": 30}),
    "chat_template": TokenFlip("chatml", CHATS, CHAT),
    "datasets[].type": TokenFlip("pretrain", TEXTS, COMPLETION, {"max_steps": 1}),
    "datasets[].field": TokenFlip("more", TASKS, COMPLETION | {"field": "instruction"}),
    "datasets[].field_instruction": TokenFlip("more", TASKS, ALPACA),
    "datasets[].field_input": TokenFlip("more", TASKS, ALPACA),
    "datasets[].field_output": TokenFlip("more", TASKS, ALPACA),
    "datasets[].field_messages": TokenFlip("other", CHATS, CHAT),
    "datasets[].roles_to_train": TokenFlip(["user"], CHATS, CHAT),
    "datasets[].train_on_eos": TokenFlip("last", CHATS, CHAT),
    "datasets[].message_field_training": TokenFlip("train", CHATS, CHAT),
    "datasets[].drop_system_message": TokenFlip(True, CHATS, CHAT),
    "datasets[].chat_template": TokenFlip("chatml", CHATS, CHAT),
    "datasets[].mask": TokenFlip("axolotl", TASKS, ALPACA),
    "datasets[].shards": TokenFlip(2, TEXTS, COMPLETION),
    "datasets[].shards_idx": TokenFlip(1, TEXTS, COMPLETION | {"shards": 2}),
    "datasets[].skip": TokenFlip(1, TEXTS, {"type": "pretrain"}, {"max_steps": 1}),
}
"""Key -> how to flip it, where the tokens show its effect."""

SHOWN_BY: dict[str, str] = {
    **dict.fromkeys(
        ("curate.max_chars", "curate.min_chars", "curate.assertions", "curate.output", "curate.leak_columns"),
        "tests/synth/test_curate.py::test_planted_rows_are_caught_with_the_right_reason_and_all_others_stay",
    ),
    **dict.fromkeys(
        ("curate.keep", "curate.near_duplicates"),
        "tests/synth/test_curate.py::test_a_rule_is_undone_and_a_bound_moved_without_a_second_look",
    ),
    "curate.dedup_keys": "tests/synth/test_curate.py::test_pairs_of_columns",
    "curate.columns": "tests/synth/test_curate.py::test_columns_that_count",
    **dict.fromkeys(
        ("curate.complexity", "curate.min_complexity", "curate.max_complexity"),
        "tests/synth/test_curate.py::test_complexity_is_the_number_of_different_words_or_a_function",
    ),
    **dict.fromkeys(
        ("curate.min_tokens", "curate.max_tokens"),
        "tests/synth/test_curate.py::test_bounds_in_tokens_are_those_of_the_model",
    ),
    **dict.fromkeys(
        ("generate.endpoint.model", "generate.endpoint.temperature", "generate.endpoint.max_tokens"),
        "tests/synth/test_generated_rows.py::test_keys_of_the_endpoint_arrive_in_the_request",
    ),
    **dict.fromkeys(
        (
            "generate.endpoint.base_url",
            "generate.endpoint.concurrency",
            "generate.endpoint.input_cost",
            "generate.endpoint.output_cost",
        ),
        "tests/generation/test_endpoint.py::test_replies_come_as_they_are_made_and_in_bounds",
    ),
    "generate.endpoint.api_key_env": "tests/generation/test_endpoint.py::test_what_cannot_heal_ends_the_run_at_once",
    "generate.endpoint.requests_per_minute": "tests/generation/test_endpoint.py::test_requests_per_minute",
    "generate.endpoint.timeout": "tests/generation/test_endpoint.py::test_what_may_heal_is_tried_again",
    "generate.endpoint.retries": "tests/generation/test_endpoint.py::test_pauses_grow",
    **dict.fromkeys(
        ("generate.endpoint.max_requests", "generate.endpoint.max_cost"),
        "tests/synth/test_generated_rows.py::test_a_limit_stops_and_the_next_run_goes_on",
    ),
    "generate.endpoint.cache": "tests/generation/test_endpoint.py::test_the_key_stays_out_of_the_cache",
    **dict.fromkeys(
        ("generate.seeds", "generate.rows", "generate.output"),
        "tests/synth/test_generated_rows.py::test_rows_are_made_with_their_provenance_and_train",
    ),
    **dict.fromkeys(
        ("generate.prompt", "generate.seeds_per_prompt"),
        "tests/synth/test_generated_rows.py::test_a_dry_run_shows_the_prompt_and_asks_nothing",
    ),
    "generate.seed": "tests/synth/test_generated_rows.py::test_another_seed_draws_other_seeds",
    "generate.row_schema": "tests/synth/test_generated_rows.py::test_rows_fit_the_schema",
    **dict.fromkeys(
        ("generate.assertions", "generate.heal"),
        "tests/synth/test_generated_rows.py::test_what_is_wrong_goes_back_with_the_reason_and_is_given_up_in_the_end",
    ),
    "generate.judge": "tests/synth/test_generated_rows.py::test_the_judge_has_the_last_word",
    "generate.near_duplicates": "tests/synth/test_generated_rows.py::test_rows_that_say_nearly_the_same_are_out",
    **dict.fromkeys(
        ("embedding_lr", "embedding_lr_scale"),
        "tests/training/test_optimizers.py::test_learning_rates_of_embeddings_and_head",
    ),
    **dict.fromkeys(
        ("lr_groups[].modules", "lr_groups[].lr"),
        "tests/training/test_optimizers.py::test_groups_of_weights_with_a_learning_rate_of_their_own",
    ),
    "lr_groups[].name": "tests/training/test_optimizers.py::test_a_learning_rate_for_nothing_is_refused",
    **dict.fromkeys(
        ("loraplus_lr_ratio", "loraplus_lr_embedding"),
        "tests/training/test_optimizers.py::test_loraplus_has_the_learning_rates_of_peft",
    ),
    "optim_target_modules": "tests/training/test_optimizers.py::test_galore_projects_the_named_modules",
    **dict.fromkeys(
        ("adam_beta3", "adam_epsilon2"),
        "tests/training/test_optimizers.py::test_came_has_its_own_keys",
    ),
    **dict.fromkeys(
        (
            "cosine_constant_lr_ratio",
            "lr_quadratic_warmup",
            "jagged_restart_steps",
            "jagged_restart_warmup_steps",
            "jagged_restart_anneal_steps",
        ),
        "tests/training/test_schedules.py::test_a_schedule_follows_its_formula",
    ),
    "lr_div_factor": "tests/training/test_schedules.py::test_one_cycle_is_that_of_torch",
    "dataloader_pin_memory": "tests/training/test_args.py::test_memory_is_pinned_for_a_gpu_as_set",
    **dict.fromkeys(
        ("use_eaft", "eaft_alpha", "eaft_k"),
        "tests/training/test_methods_run.py::test_the_eval_loss_stays_the_mean_over_tokens_when_the_training_loss_is_weighted",
    ),
    "curriculum_sampling": "tests/training/test_order.py::test_curriculum_takes_the_rows_in_their_order",
    "sample_packing_sequentially": "tests/training/test_order.py::test_sequential_packing_keeps_neighbours_together",
    "group_by_length": "tests/training/test_order.py::test_rows_of_like_length_share_a_batch",
    "dataloader_drop_last": "tests/training/test_order.py::test_the_last_batch_is_left_out_if_it_is_not_full",
    **dict.fromkeys(
        ("accelerator_config", "dataloader_num_workers", "dataloader_prefetch_factor"),
        "tests/training/test_order.py::test_batches_are_loaded_as_the_keys_say",
    ),
    **dict.fromkeys(
        ("metric_for_best_model", "greater_is_better"),
        "tests/training/test_methods_run.py::test_the_best_is_chosen_by_the_metric_and_its_direction",
    ),
    **dict.fromkeys(
        (
            "wandb_project",
            "wandb_name",
            "wandb_watch",
            "wandb_log_model",
        ),
        "tests/training/test_trackers.py::test_wandb_runs_offline_without_a_key",
    ),
    **dict.fromkeys(
        (
            "wandb_entity",
            "wandb_run_id",
            "trackio_space_id",
            "swanlab_api_key",
            "swanlab_api_host",
            "swanlab_web_host",
            "comet_workspace",
            "comet_experiment_key",
            "comet_mode",
        ),
        "tests/training/test_trackers.py::test_keys_become_the_environment_of_a_tracker",
    ),
    **dict.fromkeys(
        (
            "use_wandb",
            "wandb_mode",
            "use_comet",
            "use_mlflow",
            "use_swanlab",
            "use_trackio",
        ),
        "tests/training/test_trackers.py::test_what_switches_a_tracker_on",
    ),
    **dict.fromkeys(
        (
            "mlflow_tracking_uri",
            "mlflow_experiment_name",
            "mlflow_run_name",
            "hf_mlflow_log_artifacts",
        ),
        "tests/training/test_trackers.py::test_mlflow_gets_the_losses_the_config_and_the_end",
    ),
    **dict.fromkeys(
        (
            "trackio_project_name",
            "trackio_run_name",
        ),
        "tests/training/test_trackers.py::test_trackio_gets_the_losses_and_the_config",
    ),
    **dict.fromkeys(
        (
            "swanlab_project",
            "swanlab_experiment_name",
            "swanlab_workspace",
            "swanlab_description",
            "swanlab_mode",
        ),
        "tests/training/test_trackers.py::test_swanlab_gets_the_losses_the_config_and_its_names",
    ),
    **dict.fromkeys(
        (
            "comet_project_name",
            "comet_online",
            "comet_api_key",
        ),
        "tests/training/test_trackers.py::test_comet_gets_the_losses_and_the_config",
    ),
    "use_tensorboard": "tests/training/test_trackers.py::test_tensorboard_gets_the_losses_and_the_config",
    **dict.fromkeys(
        (
            "hub_model_id",
            "hub_strategy",
            "hub_revision",
        ),
        "tests/training/test_publish.py::test_checkpoints_and_the_result_with_record_and_card_are_pushed",
    ),
    **dict.fromkeys(
        (
            "save_only_model",
            "save_first_step",
            "dynamic_checkpoint.enabled",
            "dynamic_checkpoint.check_interval",
            "dynamic_checkpoint.trigger_file_path",
        ),
        "tests/training/test_callbacks.py::test_checkpoints_and_a_trace_are_made_when_asked_for",
    ),
    **dict.fromkeys(
        (
            "profiler_steps",
            "profiler_steps_start",
        ),
        "tests/training/test_callbacks.py::test_the_trace_has_the_steps_that_were_asked_for",
    ),
    "datasets[].filters": "tests/data/test_filters.py::"
    "test_rows_that_fail_are_left_out_counted_and_written_with_their_reasons",
    "evaluation.assertion_seconds": "tests/data/test_filters.py::test_the_time_limit_of_the_config_holds",
    "gc_collect_steps": "tests/training/test_callbacks.py::test_python_collects_each_so_many_steps",
    "evaluation.during_training": "tests/training/test_answering.py::"
    "test_the_share_that_passes_is_logged_and_training_does_not_notice",
    "evaluation.metrics": "tests/evals/test_metrics.py::test_a_list_in_yaml_may_have_a_pattern_without_quotes",
    "train_share": "tests/training/test_learning_curve.py::"
    "test_a_smaller_share_lies_in_a_larger_one_and_the_held_out_rows_stay",
    "torch_empty_cache_steps": "tests/training/test_args.py::test_a_key_arrives_in_the_arguments_of_the_trainer",
    **dict.fromkeys(
        ("judge.rubric", "judge.examples"),
        "tests/evals/test_judge.py::test_critiques_to_learn_from_are_shown_as_turns_and_rubrics_may_be_files",
    ),
    "judge.labels": "tests/evals/test_judge.py::test_labels_may_name_answers_by_id",
    **dict.fromkeys(
        ("judge.endpoint.model", "judge.endpoint.temperature", "judge.endpoint.max_tokens"),
        "tests/evals/test_judge.py::test_keys_of_the_endpoint_arrive_in_the_request",
    ),
    **dict.fromkeys(
        (
            "judge.endpoint.base_url",
            "judge.endpoint.concurrency",
            "judge.endpoint.input_cost",
            "judge.endpoint.output_cost",
        ),
        "tests/generation/test_endpoint.py::test_replies_come_as_they_are_made_and_in_bounds",
    ),
    "judge.endpoint.api_key_env": "tests/generation/test_endpoint.py::test_what_cannot_heal_ends_the_run_at_once",
    "judge.endpoint.requests_per_minute": "tests/generation/test_endpoint.py::test_requests_per_minute",
    "judge.endpoint.timeout": "tests/generation/test_endpoint.py::test_what_may_heal_is_tried_again",
    "judge.endpoint.retries": "tests/generation/test_endpoint.py::test_pauses_grow",
    **dict.fromkeys(
        ("judge.endpoint.max_requests", "judge.endpoint.max_cost"),
        "tests/generation/test_endpoint.py::test_a_limit_stops_cleanly_and_the_next_run_goes_on",
    ),
    "judge.endpoint.cache": "tests/generation/test_endpoint.py::test_the_key_stays_out_of_the_cache",
}
"""Key -> the test that shows its effect, where such a run cannot."""


def documented_keys() -> list[str]:
    """Return every key that the reference page documents; those inside a block as `special_tokens.pad_token`."""
    return [key for section in SECTIONS.values() for key in keys_of(section)]


def keys_of(section: type[Section], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        inside, listed = block(field.annotation)
        if inside is None:
            keys.append(prefix + name)
        else:
            keys += keys_of(inside, f"{prefix}{name}{'[]' if listed else ''}.")
    return keys


def block(annotation: Any) -> tuple[type[Section] | None, bool]:
    """Return the section that a key holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    for item in typing.get_args(annotation):
        inside, listed = block(item)
        if inside is not None:
            return inside, listed or typing.get_origin(annotation) is list
    return None, False


def test_every_documented_key_has_a_line():
    known = {key for key in documented_keys() if not key.startswith("test_datasets[].")}
    tables = [*FLIPS, *TOKEN_FLIPS, *SHOWN_BY]
    assert set(tables) == known
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize("place", sorted(set(SHOWN_BY.values())))
def test_the_test_that_shows_an_effect_is_there(place):
    file, _, name = place.partition("::")
    assert f"def {name}(" in (Path(__file__).parents[2] / file).read_text()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, tiny_config, train):
    """`outcome(keys)` trains three steps and returns all that can be seen afterwards, without times."""
    seen: dict[str, Any] = {}

    def run(keys: dict[str, Any], name: str = "") -> Any:
        name = name or json.dumps(keys, sort_keys=True)
        if name not in seen:
            file = tiny_config(tmp_path_factory.mktemp("flip"), **({"max_steps": 3} | keys))
            seen[name] = traces(train(file))
        return seen[name]

    return run


def traces(output: Path) -> dict[str, Any]:
    """Return the files of a run, its weights and its metrics."""
    timed = {"tokens_per_second", "peak_memory"}
    lines = (output / "run/metrics.jsonl").read_text().splitlines()
    weights = hashlib.sha256()
    for file in sorted(output.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in sorted(tensors.keys()):
                weights.update(key.encode())
                weights.update(tensors.get_tensor(key).float().numpy().tobytes())
    return {
        "files": sorted(str(file.relative_to(output)) for file in output.rglob("*") if "run/" not in str(file)),
        "weights": weights.hexdigest(),
        "metrics": [{key: value for key, value in json.loads(line).items() if key not in timed} for line in lines],
    }


def test_two_runs_of_one_config_show_the_same(outcome):
    assert outcome({}, "first") == outcome({}, "second")


@pytest.mark.parametrize("key", FLIPS)
def test_a_key_changes_what_a_run_shows(key, outcome):
    flip = FLIPS[key]
    assert outcome(dict(flip.beside)) != outcome(flip.beside | {key: flip.value})


@pytest.mark.parametrize("key", TOKEN_FLIPS)
def test_a_key_changes_the_tokens(key, tmp_path, write_config, write_jsonl, tokenizer):
    flip = TOKEN_FLIPS[key]
    rows = write_jsonl(tmp_path / "rows.jsonl", flip.rows)

    def tokens(entry: dict[str, Any], keys: dict[str, Any]) -> list[Any]:
        config = load(str(write_config(tmp_path, datasets=[{"path": str(rows)} | entry], **(flip.beside | keys))))
        train = prepare_splits(config, tokenizer).train
        return list(train.select_columns(["input_ids", "labels"]))

    name = key.removeprefix("datasets[].")
    entry, keys = ({}, {key: flip.value}) if name == key else ({name: flip.value}, {})
    assert tokens(flip.entry, {}) != tokens(flip.entry | entry, keys)
