"""The model and its tokenizer."""

from typing import Any, Literal

from tunesmith.config.sections.section import Section


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


class ModelSection(Section):
    """Which model is tuned, and in what precision."""

    base_model: str
    """Model to start from: `builtin/smollm2-135m-instruct`, a Hub repository, or a folder."""
    revision_of_model: str | None = None
    """Branch, tag or commit of the Hub repository."""
    tokenizer_config: str | None = None
    """Folder or repository of the tokenizer, if not that of the model."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for repositories that you trust."""
    load_in_4bit: bool = False
    """Load the base weights in 4 bits (nf4), for QLoRA."""
    load_in_8bit: bool = False
    """Load the base weights in 8 bits."""
    bf16: bool | Literal["auto", "full"] = "auto"
    """bfloat16: `auto` uses it where the machine computes in it; `full` keeps trained weights in it too."""
    fp16: bool = False
    """float16 mixed precision, for GPUs without bf16."""
    tf32: bool | Literal["auto"] = "auto"
    """TF32 matrix products on NVIDIA GPUs, for what is left in fp32."""
    attn_implementation: str | None = None
    """Attention code of transformers: sdpa, eager, flash_attention_2, ... Unset: the best of the machine."""
    special_tokens: SpecialTokens = SpecialTokens()
    """Special tokens to set."""
    chat_template: str | None = None
    """Chat template of all datasets: `tokenizer_default`, a named one, or `jinja`."""
    chat_template_jinja: str | None = None
    """The template's text, or the file that holds it, for `chat_template: jinja`."""
    chat_template_kwargs: dict[str, Any] = {}
    """Variables for the chat template, such as {enable_thinking: false}."""
    eot_tokens: list[str] | None = None
    """Tokens that end a turn, besides the end token."""
    default_system_message: str | None = None
    """System text of sharegpt's chatml and llama3 layouts where a row has none."""
