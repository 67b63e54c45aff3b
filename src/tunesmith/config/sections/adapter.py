"""What is trained of the model."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.config.sections.section import Count, Section, Share


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
