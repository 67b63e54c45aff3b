"""Files in the shapes that people have: each loads, or is refused with a reason a key; no key vanishes; at once.

The shapes follow the counts of `tests/data/axolotl_keys.tsv`. The random ones draw keys by how often files set them.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.sections import Config

COMMON: dict[str, Any] = {
    "base_model": "some-org/some-model-8b",
    "datasets": [{"path": "some-org/some-rows", "type": "alpaca"}],
    "dataset_prepared_path": None,
    "val_set_size": 0.05,
    "output_dir": "./outputs/out",
    "sequence_len": 2048,
    "sample_packing": True,
    "pad_to_sequence_len": True,
    "gradient_accumulation_steps": 4,
    "micro_batch_size": 2,
    "num_epochs": 1,
    "optimizer": "adamw_bnb_8bit",
    "lr_scheduler": "cosine",
    "learning_rate": "2e-4",
    "bf16": "auto",
    "tf32": False,
    "gradient_checkpointing": True,
    "logging_steps": 1,
    "warmup_steps": 10,
    "evals_per_epoch": 4,
    "saves_per_epoch": 1,
    "weight_decay": 0.0,
    "special_tokens": None,
}
OF_2024: dict[str, Any] = {
    "model_type": "AutoModelForCausalLM",
    "tokenizer_type": "AutoTokenizer",
    "load_in_8bit": False,
    "load_in_4bit": False,
    "strict": False,
    "train_on_inputs": False,
    "group_by_length": False,
    "fp16": None,
    "early_stopping_patience": None,
    "resume_from_checkpoint": None,
    "local_rank": None,
    "xformers_attention": None,
    "flash_attention": True,
    "eval_table_size": None,
    "eval_max_new_tokens": 128,
    "debug": None,
    "deepspeed": None,
    "fsdp": None,
    "fsdp_config": None,
    "wandb_project": None,
    "wandb_entity": None,
    "wandb_watch": None,
    "wandb_name": None,
    "wandb_log_model": None,
}
LORA = {"adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "lora_target_linear": True}
QLORA = LORA | {"adapter": "qlora", "load_in_4bit": True, "lora_model_dir": None}
FSDP1 = {
    "fsdp": ["full_shard", "auto_wrap"],
    "fsdp_config": {
        "fsdp_limit_all_gathers": True,
        "fsdp_sync_module_states": True,
        "fsdp_offload_params": True,
        "fsdp_use_orig_params": False,
        "fsdp_cpu_ram_efficient_loading": True,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
        "fsdp_state_dict_type": "FULL_STATE_DICT",
        "fsdp_sharding_strategy": "FULL_SHARD",
        "fsdp_backward_prefetch": "BACKWARD_PRE",
    },
}
FSDP2 = {
    "fsdp_version": 2,
    "fsdp_config": {
        "offload_params": False,
        "cpu_ram_efficient_loading": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": "Qwen3DecoderLayer",
        "state_dict_type": "FULL_STATE_DICT",
        "reshard_after_forward": True,
        "activation_checkpointing": True,
    },
}
CHAT = {
    "chat_template": "llama3",
    "datasets": [
        {
            "path": "some-org/some-chats",
            "type": "chat_template",
            "split": "train[:20%]",
            "field_messages": "conversations",
            "message_property_mappings": {"role": "from", "content": "value"},
        }
    ],
}
PLUGINS = {
    "plugins": [
        "axolotl.integrations.liger.LigerPlugin",
        "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin",
    ],
    "liger_rope": True,
    "liger_rms_norm": True,
    "liger_glu_activation": True,
    "liger_layer_norm": True,
}
PAIRS = {"path": "some-org/some-pairs", "type": "chatml.intel", "split": "train"}
DPO = {
    "rl": "dpo",
    "datasets": [PAIRS],
    "sample_packing": False,
    "remove_unused_columns": False,
}

RUNS: dict[str, dict[str, Any]] = {
    "2024 lora": OF_2024 | LORA | {"load_in_8bit": True},
    "2024 qlora": OF_2024 | QLORA,
    "2024 full": OF_2024 | {"flash_attn_cross_entropy": False, "flash_attn_fuse_mlp": True},
    "2024 qlora fsdp": OF_2024 | QLORA | FSDP1,
    "2024 full deepspeed": OF_2024 | {"deepspeed": "deepspeed_configs/zero3_bf16.json"},
    "2024 pythia": OF_2024 | LORA | {"lora_fan_in_fan_out": True, "sample_packing": False, "device_map": None},
    "2024 new tokens": OF_2024
    | LORA
    | {"lora_modules_to_save": ["embed_tokens", "lm_head"], "tokens": ["<|im_start|>"], "sample_packing": False},
    "2024 resize": OF_2024 | {"resize_token_embeddings_to_32x": True, "adam_beta2": 0.95, "adam_epsilon": 0.00001},
    "2024 lisa": OF_2024 | {"lisa_n_layers": 4, "lisa_step_interval": 20, "lisa_layers_attribute": "model.layers"},
    "2024 gptq": OF_2024 | LORA | {"gptq": True, "gptq_disable_exllama": True, "load_in_8bit": False},
    "2024 unfrozen": OF_2024 | {"unfrozen_parameters": ["^lm_head.weight$", "model.layers.4[4-9]+.mlp"]},
    "2024 config": OF_2024 | LORA | {"model_config": {"output_router_logits": True}, "trust_remote_code": True},
    "2024 watched": OF_2024 | LORA | {"loss_watchdog_threshold": 5.0, "loss_watchdog_patience": 3},
    "2024 no gpu": OF_2024 | LORA | {"flash_attention": None, "bf16": False, "fp16": False, "evals_per_epoch": 0},
    "2026 lora": LORA | CHAT | {"attn_implementation": "flash_attention_2", "lora_mlp_kernel": True},
    "2026 plugins": QLORA | CHAT | PLUGINS,
    "2026 fsdp": CHAT | FSDP2 | {"optimizer": "adamw_torch_8bit", "warmup_ratio": 0.1, "warmup_steps": None},
    "2026 deepspeed": CHAT | {"deepspeed": "deepspeed_configs/zero1.json", "flash_attention": True},
    "2026 no evaluation": LORA | {"val_set_size": 0.0, "optimizer": "adamw_torch_fused"},
    "2026 tokens": LORA
    | CHAT
    | {"special_tokens": {"pad_token": "<|end_of_text|>"}, "eot_tokens": ["<|eot_id|>"], "wandb_project": "mine"},
    "2026 dpo": LORA | DPO | {"rl_beta": 0.1},
    "2026 orpo": LORA | DPO | {"rl": "orpo", "datasets": [PAIRS | {"type": "chat_template.argilla"}]},
    "2026 parallel": CHAT | FSDP2 | {"context_parallel_size": 2, "tensor_parallel_size": 4, "dp_shard_size": 2},
    "2026 stream": {
        "pretraining_dataset": [{"path": "some-org/some-texts", "name": "en", "type": "pretrain", "split": "train"}],
        "datasets": None,
        "max_steps": 100,
        "val_set_size": None,
        "evals_per_epoch": None,
    },
}  # fmt: skip
"""Files that run, on a laptop too."""

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "images": (
        {"processor_type": "AutoProcessor", "skip_prepare_dataset": True},
        ["processor_type", "skip_prepare_dataset"],
    ),
    "online rl": ({"rl": "grpo", "trl": {"beta": 0.001, "use_vllm": True}}, ["rl", "trl"]),
    "quantised training": ({"qat": {"weight_dtype": "int4", "group_size": 32}}, ["qat"]),
    "fp8": ({"fp8": True}, ["fp8"]),
    "own plugin": ({"plugins": ["my.package.Own"]}, ["Own"]),
}  # fmt: skip
"""Files that are refused, and the keys that the error names."""


def write(folder: Path, values: dict[str, Any]) -> str:
    file = folder / "file.yml"
    file.write_text(yaml.safe_dump(COMMON | values, sort_keys=False))
    return str(file)


@pytest.mark.parametrize("shape", RUNS)
def test_a_file_loads_and_says_what_became_of_each_key(tmp_path, shape):
    config = load(write(tmp_path, RUNS[shape]))
    assert {item.key for item in config.statuses if "." not in item.key} == set(COMMON | RUNS[shape])
    used = {item.key for item in config.statuses if item.status in ("supported", "renamed")}
    assert {"base_model", "learning_rate", "micro_batch_size"} <= used


@pytest.mark.parametrize("shape", REFUSED)
def test_a_file_that_cannot_run_is_refused_with_a_reason_for_each_key(tmp_path, shape):
    values, named = REFUSED[shape]
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, values))
    faults = str(caught.value).splitlines()
    assert len(faults) == len(named)
    for fault, key in zip(faults, named, strict=True):
        assert f"`{key}" in fault
        assert fault.startswith(f"{tmp_path}/file.yml:")


def key_counts() -> dict[str, int]:
    """Return Axolotl's top-level keys, and how many public files set each."""
    rows = [line.split("\t") for line in (Path(__file__).parents[1] / "data/axolotl_keys.tsv").read_text().splitlines()]
    return {key: int(new or 0) + int(old or 0) for key, _, new, old in rows[1:] if not set(".[") & set(key)}


VALUES = [True, False, None, 0, 1, 8, 0.1, "auto", "x", [], ["a"], {}, {"a": 1}]


@pytest.mark.parametrize("seed", range(300))
def test_a_random_file_loads_or_names_each_key_at_fault(tmp_path, seed):
    """Whatever the values: no traceback, no key without a status, and every error is at a line of the file."""
    draw = random.Random(seed)
    counts = key_counts()
    keys = draw.choices(list(counts), weights=[count + 1 for count in counts.values()], k=12)
    values = COMMON | {key: draw.choice(VALUES) for key in keys if key not in ("base_model", "datasets")}
    file = write(tmp_path, values)
    faults, config = attempt(file)
    assert all(f"{file}:" in line and "`" in line for line in faults)
    if config is not None:
        assert {item.key for item in config.statuses if "." not in item.key} == set(values)


def attempt(file: str) -> tuple[list[str], Config | None]:
    """Return the faults of a file, or its config."""
    try:
        return [], load(file)
    except ConfigError as error:
        return str(error).splitlines(), None
