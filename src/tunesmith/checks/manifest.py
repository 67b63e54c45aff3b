"""The prompt manifest: what decides a run's prompts, with known conversations as tokens, saved beside its weights.

Training writes it; `inference` and `merge-lora` make it anew and compare, so that another tokenizer, template or
library that changes the prompts is seen before the model is blamed.
"""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.checks.caret import show_parting
from tunesmith.checks.tokenizer import read_json
from tunesmith.data.formats.detect import with_types
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.specs import as_chat, format_spec
from tunesmith.data.prefix import first_difference
from tunesmith.data.question import conversation_prompt
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.errors import DataError
from tunesmith.files import hash_text, write_json
from tunesmith.sections import Config

FILE = "prompt_manifest.json"

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
    },
}
PROBES: dict[str, list[dict[str, Any]]] = {
    "single turn": [{"role": "user", "content": "What is 2 + 2?"}],
    "system turn": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}],
    "several turns": [
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3 + 3?"},
    ],
    "tools": [{"role": "user", "content": "Add 1 and 2."}],
    "unicode and whitespace": [
        {"role": "user", "content": "  Größe\u00a0\u2028é e\u0301 🤖 日本\n\n\tx  = 1 \n### y: 2"}
    ],
}
"""Conversations that show most of what a template and a tokenizer can change."""

LAYOUT = {"type", "conversation", "roles", "drop_system_message", "split_thinking", "step_separator", "strict"}
"""Keys of a dataset that decide its prompts, besides its template."""

TODAY = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
"""Put before a template that writes the day's date, which is no change of the prompt."""


class Change(NamedTuple):
    """What a manifest says that is no longer so.

    Attributes:
        text: what, with a caret at the first token that differs.
        prompts: whether prompts become other tokens; otherwise only what may lead to that has changed.
    """

    text: str
    prompts: bool


def saved_template(template: ChatTemplate) -> str:
    """Return a template with `chat_template_kwargs` written into it, so that servers that do not know them use them."""
    lines = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {value!r} %}}{{% endif %}}"
        for name, value in template.settings.items()
    )
    if not lines or template.text.startswith(lines):
        return template.text
    return f"{lines}\n{template.text}"  # Jinja drops a newline after a block


def dataset_specs(config: Config, tokenizer: Tokenizer) -> list[FormatSpec]:
    """Return the settings of a config's datasets, without a word; of preference data, of those with a chat template."""
    data, source = config.data, config.source
    if data.rl:
        datasets = [as_chat(entry) for entry in data.datasets if entry.kind.startswith("chat_template")]
    else:
        datasets = with_types(data.datasets, source, quiet=True)
    return [format_spec(dataset, data, config.model, tokenizer, source) for dataset in datasets]


def served_as_trained(config: Config, tokenizer: Tokenizer) -> dict[str, Any]:
    """Give the tokenizer the chat template that a config trains, and return the manifest of the config's prompts.

    The tokenizer is saved beside the weights, and servers use its template: that of the first dataset that has one. The
    manifest is that of the first dataset, as in `inference`; it is empty for preference data in a layout of its own.
    """
    specs = dataset_specs(config, tokenizer)
    template = next((spec.template for spec in specs if spec.template), None)
    if template is not None:
        tokenizer.chat_template = saved_template(template)
    return prompt_manifest(tokenizer, specs[0]) if specs else {}


def prompt_manifest(tokenizer: Tokenizer, spec: FormatSpec) -> dict[str, Any]:
    """Return the manifest of a dataset's prompts: template, special tokens, layout, probes, and the hash of all."""
    contents = {
        "dataset": spec.dataset.model_dump(include=LAYOUT, exclude_defaults=True),
        "template": saved_template(spec.template) if spec.template else None,
        "special_tokens": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "probes": {name: _probe(name, spec, tokenizer) for name in PROBES},
    }
    text = json.dumps(contents, sort_keys=True, ensure_ascii=False)
    return {"sha256": hash_text(text), **contents}


def _probe(name: str, spec: FormatSpec, tokenizer: Tokenizer) -> list[int] | None:
    """Return the tokens of a probe as a prompt; None if the template refuses it or knows no tools."""
    turns, template = PROBES[name], spec.template
    if template is None:
        with suppress(DataError):  # a layout of other columns: what is left to compare is the tokenizer
            if ".py:" not in spec.dataset.kind:
                return conversation_prompt(turns, spec, tokenizer)
        return list(tokenizer(turns[-1]["content"])["input_ids"])
    if name == "tools" and "tools" not in template.text:
        return None
    dated_template = (
        replace(template, text=TODAY + template.text, learnt={}) if "strftime_now" in template.text else template
    )
    try:
        text = dated_template.render(turns, add_generation_prompt=True, tools=[TOOL] if name == "tools" else None)
    except DataError:
        return None
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def save_manifest(manifest: dict[str, Any], folder: Path) -> None:
    """Write a manifest, if it is not empty, to the folder of a run's record."""
    if not manifest:
        return
    write_json(folder / FILE, manifest, indent=None)


def changed_prompts(weights: str, now: dict[str, Any], tokenizer: Tokenizer) -> Change | None:
    """Return what in the manifest `now` is other than when the weights in a folder were trained.

    None if nothing is, or if they came without a manifest.
    """
    folder = Path(weights)
    saved_manifest = next(
        (manifest for parent in (folder, folder.parent) if (manifest := read_json(parent / "run", FILE))), None
    )
    if saved_manifest is None or not now or saved_manifest.get("sha256") == now["sha256"]:
        return None
    for name, ids in now["probes"].items():
        saved_ids = saved_manifest.get("probes", {}).get(name)
        if saved_ids is None or ids is None:
            if saved_ids != ids:
                verb = "refuses or ignores" if ids is None else "takes"
                return Change(f"the chat template {verb} the probe `{name}`, other than in training", True)
        elif saved_ids != ids:
            parent = first_difference(saved_ids, ids)
            comparison = show_parting(("training", saved_ids), ("now", ids), tokenizer)
            return Change(f"the probe `{name}` differs at token {parent}\n{comparison}", True)
    changed_keys = [key for key in ("template", "special_tokens", "dataset") if saved_manifest.get(key) != now[key]]
    return Change(f"changed: {', '.join(changed_keys) or 'the manifest itself'}; the probes are the same tokens", False)
