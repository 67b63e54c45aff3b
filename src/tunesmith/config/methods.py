"""Names of optimizers and learning rate schedules, to report an unknown one before anything slow."""

from typing import Any

import yaml

from tunesmith.config.yaml_source import Loader
from tunesmith.sections.training import WATCHING

_BY_PACKAGE = {
    "": "adamw_torch adamw_torch_fused adafactor sgd adagrad rmsprop muon",
    "bitsandbytes": "adamw_8bit paged_adamw_8bit paged_adamw_32bit ademamix ademamix_8bit paged_ademamix_32bit "
    "paged_ademamix_8bit lion_8bit lion_32bit paged_lion_8bit paged_lion_32bit rmsprop_bnb rmsprop_bnb_8bit "
    "rmsprop_bnb_32bit",
    "torchao": "adamw_torch_4bit adamw_torch_8bit ao_adamw_fp8",
    "torch_xla": "adamw_torch_xla",
    "torch_npu": "adamw_torch_npu_fused",
    "galore-torch": "galore_adamw galore_adamw_8bit galore_adafactor",
    "apollo-torch": "apollo_adamw",
    "grokadamw": "grokadamw",
    "schedulefree": "schedule_free_adamw schedule_free_radam schedule_free_sgd",
    "torch-optimi": "stable_adamw optimi_adamw",
    "came-pytorch": "came_pytorch",
    "lion-pytorch": "lion_pytorch",
    "pytorch-optimizer": "adopt_adamw",
}

OPTIMIZERS = {name: package for package, names in _BY_PACKAGE.items() for name in names.split()}
"""Optimizer -> the package that it needs; empty for those of torch and transformers."""

RENAMED_OPTIMIZERS = {
    "adamw": "adamw_torch",
    "adamw_hf": "adamw_torch",
    "adamw_bnb_8bit": "adamw_8bit",
    "ao_adamw_4bit": "adamw_torch_4bit",
    "ao_adamw_8bit": "adamw_torch_8bit",
}
"""Other names of the same optimizer -> the name that is used here."""

WITHOUT_GPU = {
    **dict.fromkeys(("paged_adamw_32bit", "adamw_torch_4bit", "adamw_torch_8bit", "ao_adamw_fp8"), "adamw_torch"),
    **{f"paged_{name}": name for name in ("adamw_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit")},
    "paged_ademamix_32bit": "ademamix",
    "galore_adamw_8bit": "galore_adamw",
}
"""Optimizers that need a GPU -> the same method without a GPU."""

_LAYERWISE = "its state is not in checkpoints, so a run could not resume exactly; use `optimizer: {}`"
_WITHIN_BACKWARD = "it steps within the backward pass, without accumulation or clipping; `adapter: lora` saves memory"
_FLASH = "flashoptim is not supported; `optimizer: adamw_8bit` keeps its state in 8 bits too"

REFUSED_OPTIMIZERS = {
    "adamw_anyprecision": "torchdistx is no longer maintained; use `optimizer: adamw_torch`",
    "dion": "Dion is for many GPUs and not supported; use `optimizer: muon`",
    "sinkgd": "SinkGD is not supported; use `optimizer: muon`",
    "q_galore_adamw8bit": "Q-GaLore is not supported; use `optimizer: galore_adamw_8bit`",
    "lomo": _WITHIN_BACKWARD,
    "adalomo": _WITHIN_BACKWARD,
    **dict.fromkeys(("flash_adamw", "flash_adam", "flash_sgd", "flash_sgdw", "flash_lion"), _FLASH),
    **{
        f"{name}_layerwise": _LAYERWISE.format(name)
        for name in ("galore_adamw", "galore_adamw_8bit", "galore_adafactor", "apollo_adamw")
    },
}
"""Optimizers that are not supported -> why, and what to use."""

SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"),
    *("cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay", *WATCHING),
    *("one_cycle", "rex"),
)
"""transformers' learning rate schedules, and two of Axolotl."""

ACCELERATOR = (
    *("split_batches", "dispatch_batches", "even_batches", "use_seedable_sampler", "non_blocking"),
    "gradient_accumulation_kwargs",
)
"""Names in `accelerator_config`."""
CHECKPOINTING = ("use_reentrant", "preserve_rng_state", "determinism_check", "debug", "early_stop")
"""Names in `gradient_checkpointing_kwargs`: arguments of torch.utils.checkpoint."""
_DEEPSPEED = """
train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps gradient_clipping
zero_optimization fp16 bf16 bfloat16 amp torch_autocast data_types optimizer scheduler
zero_allow_untested_optimizer zero_force_ds_cpu_optimizer communication_data_type
seq_parallel_communication_data_type prescale_gradients gradient_predivide_factor sparse_gradients fp32_allreduce
disable_allgather activation_checkpointing sparse_attention aio steps_per_print wall_clock_breakdown
memory_breakdown dump_state flops_profiler tensorboard wandb comet csv_monitor comms_logger compression_training
data_efficiency curriculum_learning progressive_layer_drop eigenvalue quantize_training checkpoint
load_universal_checkpoint nebula elasticity autotuning hybrid_engine compile pipeline tensor_parallel
sequence_parallel_size graph_harvesting use_data_before_expert_parallelism dataloader_drop_last
vocabulary_size
"""
DEEPSPEED = _DEEPSPEED.split()
"""Names in `deepspeed`, at the top."""


def optimizer_options(options: dict[str, Any] | str | None) -> dict[str, Any]:
    """Return `optim_args`, which may be "key=value,key=value", as a mapping.

    Raises:
        ValueError: the text is of another form.
    """
    if not isinstance(options, str):
        return options or {}
    parts = [part.partition("=") for part in options.split(",")]
    if not all(name.strip().isidentifier() and equals for name, equals, _ in parts):
        raise ValueError(f"`optim_args: {options}` is neither a mapping nor of the form key=value,key=value")
    return {name.strip(): yaml.load(text, Loader) for name, _, text in parts}
