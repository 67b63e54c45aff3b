"""Names of the layouts of rows and of chat templates, so that an unknown one is found with its line, among all faults.

The layouts themselves are in `data`, which is not imported here; a test holds the names together.
"""

from tunesmith.errors import did_you_mean
from tunesmith.sections import Dataset

_FAMILIES = "alpaca gpteacher jeopardy oasst explainchoice concisechoice summarizetldr reflection"
_OTHERS = """
chat_template prompt_completion completion pretrain input_output stepwise_supervised pretokenized user_defined
alpaca_instruct alpaca_instruct.load alpaca_instruct.load_no_prompt
alpaca_chat alpaca_chat.load alpaca_chat.load_concise alpaca_chat.load_qa alpaca_chat.load_camel_ai
alpaca_chat.load_no_prompt
alpaca_w_system alpaca_w_system.load alpaca_w_system.load_chat alpaca_w_system.load_instruct
alpaca_w_system.load_open_orca alpaca_w_system.load_open_orca_chatml
orcamini orcamini.load metharme metharme.load context_qa context_qa.load context_qa.load_404 context_qa.load_v2
creative_acr.load_answer creative_acr.load_critique creative_acr.load_revise
instruct pygmalion llama2_chat sharegpt:chat sharegpt_jokes
"""
_LOADERS = ("", ".load_role", ".load_guanaco", ".load_ultrachat", ".load_glaive")

TYPES = (
    *_OTHERS.split(),
    *(name + style for name in _FAMILIES.split() for style in ("", ":instruct", ":chat", ":chatml", ":phi")),
    *(name + loader for name in ("sharegpt", "sharegpt_simple") for loader in _LOADERS),
)
"""Values of `datasets[].type`."""


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


def type_fault(entry: Dataset, rl: str | None, group: str) -> tuple[str, str] | None:
    """Return a key inside `type` (or nothing) and what is wrong there; None if the type is known.

    `group` names the kind of rows that `rl` trains on; it is empty without `rl`.
    """
    if isinstance(entry.type, dict):
        known = MAPPING_KEYS.get(group, ())
        for key in entry.type:
            if key not in known:
                names = f"known are {', '.join(known)}" if known else f"`rl: {rl}` takes no mapping"
                return key, f"unknown key `{key}` in `datasets.type`; {names}{did_you_mean(str(key), known)}"
        return None
    kind, known = entry.kind, PREFERENCE_TYPES[group] if group else TYPES
    if not kind or kind in known or (not group and ".py:" in kind) or (group and f"{kind}.default" in known):
        return None
    if group:
        near = did_you_mean(kind, known)
        return "", f"`datasets.type: {kind}` is no layout for `rl: {rl}`; known are {', '.join(known)}, or none{near}"
    if any(kind in names for names in PREFERENCE_TYPES.values()):
        return "", f"`datasets.type: {kind}` is for pairs of answers; set `rl: dpo` (or another)"
    families = dict.fromkeys(name.replace(":", ".").split(".")[0] for name in TYPES)
    near = did_you_mean(kind, TYPES)
    return "", f"`datasets.type: {kind}` is none of {', '.join(families)}, and no path/to/file.py:function{near}"


def template_fault(name: str | None) -> str:
    """Return what is wrong with the name of a chat template, if anything is."""
    known = ("tokenizer_default", "jinja", *TEMPLATES)
    plain = (name or "jinja").removeprefix("tokenizer_default_fallback_")
    if plain in known or plain.startswith(("trl:", "command_a")):
        return ""
    return f"`chat_template: {name}` is none of {', '.join(known)}{did_you_mean(plain, known)}"
