"""What is trained of the model."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.sections.section import Count, Number, Section, Share


class LoftQ(Section):
    """Settings of LoftQ."""

    loftq_bits: Literal[2, 4, 8] = 4
    """Bits of the quantisation whose error the adapter begins with."""


class PeftOptions(Section):
    """Further settings of peft."""

    loftq_config: LoftQ | None = None
    """LoftQ: begin with the base weights rounded as if quantised, and the adapter at what is lost."""


class AdapterSection(Section):
    """What is trained: a small adapter, or (without `adapter`) all weights."""

    adapter: Literal["lora", "qlora"] | None = None
    """`lora`, `qlora` (LoRA on a 4-bit base), or nothing for full fine-tuning."""
    lora_r: Count | None = None
    """Rank of the adapter: 8 to 64 is usual."""
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    """Scale of the adapter (applied as alpha / r); by default twice the rank."""
    lora_dropout: Share = 0.0
    """Dropout before the adapter, 0 to 0.1."""
    lora_target_modules: list[str] | str | None = None
    """Names of the layers to adapt, or a regular expression."""
    lora_target_linear: bool = False
    """Adapt every linear layer but the head."""
    lora_target_parameters: list[str] | str | None = None
    """Names of bare parameters to adapt, such as the experts of a mixture: mlp.experts.down_proj."""
    lora_rank_pattern: dict[str, Count] = {}
    """Ranks of single layers, by name or regular expression."""
    lora_alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Alphas of single layers, by name or regular expression."""
    peft_layers_to_transform: list[Number] | None = None
    """Numbers of the blocks to adapt."""
    peft_layers_pattern: list[str] | str | None = None
    """Name of the list that holds the blocks, if it is not found by itself."""
    peft_init_lora_weights: bool | Literal["gaussian", "orthogonal", "olora", "pissa", "loftq"] = True
    """How the adapter begins; `true` changes nothing at first, `false` does."""
    peft: PeftOptions = PeftOptions()
    """Further settings of peft: loftq_config."""
    peft_trainable_token_indices: list[Number] | dict[str, list[Number]] | None = None
    """Ids of tokens whose embeddings are trained too; by layer for more than the input embedding."""
    peft_ensure_weight_tying: bool | None = None
    """Keep embeddings and head the same weights where the model does; by default so."""
    peft_autocast_adapter_dtype: bool = True
    """Keep the adapter in fp32 over a base in 16 bits."""
    lora_modules_to_save: list[str] | None = None
    """Layers trained and saved whole beside the adapter, such as embed_tokens and lm_head."""
    lora_fan_in_fan_out: bool = False
    """Weights are stored transposed (GPT-2's Conv1D)."""
    peft_use_dora: bool = False
    """DoRA: train magnitude and direction apart."""
    peft_use_rslora: bool = False
    """Rank-stabilised scale, alpha / sqrt(r)."""
    lora_model_dir: str | None = None
    """Adapter to start from (train) or to use (inference, evaluate, merge-lora)."""
    relora: bool = False
    """ReLoRA: each `jagged_restart_steps`, keep what the adapter learnt and begin another."""
    relora_prune_ratio: Share | None = None
    """Share of the optimizer's state zeroed at a restart; by default 0.9, and 0.999 for `reset`."""
    relora_prune_method: Literal["magnitude", "random", "reset"] = "magnitude"
    """What is zeroed: the smallest, or a random choice (`random`, `reset`)."""
    unfrozen_parameters: list[str] | None = None
    """Train only parameters whose names these expressions fit from the start, or rows of them: ^lm_head[:32000]."""
    lisa_n_layers: Count | None = None
    """LISA: blocks trained at a time, besides embeddings and head."""
    lisa_step_interval: Count | None = None
    """LISA: steps between random choices of blocks."""
    lisa_layers_attribute: str = "model.layers"
    """LISA: where the model has its blocks."""
