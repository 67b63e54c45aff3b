"""The fates of keys: renamed, without effect, refused. None is silent."""

import pytest

from tunesmith.config import keys
from tunesmith.config.load import load
from tunesmith.config.sections import OWNER, SECTIONS
from tunesmith.errors import ConfigError


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
    with pytest.raises(ConfigError, match="`sdp_attention: True` and `attn_implementation: eager`: keep one"):
        load(str(other))
    both = write_config(tmp_path, flash_attention=True, sdp_attention=True)
    with pytest.raises(ConfigError, match=r"`sdp_attention: True` and `attn_implementation: flash_attention_2`"):
        load(str(both))


def test_an_attention_flag_that_is_off_says_nothing(tmp_path, write_config):
    config = load(str(write_config(tmp_path, flash_attention=False, xformers_attention=None)))
    assert config.model.attn_implementation is None
    assert config.notes == ()


@pytest.mark.parametrize("key", sorted(keys.NO_EFFECT))
def test_a_key_without_effect_gives_a_note_with_the_reason(tmp_path, write_config, key):
    config = load(str(write_config(tmp_path, **{key: "x"})))
    assert config.notes == (f"`{key}` has no effect: {keys.NO_EFFECT[key]}",)
    assert key not in config.values


@pytest.mark.parametrize("value", [False, ""])
def test_a_key_without_effect_that_is_off_says_nothing(tmp_path, write_config, value):
    assert load(str(write_config(tmp_path, group_by_length=value, wandb_project=value))).notes == ()


@pytest.mark.parametrize("key", [*keys.REFUSED, "hub_model_id", "lora_on_cpu", "reward_model"])
def test_a_key_of_axolotl_that_would_change_the_result_is_refused(tmp_path, write_config, key):
    file = write_config(tmp_path, **{key: "x"})
    with pytest.raises(ConfigError, match=rf"config\.yml:\d+:1: `{key}`: .*(not supported|removed)"):
        load(str(file))


def test_a_refused_key_that_is_off_is_accepted(tmp_path, write_config):
    assert load(str(write_config(tmp_path, rl=False, deepspeed=None, fsdp=[], fsdp_config={}))).notes == ()


@pytest.mark.parametrize("name", keys.NO_EFFECT_PLUGINS)
def test_plugins_that_only_make_a_gpu_faster_give_a_note(tmp_path, write_config, name):
    (note,) = load(str(write_config(tmp_path, plugins=[f"axolotl.integrations.x.{name}"]))).notes
    assert note.startswith(f"plugin `axolotl.integrations.x.{name}` has no effect: ")


def test_no_key_has_two_fates():
    supported = set(OWNER)
    assert len(OWNER) == sum(len(section.model_fields) for section in SECTIONS.values())
    for name, table in {"renamed": keys.RENAMED, "no effect": keys.NO_EFFECT, "refused": keys.REFUSED}.items():
        assert not supported & set(table), name
    assert not set(keys.RENAMED) & set(keys.NO_EFFECT)
    assert not set(keys.REFUSED) & {*keys.NO_EFFECT, *keys.RENAMED}


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
    noted = [note.split("`")[1] for note in config.notes]
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
