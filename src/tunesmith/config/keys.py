"""The fates of keys that are not simply supported: renamed, without effect here, or refused. None is silent.

A key in none of these tables, nor in a section, nor in `axolotl_keys.txt` (Axolotl's own list), is unknown: an error
with the nearest known name.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

ATTENTION_FLAGS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "xformers_attention": "sdpa",
    "eager_attention": "eager",
}
"""Old boolean keys -> the value of `attn_implementation` that `true` stands for."""


def _attention(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {"attn_implementation": ATTENTION_FLAGS[key]} if value is True else {}


def _streams(value: Any) -> list[Any]:
    """Return `pretraining_dataset` (a path, an entry or a list of them) as entries of `datasets`."""
    entries = value if isinstance(value, list) else [value]
    return [{"type": "pretrain", **({"path": item} if isinstance(item, str) else item)} for item in entries]


RENAMED: dict[str, Callable[[Any], dict[str, Any]]] = {
    **{key: _attention(key) for key in ATTENTION_FLAGS},
    "evaluation_strategy": lambda value: {"eval_strategy": value},
    "noisy_embedding_alpha": lambda value: {"neftune_noise_alpha": value},
    "pretraining_dataset": lambda value: {"datasets": _streams(value)},
    "bfloat16": lambda value: {"bf16": "full" if value is True else value},
}
"""Old key -> the keys that it stands for, as a function of its value."""

_KERNEL = "a fused GPU kernel: speed only; this build uses the plain code, with the same result"
_MEMORY = "memory or speed only, with the same result"
_TRACKING = "trackers are not supported yet; metrics are in run/metrics.jsonl of output_dir"
_TABLE = "tables of predictions during training are not supported yet; use `tunesmith evaluate`"

NO_EFFECT: dict[str, str] = {
    "base_model_ignore_patterns": "only the files that are loaded are downloaded",
    "base_model_config": "the config beside the model's weights is used",
    "type_of_model": "the class follows from the model's own config",
    "model_type": "the class follows from the model's own config",
    "is_llama_derived_model": "the class follows from the model's own config",
    "is_mistral_derived_model": "the class follows from the model's own config",
    "is_falcon_derived_model": "the class follows from the model's own config",
    "is_qwen_derived_model": "the class follows from the model's own config",
    "tokenizer_type": "tokenizer.json decides, since it is the faithful form",
    "tokenizer_use_fast": "tokenizer.json decides, since it is the faithful form",
    "tokenizer_legacy": "tokenizer.json decides, since it is the faithful form",
    "strict": "unknown keys are always an error here",
    "group_by_length": "rows are laid end to end without padding, so that there is nothing to gain",
    "pad_to_sequence_len": "rows are laid end to end without padding",
    "remove_unused_columns": "only tokens and labels reach the model",
    "dataset_processes": "tokenising uses all cores by itself",
    "dataset_num_proc": "tokenising uses all cores by itself",
    "dataset_keep_in_memory": _MEMORY,
    "dataloader_pin_memory": _MEMORY,
    "dataloader_prefetch_factor": _MEMORY,
    "low_cpu_mem_usage": _MEMORY,
    "sample_packing_group_size": "packing looks at all rows",
    "sample_packing_bin_size": "packing has no limit of rows in a sequence",
    "lora_mlp_kernel": _KERNEL,
    "lora_qkv_kernel": _KERNEL,
    "lora_o_kernel": _KERNEL,
    "flash_attn_cross_entropy": _KERNEL,
    "flash_attn_rms_norm": _KERNEL,
    "flash_attn_fuse_qkv": _KERNEL,
    "flash_attn_fuse_mlp": _KERNEL,
    "liger_rope": _KERNEL,
    "liger_rms_norm": _KERNEL,
    "liger_layer_norm": _KERNEL,
    "liger_glu_activation": _KERNEL,
    "liger_cross_entropy": _KERNEL,
    "liger_fused_linear_cross_entropy": _KERNEL,
    "cut_cross_entropy": _KERNEL,
    "use_kernels": _KERNEL,
    "torch_compile": _KERNEL,
    "torch_compile_backend": _KERNEL,
    "save_safetensors": "weights are always saved as safetensors",
    "eval_sample_packing_size": _MEMORY,
    "eval_table_size": _TABLE,
    "eval_table_max_new_tokens": _TABLE,
    "eval_max_new_tokens": _TABLE + "; set evaluation.max_new_tokens",
    "local_rank": "the launcher tells each process its rank",
    "use_wandb": _TRACKING,
    "wandb_mode": _TRACKING,
    "wandb_project": _TRACKING,
    "wandb_entity": _TRACKING,
    "wandb_watch": _TRACKING,
    "wandb_name": _TRACKING,
    "wandb_run_id": _TRACKING,
    "wandb_log_model": _TRACKING,
    "use_mlflow": _TRACKING,
    "mlflow_experiment_name": _TRACKING,
    "mlflow_tracking_uri": _TRACKING,
    "use_tensorboard": _TRACKING,
    "use_trackio": _TRACKING,
    "debug": "use `tunesmith preprocess --debug`",
    "ddp_timeout": "data is prepared before the processes join",
}
"""Key -> why it changes nothing here. Printed as a warning, and only when the key has a value other than false."""

NO_EFFECT_PLUGINS = ("LigerPlugin", "CutCrossEntropyPlugin", "KernelsPlugin")
"""Classes in `plugins` that only make a GPU run faster."""

REFUSED: dict[str, str] = {
    "deepspeed": "DeepSpeed is not supported yet; torchrun --nproc_per_node N runs data-parallel",
    "fsdp": "FSDP is not supported yet; torchrun --nproc_per_node N runs data-parallel",
    "fsdp_config": "FSDP is not supported yet; torchrun --nproc_per_node N runs data-parallel",
    "max_packed_sequence_len": "removed by Axolotl; set sequence_len and sample_packing: true",
    "gptq": "GPTQ base models are not supported yet; use load_in_4bit",
}
"""Key -> why it is an error. Other keys of `axolotl_keys.txt` are refused as not supported yet."""


def axolotl_keys() -> frozenset[str]:
    """Return all top-level keys that Axolotl knows, also those that Tunesmith does not support."""
    return frozenset(files("tunesmith.config").joinpath("axolotl_keys.txt").read_text().split())
