"""How a run is spread over processes: FSDP or DeepSpeed in transformers' terms, or why neither is needed.

FSDP and DeepSpeed only change where weights lie, not the numbers. Where they cannot be had each process holds the
whole model, which is printed; a setting that would give other numbers is an error.
"""

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainingArguments

from tunesmith.errors import ConfigError, ModelError
from tunesmith.hardware import Hardware
from tunesmith.references import resolve_file
from tunesmith.sections import Config, DistributionSection, TrainingSection
from tunesmith.training.arguments import Decision, accumulation

if TYPE_CHECKING:
    from torch import nn

PARALLEL_KEYS = ("context_parallel_size", "tensor_parallel_size", "expert_parallel_size")
DDP_KEYS = ("ddp_timeout", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "average_tokens_across_devices")


def distribution_arguments(
    config: Config, hardware: Hardware, world_size: int
) -> tuple[dict[str, Any], list[Decision]]:
    """Return what TrainingArguments takes about several processes, and what was decided.

    Raises:
        ConfigError: the settings do not fit several GPUs, or the rest of the file.
    """
    section = config.distribution
    if world_size == 1:
        return {}, _off(config, "one process; the model is whole on this device", world_size)
    for key in PARALLEL_KEYS:
        if getattr(section, key) > 1:
            raise ConfigError(
                f"`{key}: {getattr(section, key)}` over {world_size} processes is not supported; set it to 1, and use "
                "`fsdp_config` where the model is too large for one device"
            )
    arguments = {key: getattr(section, key) for key in DDP_KEYS if getattr(section, key) is not None}
    if not can_shard(hardware):
        reason = "accelerate splits over GPUs only; each process holds the model, same result"
        return arguments, _off(config, reason, world_size)
    if section.sharded:
        _check_fsdp(config, world_size)
        return arguments | _fsdp(section), [Decision("fsdp", f"over {world_size} GPUs", _fsdp_reason(section))]
    if section.deepspeed:
        settings = deepspeed_settings(section.deepspeed, config.source)
        _check_deepspeed(settings, config.training, world_size)
        stage = settings.get("zero_optimization", {}).get("stage", 0)
        return arguments | {"deepspeed": settings}, [Decision("deepspeed", f"ZeRO {stage}", f"{world_size} GPUs")]
    return arguments, []


def can_shard(hardware: Hardware) -> bool:
    """Return whether accelerate splits a model over these devices."""
    return hardware.kind == "cuda"


def _off(config: Config, reason: str, world_size: int) -> list[Decision]:
    section = config.distribution
    settings = {"fsdp": section.sharded, "deepspeed": bool(section.deepspeed)}
    settings |= {key: getattr(section, key) > 1 for key in PARALLEL_KEYS}
    if world_size == 1:
        settings |= {key: getattr(section, key) is not None for key in DDP_KEYS}
        settings["ddp_find_unused_parameters"] = config.training.ddp_find_unused_parameters is not None
    return [Decision(key, "off", reason) for key, is_set in settings.items() if is_set]


def _fsdp(section: DistributionSection) -> dict[str, Any]:
    """Return FSDP 2 in transformers' terms."""
    from accelerate.parallelism_config import ParallelismConfig

    block = section.fsdp_config
    overrides = block.model_dump(exclude_defaults=True, exclude={"fsdp_version", "sharding_strategy", "offload_params"})
    settings: dict[str, Any] = {
        "version": 2,
        "reshard_after_forward": "shard_grad_op" not in (*section.fsdp, block.sharding_strategy),
        "cpu_offload": block.offload_params or "offload" in section.fsdp,
        **overrides,
    }
    # the backend of the CPU serves offloaded weights and gathers whole checkpoints
    arguments: dict[str, Any] = {"fsdp": True, "fsdp_config": settings, "ddp_backend": "cuda:nccl,cpu:gloo"}
    if (section.dp_replicate_size or 1) > 1:
        arguments["parallelism_config"] = ParallelismConfig(
            dp_replicate_size=section.dp_replicate_size, dp_shard_size=section.dp_shard_size
        )
    if block.cpu_ram_efficient_loading:
        os.environ.update(ACCELERATE_USE_FSDP="true")  # how transformers' from_pretrained is told
    return arguments


def _fsdp_reason(section: DistributionSection) -> str:
    version = section.fsdp_version or section.fsdp_config.fsdp_version or 1
    return "as set" if version == 2 else "version 2 in place of 1, which transformers no longer keeps up; same result"


