"""The model and its tokenizer."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tunesmith.sections.fields import Conflicts, FilePath, IgnoredIf, ModelPath, OnlyFor, Requires, RunsCode
from tunesmith.sections.section import Number, Section

LIGER = OnlyFor(plugins="*LigerPlugin")
COMPILED = OnlyFor(torch_compile=(True,))

NOT_IN_TRANSFORMERS = ("xformers", "sage", "fp8")
"""Attention code of Axolotl's own: faster forms of what sdpa computes."""
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention", *NOT_IN_TRANSFORMERS)
"""Values of `attn_implementation`, besides names of kernels on the Hub."""

EXPERTS = ("eager", "batched_mm", "grouped_mm")
"""Values of `experts_implementation` that run anywhere."""
EXPERT_KERNELS = ("scattermoe", "sonicmoe", "deepgemm")
"""Those that are kernels for some GPUs, with the same result."""


class SpecialTokens(Section):
    """Special tokens to set on the tokenizer."""

    bos_token: str | None = None
    """Token that begins a text."""
    eos_token: str | None = None
    """Token that ends a text or a turn."""
    pad_token: str | None = None
    """Token that fills up short rows; masked by position, so that it may equal the end token."""
    unk_token: str | None = None
    """Token for what the vocabulary lacks."""
    additional_special_tokens: list[str] = []
    """Further tokens that are never split and that decoding leaves out."""


