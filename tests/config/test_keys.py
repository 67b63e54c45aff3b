"""The status of keys: renamed, ignored, refused. Each is reported."""

import dataclasses
import typing
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from transformers import TrainingArguments

from tunesmith.config import keys
from tunesmith.config.key_status import reasons
from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.sections import OWNER, SECTIONS


@pytest.mark.parametrize(
    ("old", "value", "new", "expected"),
    [
        ("flash_attention", True, "attn_implementation", "flash_attention_2"),
        ("sdp_attention", True, "attn_implementation", "sdpa"),
        ("eager_attention", True, "attn_implementation", "eager"),
        ("bfloat16", True, "bf16", "full"),
    ],
)
def test_a_renamed_key_of_the_model_is_taken_with_a_note(tmp_path, write_config, old, value, new, expected):
    config = load(str(write_config(tmp_path, **{old: value})))
    assert getattr(config.model, new) == expected
    assert config.notes == (f"`{old}` is taken as `{new}: {expected}`",)


def test_renamed_keys_of_training_are_taken_with_a_note(tmp_path, write_config):
    file = write_config(tmp_path, evaluation_strategy="epoch", noisy_embedding_alpha=5, val_set_size=0.5)
    config = load(str(file))
    assert (config.training.eval_strategy, config.training.neftune_noise_alpha) == ("epoch", 5)
    assert len(config.notes) == 2


def test_an_old_and_a_new_key_must_agree(tmp_path, write_config):
    same = write_config(tmp_path, flash_attention=True, attn_implementation="flash_attention_2")
    assert load(str(same)).model.attn_implementation == "flash_attention_2"
    other = write_config(tmp_path, sdp_attention=True, attn_implementation="eager")
    with pytest.raises(ConfigError, match="`sdp_attention: true` and `attn_implementation: eager`: use only one"):
        load(str(other))
    both = write_config(tmp_path, flash_attention=True, sdp_attention=True)
    with pytest.raises(ConfigError, match=r"`sdp_attention: true` and `attn_implementation: flash_attention_2`"):
        load(str(both))


def test_an_attention_flag_that_is_off_says_nothing(tmp_path, write_config):
    config = load(str(write_config(tmp_path, flash_attention=False, xformers_attention=None)))
    assert config.model.attn_implementation is None
    assert config.notes == ()


def with_status(status):
    return sorted(key for key, reason in reasons().items() if reason.status == status and not set(".[") & set(key))


@pytest.mark.parametrize("key", with_status("ignored"))
def test_a_key_without_effect_gives_a_note_with_the_reason(tmp_path, write_config, key):
    config = load(str(write_config(tmp_path, **{key: "x"})))
    assert config.notes == (f"`{key}`: ignored: {reasons()[key].text}",)
    assert key not in config.values
    assert (key, "ignored") in {(item.key, item.status) for item in config.statuses}


@pytest.mark.parametrize("key", with_status("refused"))
def test_a_key_that_would_change_the_result_is_refused_with_the_reason(tmp_path, write_config, key):
    with pytest.raises(ConfigError) as caught:
        load(str(write_config(tmp_path, **{key: "x"})))
    assert str(caught.value).partition("1: ")[2] == f"`{key}`: {reasons()[key].text}"


@pytest.mark.parametrize("key", [*with_status("refused"), *with_status("ignored")])
def test_a_key_that_is_off_asks_for_nothing(tmp_path, write_config, key):
    for value in (False, "", [], {}, *([reasons()[key].off] if reasons()[key].off else [])):
        config = load(str(write_config(tmp_path, **{key: value})))
        assert config.notes == ()
        assert (key, "off") in {(item.key, item.status) for item in config.statuses}


def test_a_key_inside_an_entry_has_a_status_too(tmp_path, write_config):
    entry = {"path": "a.jsonl", "type": "alpaca", "preprocess_shards": 4, "split": None, "trust_remote_code": False}
    config = load(str(write_config(tmp_path, datasets=[entry])))
    statuses = {item.key: item.status for item in config.statuses}
    assert statuses["datasets.0.preprocess_shards"] == "ignored"
    assert statuses["datasets.0.split"] == "empty"
    assert statuses["datasets.0.trust_remote_code"] == "off"
    for block in ("datasets", "test_datasets"):
        with pytest.raises(ConfigError, match=rf"`{block}.0.length`: random rows"):
            load(str(write_config(tmp_path, **{block: [entry | {"length": 5}]})))