def _check_fsdp(config: Config, world_size: int) -> None:
    """Raise a ConfigError if FSDP over several GPUs does not go with the rest of the file."""
    optimizer, section = config.training.optimizer, config.distribution
    if config.training.gradient_checkpointing and section.fsdp_config.activation_checkpointing:
        raise ConfigError(
            "`gradient_checkpointing: true` and `fsdp_config.activation_checkpointing: true`: use only one"
        )
    if ("8bit" in optimizer and optimizer != "adamw_torch_8bit") or optimizer.startswith("paged"):
        raise ConfigError(f"`optimizer: {optimizer}` does not go with FSDP; set `optimizer: adamw_torch`")
    if config.model.has_quantized_weights:
        raise ConfigError(
            "FSDP does not split quantised weights here; remove `fsdp` and `fsdp_config`, so that each GPU holds the "
            "quantised model, or train `adapter: lora` without `load_in_4bit` and `load_in_8bit`"
        )
    copies = section.dp_replicate_size or 1
    each = section.dp_shard_size or world_size // copies
    if copies * each != world_size:
        raise ConfigError(
            f"`dp_replicate_size: {copies}` times `dp_shard_size: {each}` must be the number of processes, {world_size}"
        )


def fit_fsdp(arguments: TrainingArguments, model: "nn.Module") -> None:
    """Fit FSDP's arguments to the model: accelerate would round its output, which is the loss, to the weights' format.

    Raises:
        ModelError: the model has no layer of a class that is to be split by itself.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if arguments.bf16 or arguments.fp16:
        compute = torch.bfloat16 if arguments.bf16 else torch.float16
        arguments.fsdp_plugin_args["mixed_precision_policy"] = MixedPrecisionPolicy(
            param_dtype=compute, reduce_dtype=torch.float32
        )
    classes = {type(module).__name__ for module in model.modules()}
    assert isinstance(arguments.fsdp_config, dict)  # transformers has read it
    for name in arguments.fsdp_config.get("transformer_layer_cls_to_wrap") or ():
        if name not in classes:
            candidates = ", ".join(sorted(name for name in classes if name.endswith(("Layer", "Block"))))
            raise ModelError(
                f"`transformer_layer_cls_to_wrap: {name}`: the model has no such layer; it has {candidates}"
            )


def save_whole(trainer: Trainer, output: Path) -> None:
    """Save the result in one piece, also where checkpoints are not."""
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(output))


def deepspeed_settings(setting: str | dict[str, Any], source: str) -> dict[str, Any]:
    """Return DeepSpeed's settings, from their file if a path is given.

    Raises:
        ConfigError: there is no such file, or it is not JSON.
    """
    if isinstance(setting, dict):
        return setting
    file = Path(resolve_file(setting, source))
    if not file.is_file():
        raise ConfigError(
            f"`deepspeed: {setting}`: no such file; get one by `tunesmith examples copy`, or write the settings "
            "themselves: `deepspeed: {zero_optimization: {stage: 2}, bf16: {enabled: auto}}`"
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"`deepspeed: {setting}` is not JSON: {error}") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"`deepspeed: {setting}` holds no mapping")
    return settings


def _check_deepspeed(settings: dict[str, Any], training: TrainingSection, world_size: int) -> None:
    """Raise a ConfigError if DeepSpeed is not there or says other than the file."""
    problems = list(deepspeed_faults(settings, training, world_size))
    if problems:
        raise ConfigError("\n".join(problems))
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError("`deepspeed` over several GPUs needs pip install deepspeed; or use `fsdp_config`")


def deepspeed_faults(settings: dict[str, Any], training: TrainingSection, world_size: int) -> Iterator[str]:
    """Yield in words where DeepSpeed's settings say other than the file. `auto` says the same."""
    steps = accumulation(training)
    expected = {
        "train_micro_batch_size_per_gpu": ("micro_batch_size", training.micro_batch_size),
        "gradient_accumulation_steps": ("gradient_accumulation_steps", steps),
        "train_batch_size": ("rows in a step", training.micro_batch_size * steps * world_size),
        "gradient_clipping": ("max_grad_norm", training.max_grad_norm),
    }
    for key, (name, value) in expected.items():
        if settings.get(key, "auto") not in ("auto", value):
            yield f"`deepspeed` sets {key} to {settings[key]}, but `{name}` is {value}; set it to auto there"
    for key, name in (("optimizer", "optimizer"), ("scheduler", "lr_scheduler")):
        if key in settings:
            yield f"`deepspeed` has a block {key}; remove it there, `{name}` of this file decides"
