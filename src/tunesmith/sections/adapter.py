"""Which parameters are trained."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.sections.fields import Conflicts, IgnoredIf, ModelPath, OnlyFor, Requires
from tunesmith.sections.section import Count, Fraction, Number, Section

LORA = OnlyFor(adapter=True)
FROM_SAVED = IgnoredIf(lora_model_dir=True, reason="the adapter in `lora_model_dir` has its own value")
"""Of keys that a saved adapter brings with it."""
PLAIN = Conflicts(relora=True, reason="ReLoRA merges plain low-rank updates")
STARTS_AT_ZERO = "each restart must start from zero"


class LoftQ(Section):
    """Settings of LoftQ."""

    loftq_bits: Literal[2, 4, 8] = 4
    """Bits of the quantization whose error initializes the adapter."""


class PeftOptions(Section):
    """Further settings of peft."""

    loftq_config: Annotated[LoftQ | None, PLAIN] = None
    """LoftQ: start with rounded base weights, and with an adapter that makes up for the rounding error."""


class AdapterSection(Section):
    """Which parameters are trained: a LoRA adapter, or (without `adapter`) all of them."""

    adapter: Annotated[
        Literal["lora", "qlora"] | None,
        Requires(lora_r=True, lora_model_dir=True, reason="`lora_r: 16` is a good start"),
        Requires("qlora", load_in_4bit=True),
        Requires(lora_target_linear=True, lora_target_modules=True, lora_target_parameters=True, lora_model_dir=True),
    ] = None
    """`lora`, `qlora` (LoRA on a 4-bit base), or nothing for full fine-tuning."""
    lora_r: Annotated[Count | None, LORA] = None
    """Rank of the adapter: 8 to 64 is usual."""
    lora_alpha: Annotated[Annotated[float, Field(gt=0)] | None, LORA] = None
    """Scale of the adapter (applied as alpha / r); by default twice the rank."""
    lora_dropout: Annotated[
        Fraction, LORA, Conflicts(lora_target_parameters=True, reason="bare parameters have no input to drop")
    ] = 0.0
    """Dropout before the adapter, 0 to 0.1."""
    lora_target_modules: Annotated[list[str] | str | None, LORA, FROM_SAVED] = None
    """Names of the layers to adapt, or a regular expression."""
    lora_target_linear: Annotated[bool, LORA, FROM_SAVED] = False
    """Adapt every linear layer except the head."""
    lora_target_parameters: Annotated[list[str] | str | None, LORA, FROM_SAVED, PLAIN] = None
    """Names of parameters without a layer to adapt, such as the experts of a mixture: mlp.experts.down_proj."""
    lora_rank_pattern: Annotated[dict[str, Count], LORA, FROM_SAVED, PLAIN] = {}
    """Ranks of single layers, by name or regular expression."""
    lora_alpha_pattern: Annotated[dict[str, Annotated[float, Field(gt=0)]], LORA, FROM_SAVED, PLAIN] = {}
    """Alphas of single layers, by name or regular expression."""
    peft_layers_to_transform: Annotated[list[Number] | None, LORA, FROM_SAVED] = None
    """Indexes of the blocks to adapt."""
    peft_layers_pattern: Annotated[
        list[str] | str | None, LORA, FROM_SAVED, Requires(peft_layers_to_transform=True)
    ] = None
    """Name of the module list that holds the blocks, if peft doesn't find it."""
    peft_init_lora_weights: Annotated[
        bool | Literal["gaussian", "orthogonal", "olora", "pissa", "loftq"],
        LORA,
        FROM_SAVED,
        Conflicts(False, "gaussian", "orthogonal", "olora", "pissa", "loftq", relora=True, reason=STARTS_AT_ZERO),
    ] = True
    """How the adapter is initialized; with `true` it changes nothing at first, with `false` it does."""
    peft: Annotated[PeftOptions, LORA, FROM_SAVED] = PeftOptions()
    """Further settings of peft: loftq_config."""
    peft_trainable_token_indices: Annotated[list[Number] | dict[str, list[Number]] | None, LORA, FROM_SAVED, PLAIN] = (
        None
    )
    """Ids of tokens whose embeddings are trained too; a mapping by layer for more than the input embeddings."""
    peft_ensure_weight_tying: Annotated[bool | None, LORA, FROM_SAVED] = None
    """Keep embeddings and head tied where the model ties them. Default: true."""
    peft_autocast_adapter_dtype: Annotated[bool, LORA] = True
    """Keep the adapter in fp32 over a base in 16 bits."""
    lora_modules_to_save: Annotated[list[str] | None, LORA, PLAIN] = None
    """Layers trained and saved completely, next to the adapter, such as embed_tokens and lm_head."""
    lora_fan_in_fan_out: Annotated[bool, LORA, FROM_SAVED] = False
    """Weights are stored transposed (GPT-2's Conv1D)."""
    peft_use_dora: Annotated[bool, LORA, PLAIN] = False
    """DoRA: train magnitude and direction separately."""
    peft_use_rslora: Annotated[bool, LORA, PLAIN] = False
    """Rank-stabilized scale, alpha / sqrt(r)."""
    lora_model_dir: Annotated[str | None, ModelPath(), Requires(adapter=True)] = None
    """Adapter to start from (train) or to use (inference, evaluate, merge-lora)."""
    relora: Annotated[
        bool,
        Requires(adapter=True),
        Requires(jagged_restart_steps=True),
        Conflicts(load_best_model_at_end=True, reason="an earlier checkpoint has other adapters merged"),
    ] = False
    """ReLoRA: merge the adapter into the base every `jagged_restart_steps` steps, and start a new one."""
    relora_prune_ratio: Annotated[Fraction | None, OnlyFor(relora=True)] = None
    """Fraction of the optimizer state set to zero at a restart. Default: 0.9, and 0.999 for `reset`."""
    relora_prune_method: Annotated[Literal["magnitude", "random", "reset"], OnlyFor(relora=True)] = "magnitude"
    """Which entries are set to zero: the smallest, or random ones (`random`, `reset`)."""
    unfrozen_parameters: Annotated[
        list[str] | None,
        IgnoredIf(
            adapter=True, reason="an adapter freezes all other weights; `lora_modules_to_save` trains modules beside it"
        ),
    ] = None
    """Train only parameters whose names start with a match of these expressions, or rows of them: ^lm_head[:32000]."""
    lisa_n_layers: Annotated[
        Count | None,
        Requires(lisa_step_interval=True),
        Conflicts(adapter=True, reason="an adapter freezes all other weights"),
        Conflicts(unfrozen_parameters=True),
    ] = None
    """LISA: number of blocks trained at a time, plus embeddings and head."""
    lisa_step_interval: Annotated[Count | None, Requires(lisa_n_layers=True)] = None
    """LISA: steps between random choices of blocks."""
    lisa_layers_attribute: Annotated[str, OnlyFor(lisa_n_layers=True)] = "model.layers"
    """LISA: attribute of the model that holds its blocks."""
