"""Old names of keys."""

from collections.abc import Callable
from typing import Any

ATTENTION_FLAGS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "xformers_attention": "sdpa",
    "eager_attention": "eager",
    "flex_attention": "flex_attention",
    "sage_attention": "sage",
}
"""Old boolean keys -> the value of `attn_implementation` for `true`."""


def _attention(key: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {"attn_implementation": ATTENTION_FLAGS[key]} if value is True else {}


def _streams(value: Any) -> list[Any]:
    """Return `pretraining_dataset` (a path, an entry or a list of them) as entries of `datasets`."""
    entries = value if isinstance(value, list) else [value]
    return [{"type": "pretrain", **(item if isinstance(item, dict) else {"path": item})} for item in entries]


NICKNAMES = {
    "lr": "learning_rate",
    "lora": "adapter: lora",
    "qlora": "adapter: qlora",
    "model": "base_model",
    "model_name": "base_model",
    "model_name_or_path": "base_model",
    "max_length": "sequence_len",
    "max_seq_len": "sequence_len",
    "max_seq_length": "sequence_len",
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "micro_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "lr_scheduler_type": "lr_scheduler",
    "optim": "optimizer",
    "target_modules": "lora_target_modules",
}
"""Names of keys in other programs, which are errors here -> what to write."""


RENAMED: dict[str, Callable[[Any], dict[str, Any]]] = {
    **{key: _attention(key) for key in ATTENTION_FLAGS},
    "model_config": lambda value: {"overrides_of_model_config": value},
    "model_kwargs": lambda value: {"overrides_of_model_kwargs": value},
    "model_type": lambda value: {"type_of_model": value},
    "model_revision": lambda value: {"revision_of_model": value},
    "float32": lambda value: {"bf16": False} if value is True else {},
    "liger_swiglu": lambda value: {"liger_glu_activation": value},
    "relora_steps": lambda value: {"relora": True, "jagged_restart_steps": value} if value else {},
    "relora_warmup_steps": lambda value: {"jagged_restart_warmup_steps": value} if value else {},
    "relora_anneal_steps": lambda value: {"jagged_restart_anneal_steps": value} if value else {},
    "dpo_beta": lambda value: {"rl_beta": value},
    "sequence_parallel_degree": lambda value: {"context_parallel_size": value},
    "evaluation_strategy": lambda value: {"eval_strategy": value},
    "eval_table_size": lambda value: {"generate_samples": True, "num_generation_samples": value} if value else {},
    "eval_max_new_tokens": lambda value: {"generation_max_new_tokens": value},
    "eval_table_max_new_tokens": lambda value: {"generation_max_new_tokens": value},
    "wandb_run_name": lambda value: {"wandb_name": value},
    "gc_steps": lambda value: {"gc_collect_steps": value} if value != -1 else {},
    "activation_checkpointing": lambda value: {"gradient_checkpointing": value},
    "activation_checkpointing_kwargs": lambda value: {"gradient_checkpointing_kwargs": value},
    "adam_eps": lambda value: {"adam_epsilon": value},
    "eta_min": lambda value: {"lr_scheduler_kwargs": {"min_lr": value}},
    "noisy_embedding_alpha": lambda value: {"neftune_noise_alpha": value},
    "pretraining_dataset": lambda value: {"datasets": _streams(value)},
    "bfloat16": lambda value: {"bf16": "full"} if value is True else {},
}
"""Old name -> the keys and values that it is taken as, by its value."""

OTHER_FORMS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "tokens": lambda value: {"special_tokens": value} if isinstance(value, dict) else {},
}
"""Supported key -> the key that a value of another form stands for. `tokens` was a mapping of special tokens once."""

CLOUD_KEYS = {
    *("provider", "project_name", "volumes", "secrets", "env", "docker_tag", "dockerfile_commands", "branch"),
    *(
        "gpu",
        "gpu_count",
        "memory",
        "memory_preprocess",
        "timeout",
        "timeout_preprocess",
        "region",
        "runpod",
        "baseten",
    ),
}
"""Keys of a file that Axolotl takes as `--cloud`, and of its section `cloud`."""
