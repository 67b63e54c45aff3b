"""Names of chat templates, so that an unknown one is an error before a tokenizer is loaded."""

from tunesmith.errors import did_you_mean

TEMPLATES = (
    *("alpaca", "aya", "chatml", "cohere", "deepseek_v2", "deepseek_v3", "exaone", "exaone4", "falcon_h1", "gemma"),
    *("gemma3", "gemma3n", "gemma4", "gemma4_unified", "inst", "jamba", "llama3", "llama3_2_vision", "llama4", "llava"),
    *("metharme", "mistral_v1", "mistral_v2v3", "mistral_v3_tekken", "mistral_v7_tekken", "nemotron_h", "phi_3"),
    *("phi_35", "phi_4", "pixtral", "qwen2_vl", "qwen3", "qwen3_5", "qwen_25"),
)
"""Chat templates that come with Tunesmith."""


def template_fault(name: str | None) -> str:
    """Return what is wrong with the name of a chat template, if anything is."""
    names = ("tokenizer_default", "jinja", *TEMPLATES)
    template = (name or "jinja").removeprefix("tokenizer_default_fallback_")
    if template in names or template.startswith(("trl:", "command_a")):
        return ""
    return f"`chat_template: {name}` is none of {', '.join(names)}{did_you_mean(template, names)}"
