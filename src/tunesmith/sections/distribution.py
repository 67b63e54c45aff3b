"""How a run is spread over devices."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.sections.fields import FilePath, Requires
from tunesmith.sections.section import Count, Section

Strategy = Literal["full_shard", "shard_grad_op", "no_shard"]


class FsdpConfig(Section):
    """How FSDP shards a model. A key may have `fsdp_` before its name, as in older files."""

    fsdp_version: Annotated[int, Field(ge=1, le=2)] | None = None
    """As `fsdp_version` outside the block."""
    auto_wrap_policy: Annotated[
        Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"],
        Requires("SIZE_BASED_WRAP", min_num_params=True, reason="such as 100000000"),
    ] = "TRANSFORMER_BASED_WRAP"
    """What is sharded as a unit: each layer, each module over `min_num_params`, or the complete model."""
    transformer_layer_cls_to_wrap: list[str] = []
    """Classes of the layers, such as LlamaDecoderLayer. Default: those that the model names."""
    min_num_params: Count | None = None
    """SIZE_BASED_WRAP: parameters of the smallest module that is sharded as a unit."""
    reshard_after_forward: bool | None = None
    """Free gathered parameters after the forward pass: less memory, more communication. Default: true."""
    sharding_strategy: Strategy | None = None
    """The same in older files: full_shard is true, shard_grad_op is false; no_shard does not shard."""
    offload_params: bool = False
    """Keep parameters, gradients and optimizer state on the CPU."""
    cpu_ram_efficient_loading: bool = False
    """Only the main process reads the weights; the others receive theirs from it."""
    activation_checkpointing: bool = False
    """As `gradient_checkpointing`, done by FSDP."""
    state_dict_type: Literal["FULL_STATE_DICT", "SHARDED_STATE_DICT"] = "FULL_STATE_DICT"
    """Checkpoints in one file, or one file per process. The final model is complete in both cases."""

    @model_validator(mode="before")
    @classmethod
    def _without_prefix(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        plain = {str(key).removeprefix("fsdp_"): value for key, value in values.items()}
        return {"fsdp_version" if key == "version" else key: value for key, value in plain.items()}

    @field_validator("transformer_layer_cls_to_wrap", mode="before", json_schema_input_type=list[str] | str)
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("sharding_strategy", mode="before", json_schema_input_type=str)
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return _known_strategy(value.lower()) if isinstance(value, str) else value

    @field_validator("auto_wrap_policy", "state_dict_type", mode="before", json_schema_input_type=str)
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class DistributionSection(Section):
    """How a run is distributed over several GPUs. In one process these keys are ignored."""

    fsdp: list[Strategy | Literal["auto_wrap", "offload"]] = []
    """Shard parameters, gradients and optimizer state over the GPUs, as in older files: [full_shard, auto_wrap]."""
    fsdp_config: FsdpConfig = FsdpConfig()
    """How FSDP shards the model; this block switches FSDP on."""
    fsdp_version: Annotated[int, Field(ge=1, le=2)] | None = None
    """Version that the file was written for. Version 2 is used for both."""
    deepspeed: Annotated[str | dict[str, Any] | None, FilePath()] = None
    """DeepSpeed's settings, or their JSON file."""
    dp_shard_size: Count | None = None
    """FSDP: number of GPUs that share one copy of the model. Default: all."""
    dp_replicate_size: Count | None = None
    """FSDP: number of such copies."""
    context_parallel_size: Count = 1
    """Number of GPUs that share one sequence. Only 1 is supported."""
    tensor_parallel_size: Count = 1
    """Number of GPUs that share each layer. Only 1 is supported."""
    expert_parallel_size: Count = 1
    """Number of GPUs that share the experts of a layer. Only 1 is supported."""
    ddp_timeout: Count | None = None
    """Timeout of communication, in seconds. Default: 1800."""
    ddp_bucket_cap_mb: Count | None = None
    """Without FSDP and DeepSpeed: size of a gradient bucket, in MB."""
    ddp_broadcast_buffers: bool | None = None
    """Without FSDP and DeepSpeed: broadcast buffers from the main process before each forward pass."""

    average_tokens_across_devices: bool | None = None
    """Whether each token counts the same on all devices; false: each device counts the same. Default: true."""

    @field_validator("fsdp", mode="before", json_schema_input_type=list[str] | str | bool)
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return ["full_shard", "auto_wrap"] if value else []
        names = value.replace(",", " ").split() if isinstance(value, str) else value
        return [_known_strategy(name) for name in names] if isinstance(names, list) else names

    @property
    def sharded(self) -> bool:
        """Whether FSDP is on."""
        fsdp_settings = self.fsdp or self.fsdp_config.model_fields_set - {"fsdp_version"}
        return bool(fsdp_settings) and "no_shard" not in (*self.fsdp, self.fsdp_config.sharding_strategy)


def _known_strategy(name: Any) -> Any:
    if str(name).startswith("hybrid_shard"):
        raise ValueError(f"`{name}` is now written as `dp_replicate_size` (copies) and `dp_shard_size` (GPUs a copy)")
    return name
