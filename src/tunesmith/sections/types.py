"""Names of preference types, of keys of custom types, and of chat templates.

The code for them is in `data`, which is not imported here; a test compares the names.
"""

from tunesmith.errors import did_you_mean


def _styles(*names: str) -> tuple[str, ...]:
    return tuple(f"{layout}.{name}" for layout in ("chatml", "llama3") for name in names)


PREFERENCE_TYPES = {
    "dpo": (
        *_styles("default", "argilla_chat", "icr", "intel", "prompt_pairs", "ultra"),
        *("chat_template.default", "chat_template.argilla_chat", "zephyr.nectar", "passthrough.default"),
        "user_defined",
    ),
    "kto": (*_styles("argilla", "argilla_chat", "intel", "prompt_pairs", "ultra"), "user_defined"),
    "orpo": ("chat_template", "chat_template.argilla"),
}
"""Kind of preference data -> values of `datasets[].type`; those of ipo and simpo are dpo's."""

_PAIRS = ("prompt", "chosen", "rejected")
MAPPING_KEYS = {
    "": (
        *("system_prompt", "field_system", "field_instruction", "field_input", "field_output"),
        *("format", "no_input_format", "system_format"),
    ),
    "dpo": (*(f"field_{part}" for part in (*_PAIRS, "system")), *(f"{part}_format" for part in _PAIRS)),
    "kto": ("field_prompt", "field_completion", "field_system", "field_label", "prompt_format", "completion_format"),
}
"""Kind of preference data, or nothing -> keys of a `datasets[].type` that is a mapping."""

TEMPLATES = (
    *("alpaca", "aya", "chatml", "cohere", "deepseek_v2", "deepseek_v3", "exaone", "exaone4", "falcon_h1", "gemma"),
    *("gemma3", "gemma3n", "gemma4", "gemma4_unified", "inst", "jamba", "llama3", "llama3_2_vision", "llama4", "llava"),
    *("metharme", "mistral_v1", "mistral_v2v3", "mistral_v3_tekken", "mistral_v7_tekken", "nemotron_h", "phi_3"),
    *("phi_35", "phi_4", "pixtral", "qwen2_vl", "qwen3", "qwen3_5", "qwen_25"),
)
"""Chat templates that come with Tunesmith."""


def kind_of_preferences(rl: str | None) -> str:
    """Return dpo, kto or orpo for a value of `rl`; nothing without one."""
    return "dpo" if rl in ("ipo", "simpo") else rl or ""


def template_fault(name: str | None) -> str:
    """Return what is wrong with the name of a chat template, if anything is."""
    known = ("tokenizer_default", "jinja", *TEMPLATES)
    plain = (name or "jinja").removeprefix("tokenizer_default_fallback_")
    if plain in known or plain.startswith(("trl:", "command_a")):
        return ""
    return f"`chat_template: {name}` is none of {', '.join(known)}{did_you_mean(plain, known)}"