class ModelSection(Section):
    """Which model is tuned, and in what precision."""

    base_model: Annotated[str, ModelPath()]
    """Model to start from: `builtin/smollm2-135m-instruct`, a Hub repository, or a folder."""
    revision_of_model: str | None = None
    """Branch, tag or commit of the Hub repository."""
    base_model_config: Annotated[str | None, ModelPath()] = None
    """Folder or repository of the model's config, if not that of the weights."""
    cls_model_config: str | None = None
    """Class of the model's config in transformers, such as `Gemma3TextConfig`; by default the config says it."""
    type_of_model: Annotated[str, IgnoredIf(reinit_weights=True)] = "AutoModelForCausalLM"
    """Class of the model in transformers; by default the config says it."""
    overrides_of_model_config: dict[str, Any] = {}
    """Settings to change in the model's config, such as {rope_scaling: {rope_type: linear, factor: 2.0}}."""
    overrides_of_model_kwargs: Annotated[dict[str, Any], RunsCode(), IgnoredIf(reinit_weights=True)] = {}
    """Further arguments of transformers' `from_pretrained`."""
    reinit_weights: Annotated[bool, Conflicts(adapter=True, reason="random weights are not saved with an adapter")] = (
        False
    )
    """Start from random weights in the shape of the model."""
    tokenizer_config: Annotated[str | None, ModelPath()] = None
    """Folder or repository of the tokenizer, if not that of the model."""
    trust_remote_code: Annotated[bool, RunsCode()] = False
    """Run Python code that comes with the model. Only for repositories that you trust."""
    load_in_4bit: bool = False
    """Load the base weights in 4 bits (nf4), for QLoRA."""
    load_in_8bit: Annotated[bool, Conflicts(load_in_4bit=True)] = False
    """Load the base weights in 8 bits."""
    bnb_config_kwargs: Annotated[dict[str, Any], OnlyFor(load_in_4bit=True)] = {}
    """Settings of bitsandbytes' 4 bits to change, such as {bnb_4bit_use_double_quant: false}."""
    experts_implementation: Annotated[str | None, IgnoredIf(reinit_weights=True)] = None
    """Code that computes a mixture of experts: eager, batched_mm or grouped_mm."""
    model_quantization_config: Annotated[
        Literal["Mxfp4Config", "FineGrainedFP8Config"] | None, Conflicts(load_in_4bit=True, load_in_8bit=True)
    ] = None
    """How the base weights are quantised on loading, by transformers' class."""
    model_quantization_config_kwargs: Annotated[dict[str, Any], OnlyFor(model_quantization_config=True)] = {}
    """Arguments of that class, such as {dequantize: true}."""
    bf16: bool | Literal["auto", "full"] = "auto"
    """bfloat16: `auto` uses it where the machine computes in it; `full` keeps trained weights in it too."""
    fp16: Annotated[bool, Conflicts(bf16=(True, "full"), reason="bf16 is better where the machine has it")] = False
    """float16 mixed precision, for GPUs without bf16."""
    float16: Annotated[bool, Conflicts(fp16=True, bf16=(True, "full"), reason="the other loses less precision")] = False
    """float16 throughout, also for trained weights. `fp16` loses less."""
    tf32: bool | Literal["auto"] = "auto"
    """TF32 matrix products on NVIDIA GPUs, for what is left in fp32."""
    attn_implementation: str | None = None
    """Attention code of transformers: sdpa, eager, flash_attention_2, ... Unset: the best of the machine."""
    fused_layers: bool = True
    """On a CPU: norms, feed-forward and LoRA layers in forms that train faster; the same result but for rounding."""
    plugins: list[str] = []
    """Axolotl's classes that switch on kernels: LigerPlugin, CutCrossEntropyPlugin, KernelsPlugin."""
    liger_rope: Annotated[bool, LIGER] = False
    """LigerPlugin: fused rotary positions."""
    liger_rms_norm: Annotated[bool, LIGER] = False
    """LigerPlugin: fused RMSNorm."""
    liger_layer_norm: Annotated[bool, LIGER] = False
    """LigerPlugin: fused LayerNorm."""
    liger_glu_activation: Annotated[bool, LIGER] = False
    """LigerPlugin: fused gated activation of the MLP."""
    liger_cross_entropy: Annotated[bool, LIGER] = False
    """LigerPlugin: fused cross entropy."""
    liger_fused_linear_cross_entropy: Annotated[bool, LIGER] = False
    """LigerPlugin: head and cross entropy in one, without all logits in memory."""
    cut_cross_entropy: Annotated[bool, OnlyFor(plugins="*CutCrossEntropyPlugin")] = True
    """CutCrossEntropyPlugin: head and cross entropy in one; Liger's kernel does it here."""
    torch_compile: bool | Literal["auto"] = False
    """Compile the model, on a GPU. `auto` does not, since rows differ in length."""
    torch_compile_backend: Annotated[str | None, COMPILED] = None
    """Backend of torch.compile; by default inductor."""
    torch_compile_mode: Annotated[Literal["default", "reduce-overhead", "max-autotune"] | None, COMPILED] = None
    """Mode of torch.compile."""
    special_tokens: SpecialTokens = SpecialTokens()
    """Special tokens to set."""
    tokens: list[str] = []
    """Tokens to add to the vocabulary; the embeddings grow to hold them."""
    added_tokens_overrides: dict[int, str] = {}
    """New texts of reserved tokens, by id: {128011: <|tool|>}."""
    resize_token_embeddings_to_32x: bool = False
    """Make the embeddings a multiple of 32 rows where they are too small for the tokenizer."""
    mean_resizing_embeddings: bool = False
    """Begin new rows of the embeddings near the mean of the old ones, not at random."""
    shrink_embeddings: bool = False
    """Cut off rows of the embeddings for which the tokenizer has no token."""
    fix_untrained_tokens: Number | Annotated[list[Number], Field(min_length=1)] | None = None
    """Ids of tokens whose embeddings begin at the mean of all others."""
    chat_template: Annotated[str | None, Requires("jinja", chat_template_jinja=True)] = None
    """Chat template of all datasets: `tokenizer_default`, a named one, or `jinja`."""
    chat_template_jinja: Annotated[str | None, FilePath(inline="{"), OnlyFor(chat_template=(None, "jinja"))] = None
    """The template's text, or the file that holds it, for `chat_template: jinja`."""
    chat_template_kwargs: dict[str, Any] = {}
    """Variables for the chat template, such as {enable_thinking: false}."""
    eot_tokens: list[str] | None = None
    """Tokens that end a turn, besides the end token."""
    default_system_message: str | None = None
    """System text of sharegpt's chatml and llama3 layouts where a row has none."""

    @field_validator("tokens", mode="before", json_schema_input_type=list[str])
    @classmethod
    def _list_of_tokens(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError(f"is a list of new tokens; put {', '.join(map(str, value))} under `special_tokens`")
        return value

    @property
    def changes_vocabulary(self) -> bool:
        """Whether a key may ask for other embeddings than the model has."""
        keys = {"tokenizer_config", "special_tokens", "tokens", "fix_untrained_tokens"}
        return bool(self.model_fields_set & (keys | {"resize_token_embeddings_to_32x", "shrink_embeddings"}))
