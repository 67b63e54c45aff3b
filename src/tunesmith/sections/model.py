"""The model and its tokenizer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.sections.fields import Conflicts, FilePath, IgnoredIf, ModelPath, OnlyFor, Requires, RunsCode
from tunesmith.sections.section import Number, Section

LIGER = OnlyFor(plugins="*LigerPlugin")
QUANTIZED = Requires(
    adapter=True, reason="quantized weights cannot be trained. Set `adapter: qlora` (4 bits) or `adapter: lora`"
)
COMPILED = OnlyFor(torch_compile=(True,))

NOT_IN_TRANSFORMERS = ("xformers", "sage", "fp8")
"""Attention implementations of Axolotl that compute the same as sdpa."""
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention", *NOT_IN_TRANSFORMERS)
"""Values of `attn_implementation`; names of kernels on the Hub are possible too."""

EXPERTS = ("eager", "batched_mm", "grouped_mm")
"""Values of `experts_implementation` that run anywhere."""
EXPERT_KERNELS = ("scattermoe", "sonicmoe", "deepgemm")
"""Values that are kernels for some GPUs, with the same result."""


class SpecialTokens(Section):
    """Special tokens to set on the tokenizer."""

    bos_token: str | None = None
    """BOS token, at the start of a text."""
    eos_token: str | None = None
    """EOS token, at the end of a text or a turn."""
    pad_token: str | None = None
    """PAD token; masked by position, so it may equal the EOS token."""
    unk_token: str | None = None
    """UNK token, for text outside the vocabulary."""
    additional_special_tokens: list[str] = []
    """Further special tokens; they are never split, and decoding skips them."""


class ModelSection(Section):
    """Which model is tuned, and in which precision."""

    base_model: Annotated[str, ModelPath()]
    """Model to start from: `builtin/smollm2-135m-instruct`, a Hub repository, or a folder."""
    revision_of_model: str | None = None
    """Branch, tag or commit of the Hub repository."""
    base_model_config: Annotated[str | None, ModelPath()] = None
    """Folder or repository of the model's config, if different from `base_model`."""
    cls_model_config: str | None = None
    """Class of the model's config in transformers, such as `Gemma3TextConfig`; default: from the config."""
    type_of_model: Annotated[str, IgnoredIf(reinit_weights=True)] = "AutoModelForCausalLM"
    """Class of the model in transformers; default: from the config."""
    overrides_of_model_config: dict[str, Any] = {}
    """Settings to change in the model's config, such as {rope_scaling: {rope_type: linear, factor: 2.0}}."""
    overrides_of_model_kwargs: Annotated[dict[str, Any], RunsCode(), IgnoredIf(reinit_weights=True)] = {}
    """Further arguments of transformers' `from_pretrained`."""
    reinit_weights: Annotated[bool, Conflicts(adapter=True, reason="random weights are not saved with an adapter")] = (
        False
    )
    """Start from random weights with the architecture of the model."""
    tokenizer_config: Annotated[str | None, ModelPath()] = None
    """Folder or repository of the tokenizer, if different from `base_model`."""
    tokenizer_use_mistral_common: bool = False
    """Compare tokenizer.json, whose tokens are used, with the package mistral-common, and stop if they differ."""
    trust_remote_code: Annotated[bool, RunsCode()] = False
    """Run Python code that comes with the model. Only for repositories that you trust."""
    load_in_4bit: Annotated[bool, QUANTIZED] = False
    """Load the base weights in 4 bits (nf4), for QLoRA."""
    load_in_8bit: Annotated[bool, QUANTIZED, Conflicts(load_in_4bit=True, adapter="qlora")] = False
    """Load the base weights in 8 bits."""
    bnb_config_kwargs: Annotated[dict[str, Any], OnlyFor(load_in_4bit=True)] = {}
    """Changes to the 4-bit settings of bitsandbytes, such as {bnb_4bit_use_double_quant: false}."""
    gptq: Annotated[bool, QUANTIZED, Conflicts(load_in_4bit=True, load_in_8bit=True)] = False
    """The base weights are quantized with GPTQ; loading them needs gptqmodel and optimum."""
    experts_implementation: Annotated[str | None, IgnoredIf(reinit_weights=True)] = None
    """Implementation of a mixture of experts: eager, batched_mm or grouped_mm."""
    model_quantization_config: Annotated[
        Literal["Mxfp4Config", "FineGrainedFP8Config"] | None, Conflicts(load_in_4bit=True, load_in_8bit=True)
    ] = None
    """How the base weights are quantized when they are loaded, as a class of transformers."""
    model_quantization_config_kwargs: Annotated[dict[str, Any], OnlyFor(model_quantization_config=True)] = {}
    """Arguments of that class, such as {dequantize: true}."""
    bf16: bool | Literal["auto", "full"] = "auto"
    """bfloat16: `auto` uses it where the hardware supports it; `full` stores trained parameters in it too."""
    fp16: Annotated[bool, Conflicts(bf16=(True, "full"), reason="bf16 is better where the machine has it")] = False
    """float16 mixed precision, for GPUs without bf16."""
    float16: Annotated[bool, Conflicts(fp16=True, bf16=(True, "full"), reason="the other loses less precision")] = False
    """Pure float16, also for trained parameters. `fp16` keeps more precision."""
    tf32: bool | Literal["auto"] = "auto"
    """TF32 matrix products on NVIDIA GPUs, where fp32 is used."""
    attn_implementation: str | None = None
    """Attention implementation of transformers: sdpa, eager, flash_attention_2, ... Default: the fastest available."""
    fused_layers: bool = True
    """On a CPU: fused kernels for norms, feed-forward and LoRA layers; equal results except for rounding."""
    plugins: list[str] = []
    """Axolotl's plugins that switch on kernels: LigerPlugin, CutCrossEntropyPlugin, KernelsPlugin."""
    liger_rope: Annotated[bool, LIGER] = False
    """LigerPlugin: fused RoPE."""
    liger_rms_norm: Annotated[bool, LIGER] = False
    """LigerPlugin: fused RMSNorm."""
    liger_layer_norm: Annotated[bool, LIGER] = False
    """LigerPlugin: fused LayerNorm."""
    liger_glu_activation: Annotated[bool, LIGER] = False
    """LigerPlugin: fused gated activation of the MLP."""
    liger_cross_entropy: Annotated[bool, LIGER] = False
    """LigerPlugin: fused cross entropy."""
    liger_fused_linear_cross_entropy: Annotated[bool, LIGER] = False
    """LigerPlugin: fused head and cross entropy, without all logits in memory."""
    cut_cross_entropy: Annotated[bool, OnlyFor(plugins="*CutCrossEntropyPlugin")] = True
    """CutCrossEntropyPlugin: fused head and cross entropy, by Liger's kernel."""
    torch_compile: bool | Literal["auto"] = False
    """Compile the model, on a GPU. `auto` does not, because rows differ in length."""
    torch_compile_backend: Annotated[str | None, COMPILED] = None
    """Backend of torch.compile. Default: inductor."""
    torch_compile_mode: Annotated[Literal["default", "reduce-overhead", "max-autotune"] | None, COMPILED] = None
    """Mode of torch.compile."""
    special_tokens: SpecialTokens = SpecialTokens()
    """Special tokens to set."""
    tokens: list[str] = []
    """Tokens to add to the vocabulary; the embeddings grow to hold them."""
    added_tokens_overrides: dict[int, str] = {}
    """New text of reserved tokens, by id: {128011: <|tool|>}."""
    resize_token_embeddings_to_32x: bool = False
    """Resize the embeddings to a multiple of 32 rows if they are too small for the tokenizer."""
    mean_resizing_embeddings: bool = False
    """Initialize new rows of the embeddings near the mean of the old ones, not at random."""
    shrink_embeddings: bool = False
    """Remove rows of the embeddings that have no token in the tokenizer."""
    fix_untrained_tokens: Number | Annotated[list[Number], Field(min_length=1)] | None = None
    """Ids of tokens whose embeddings are initialized with the mean of all others."""
    chat_template: Annotated[str | None, Requires("jinja", chat_template_jinja=True)] = None
    """Chat template of all datasets: `tokenizer_default`, a named one, or `jinja`."""
    chat_template_jinja: Annotated[str | None, FilePath(inline="{"), OnlyFor(chat_template=(None, "jinja"))] = None
    """The template as text, or a file with it."""
    chat_template_kwargs: dict[str, Any] = {}
    """Variables for the chat template, such as {enable_thinking: false}."""
    eot_tokens: list[str] | None = None
    """End-of-turn tokens other than EOS."""
    default_system_message: str | None = None
    """System message for sharegpt's chatml and llama3 if a row has none."""

    @property
    def has_quantized_weights(self) -> bool:
        """Whether the base weights are in fewer than 16 bits."""
        return self.load_in_4bit or self.load_in_8bit or self.gptq

    @property
    def changes_vocabulary(self) -> bool:
        """Whether a key may change the embeddings."""
        keys = {"tokenizer_config", "special_tokens", "tokens", "fix_untrained_tokens"}
        return bool(self.model_fields_set & (keys | {"resize_token_embeddings_to_32x", "shrink_embeddings"}))