def test_a_file_names_the_status_of_every_key(tmp_path):
    (tmp_path / "a.yml").write_text(AXOLOTL_2024)
    config = load(str(tmp_path / "a.yml"))
    assert {item.key for item in config.statuses if "." not in item.key} == set(yaml.safe_load(AXOLOTL_2024))


def test_no_key_has_two_statuses():
    assert len(OWNER) == sum(len(section.model_fields) for section in SECTIONS.values())
    assert not set(OWNER) & set(keys.RENAMED)
    assert not set(OWNER) & set(reasons())
    assert not set(keys.RENAMED) & set(reasons())


def test_every_key_that_axolotl_knows_has_a_status():
    """The list holds Axolotl's keys of 2024 and 2026, top-level and nested, and those seen in public files."""
    rows = (Path(__file__).parents[1] / "data/axolotl_keys.tsv").read_text().splitlines()[1:]
    assert len(rows) == 762
    assert [key for key in (row.split("\t")[0] for row in rows) if not has_status(key)] == []


OF_2024 = [
    "dispatch_batches",
    "fp16_backend",
    "fp16_opt_level",
    "fsdp_min_num_params",
    "fsdp_transformer_layer_cls_to_wrap",
    "half_precision_backend",
    "include_inputs_for_metrics",
    "jit_mode_eval",
    "logging_dir",
    "mp_parameters",
    "no_cuda",
    "overwrite_output_dir",
    "past_index",
    "push_to_hub_model_id",
    "push_to_hub_organization",
    "push_to_hub_token",
    "ray_scope",
    "split_batches",
    "torchdynamo",
    "tpu_metrics_debug",
    "tpu_num_cores",
    "use_ipex",
    "use_mps_device",
    "evaluation_strategy",
    "group_by_length",
    "warmup_ratio",
    "gradient_checkpointing",
    "save_safetensors",
]
"""Arguments of transformers 4.38 that it no longer has."""


@pytest.mark.parametrize("key", [*(field.name for field in dataclasses.fields(TrainingArguments)), *OF_2024])
def test_every_argument_of_the_trainer_has_a_status(tmp_path, write_config, key):
    """Axolotl of 2024 let any key through, so that its files hold transformers' own names too."""
    if key in keys.NICKNAMES:
        with pytest.raises(ConfigError, match=f"unknown key `{key}`; did you mean `{keys.NICKNAMES[key]}`"):
            load(str(write_config(tmp_path, **{key: 1})))
    else:
        assert has_status(key)


def has_status(key: str) -> bool:
    canonical = key.replace("pretraining_dataset[]", "datasets[]").replace("test_datasets[]", "datasets[]")
    top, *inner = canonical.replace("[]", "").split(".")
    if top in keys.RENAMED or canonical in reasons() or any(canonical.startswith(f"{name}.") for name in reasons()):
        return True
    if top not in OWNER:
        return False
    kinds = [SECTIONS[OWNER[top]].model_fields[top].annotation]
    for part in inner:
        kinds = [item for kind in kinds for item in members(kind)]
        blocks = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        found = [block.model_fields[part].annotation for block in blocks if part in block.model_fields]
        if not found:
            return dict in kinds
        kinds = found
    return True


def members(annotation):
    """Return the types inside a union, a list or an Annotated, at every level; `dict` for a mapping."""
    origin = typing.get_origin(annotation)
    if origin is dict:
        return [dict]
    inside = [item for argument in typing.get_args(annotation) for item in members(argument)]
    return [annotation, *inside]


def test_every_key_is_documented():
    missing = [
        key for section in SECTIONS.values() for key, field in section.model_fields.items() if not field.description
    ]
    assert missing == []


AXOLOTL_2024 = """
base_model: builtin/smollm2-135m-instruct
model_type: LlamaForCausalLM
tokenizer_type: AutoTokenizer
is_llama_derived_model: true
load_in_8bit: false
load_in_4bit: false
strict: false
datasets:
  - path: rows.jsonl
    type: alpaca
dataset_prepared_path:
val_set_size: 0.05
output_dir: ./outputs/lora-out
sequence_len: 4096
sample_packing: true
eval_sample_packing: false
pad_to_sequence_len: true
adapter: lora
lora_model_dir:
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
lora_fan_in_fan_out:
lora_modules_to_save:
  - embed_tokens
wandb_project:
wandb_entity:
wandb_watch:
wandb_name:
wandb_log_model:
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 0.0002
train_on_inputs: false
group_by_length: false
bf16: auto
fp16:
tf32: false
gradient_checkpointing: true
early_stopping_patience:
resume_from_checkpoint:
local_rank:
logging_steps: 1
xformers_attention:
flash_attention: true
s2_attention:
warmup_steps: 10
evals_per_epoch: 4
eval_table_size:
eval_max_new_tokens: 128
saves_per_epoch: 1
debug:
deepspeed:
weight_decay: 0.0
fsdp:
fsdp_config:
special_tokens:
  pad_token: <|im_end|>
"""
"""Axolotl's examples/llama-3/lora-8b.yml of 2024, with another model."""


def test_an_axolotl_file_of_2024_loads_with_notes(tmp_path):
    (tmp_path / "a.yml").write_text(AXOLOTL_2024)
    config = load(str(tmp_path / "a.yml"))
    noted = [item.key for item in config.statuses if item.status in ("ignored", "renamed")]
    assert noted == [
        "model_type",
        "tokenizer_type",
        "is_llama_derived_model",
        "pad_to_sequence_len",
        "flash_attention",
        "eval_max_new_tokens",
    ]
    assert config.model.attn_implementation == "flash_attention_2"
    assert config.model.tf32 is False
    assert config.data.dataset_prepared_path == "last_run_prepared"
    assert config.training.learning_rate == 2e-4


def test_the_file_of_the_course_loads():
    """The workshop's hc.yml of 2024 repeats a key, and sets the seed of the data's order."""
    config = load(str(Path(__file__).parent / "hc.yml"))
    assert config.notes[0].endswith("hc.yml:34:1: `lora_fan_in_fan_out` is empty here; its value on line 10 is used")
    assert config.adapter.lora_fan_in_fan_out is False
    assert (config.training.seed, config.training.data_seed) == (49, 49)
    assert {item.key for item in config.statuses if item.status == "ignored"} == {
        *("tokenizer_type", "is_mistral_derived_model", "pad_to_sequence_len", "save_safetensors"),
    }


def test_arguments_of_the_trainer_that_its_file_may_hold(tmp_path, write_config):
    config = load(str(write_config(tmp_path, activation_checkpointing=True, logging_first_step=True, report_to="none")))
    assert config.training.gradient_checkpointing is True
    assert config.notes[1] == "`logging_first_step`: ignored: the first step is always logged"
    with pytest.raises(ConfigError, match=r"`hub_token`: a config is recorded with the run; run `hf auth login`"):
        load(str(write_config(tmp_path, hub_token="hf_x")))


def test_tokens_as_a_mapping_are_special_tokens(tmp_path, write_config):
    config = load(str(write_config(tmp_path, tokens={"pad_token": "<pad>", "unk_token": None})))
    assert config.model.special_tokens.pad_token == "<pad>"
    assert (config.model.tokens, config.values["special_tokens"]) == ([], {"pad_token": "<pad>"})
    assert config.notes[0].startswith("`tokens` is taken as `special_tokens: {pad_token: <pad>")
    assert load(str(write_config(tmp_path, tokens=["<a>"]))).model.tokens == ["<a>"]


CLOUD = {
    "provider": "modal",
    "gpu": "h100",
    "volumes": [{"name": "data", "mount": "/workspace"}],
    "secrets": ["HF_TOKEN"],
}


def test_a_cloud_section_is_ignored_and_a_cloud_file_named_as_such(tmp_path, write_config):
    config = load(str(write_config(tmp_path, cloud=CLOUD)))
    assert config.notes == (f"`cloud`: ignored: {reasons()['cloud'].text}",)
    (tmp_path / "cloud.yml").write_text(yaml.safe_dump(CLOUD))
    with pytest.raises(ConfigError, match=r"cloud\.yml is a cloud file of Axolotl \(gpu, provider, secrets, \.\.\.\)"):
        load(str(tmp_path / "cloud.yml"))


def test_unfrozen_parameters_beside_an_adapter_are_a_note(tmp_path, write_config):
    config = load(str(write_config(tmp_path, adapter="lora", lora_r=8, unfrozen_parameters=["^lm_head"])))
    assert any("`unfrozen_parameters`: ignored: an adapter freezes all other weights" in note for note in config.notes)
