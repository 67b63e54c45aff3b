"""Rules across keys of the model and its trainable parameters."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.config.problem import Problem, at
from tunesmith.config.yaml_source import shown
from tunesmith.errors import did_you_mean
from tunesmith.sections import AdapterSection, DistributionSection, ModelSection, TrainingSection
from tunesmith.sections.model import ATTENTION, EXPERT_KERNELS, EXPERTS

PLUGINS = {
    "LigerPlugin": "",
    "CutCrossEntropyPlugin": "",
    "KernelsPlugin": "",
    "SwanLabPlugin": "",
    "DenseMixerPlugin": "experts that are not selected get no gradient here; remove it",
    "DiffusionPlugin": "diffusion language models are not trained here; remove it for ordinary training",
    "ExpertParallelPlugin": "",
    "GrokfastPlugin": "gradient filtering is not supported; use `weight_decay`",
    "HatcheryPlugin": "training on a remote service is not supported; remove it",
    "KDPlugin": "distillation from a teacher's probabilities is not supported; train on the teacher's answers",
    "LLMCompressorPlugin": "sparse models are not kept sparse; compress the merged model afterwards",
    "LMEvalPlugin": "benchmarks are not run during training; run lm-eval on the merged model",
    "MoraPlugin": "MoRA is not supported; use `adapter: lora`, or `relora: true` for updates of high rank",
    "NemoGymPlugin": "training in environments of NeMo Gym is not supported",
    "SpectrumPlugin": "selecting layers by a scan is not supported; name them yourself in `unfrozen_parameters`",
}
"""Axolotl's plugins -> why one is not supported; nothing if it is."""

IN_SAVED = {
    "lora_r": "r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "lora_modules_to_save": "modules_to_save",
    "peft_use_dora": "use_dora",
    "peft_use_rslora": "use_rslora",
}
"""Keys that must equal the adapter in `lora_model_dir` -> their names there."""
_CHANGES_BASE = ("orthogonal", "olora", "pissa", "loftq")
_NO_LANGUAGE_MODEL = re.compile(r"(Classification|QuestionAnswering|MaskedLM|Seq2Seq|Model)$")


def model_problems(
    model: ModelSection, adapter: AdapterSection, training: TrainingSection, distribution: DistributionSection
) -> list[Problem]:
    """Return the problems between keys about the model and its trained part."""
    return [
        *_loading(model),
        *_plugins(model),
        *_peft(adapter, model),
        *_saved_adapter(adapter),
        *_in_part(adapter, training.weight_decay, distribution),
        *_relora(adapter, distribution),
    ]


def _loading(model: ModelSection) -> Iterator[Problem]:
    name = model.attn_implementation
    if name and name not in ATTENTION and "/" not in name:
        yield at(
            "attn_implementation",
            f"`attn_implementation: {name}` is unknown; known are {', '.join(ATTENTION)}, "
            f"and kernels of the Hub, OWNER/NAME{did_you_mean(name, ATTENTION)}",
        )
    experts, implementations = model.experts_implementation, (*EXPERTS, *EXPERT_KERNELS)
    if experts and experts not in implementations:
        near = did_you_mean(experts, implementations)
        yield at(
            "experts_implementation",
            f"`experts_implementation: {experts}` is unknown; known are {', '.join(implementations)}{near}",
        )
    if _NO_LANGUAGE_MODEL.search(model.type_of_model) and not model.type_of_model.endswith("LMHeadModel"):
        yield at(
            "type_of_model",
            f"`type_of_model: {model.type_of_model}` is not a causal language model; remove it, or name one such as "
            "AutoModelForCausalLM",
        )


def _plugins(model: ModelSection) -> Iterator[Problem]:
    names = [plugin.rsplit(".", 1)[-1] for plugin in model.plugins]
    for index, name in enumerate(names):
        if name not in PLUGINS:
            supported_plugins = ", ".join(key for key, reason in PLUGINS.items() if not reason)
            yield (
                ("plugins", index),
                f"plugin `{name}` is not supported; those that are: {supported_plugins}; remove it",
            )
        elif PLUGINS[name]:
            yield ("plugins", index), f"plugin `{name}`: {PLUGINS[name]}"
    has_cut_cross_entropy = "CutCrossEntropyPlugin" in names and model.cut_cross_entropy
    losses = [key for key in ("liger_cross_entropy", "liger_fused_linear_cross_entropy") if getattr(model, key)]
    loss_keys = [*(losses if "LigerPlugin" in names else []), *(["cut_cross_entropy"] if has_cut_cross_entropy else [])]
    if len(loss_keys) > 1:
        settings = " and ".join(f"`{key}: true`" for key in loss_keys)
        yield (loss_keys[0],), f"{settings}: use only one; each one computes the loss"


def _peft(adapter: AdapterSection, model: ModelSection) -> Iterator[Problem]:
    start = "loftq" if adapter.peft.loftq_config else adapter.peft_init_lora_weights
    if start in _CHANGES_BASE and (model.load_in_4bit or model.load_in_8bit):
        key = "peft" if adapter.peft.loftq_config else "peft_init_lora_weights"
        bits = "load_in_4bit" if model.load_in_4bit else "load_in_8bit"
        yield at(key, f"`{start}` changes the base weights, which `{bits}: true` has quantized already; remove one")
    if adapter.peft_layers_to_transform and isinstance(adapter.lora_target_modules, str):
        yield at(
            "peft_layers_to_transform",
            f"`peft_layers_to_transform` needs a list, not `lora_target_modules: {adapter.lora_target_modules}`; "
            "or name the blocks in the regular expression",
        )


def _saved_adapter(adapter: AdapterSection) -> Iterator[Problem]:
    """Yield the keys that differ from the saved adapter that the run starts with."""
    file = Path(adapter.lora_model_dir or "") / "adapter_config.json"
    if not adapter.lora_model_dir or not file.is_file():
        return  # an error is reported when it is loaded
    try:
        saved_settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return
    for key, name in IN_SAVED.items():
        value, saved_value = getattr(adapter, key), saved_settings.get(name)
        if key not in adapter.model_fields_set or name not in saved_settings or value is None:
            continue
        is_equal = _same_modules(value, saved_settings) if key == "lora_modules_to_save" else value == saved_value
        if not is_equal:
            yield at(
                key,
                f"`{key}: {shown(value)}`, but the adapter in `lora_model_dir: {adapter.lora_model_dir}` has "
                f"{shown(saved_value)}; remove `{key}`, or `lora_model_dir` to start a new adapter",
            )


def _same_modules(names: list[str], saved_settings: dict[str, Any]) -> bool:
    """Whether a saved adapter has these `modules_to_save`. peft adds full names, and omits a head that is tied."""
    wanted = {name.rsplit(".", 1)[-1] for name in names}
    saved = {name.rsplit(".", 1)[-1] for name in saved_settings["modules_to_save"] or ()}
    return saved == wanted or bool(saved and saved < wanted and saved_settings.get("ensure_weight_tying"))


def _in_part(adapter: AdapterSection, decay: float, distribution: DistributionSection) -> Iterator[Problem]:
    for index, pattern in enumerate(adapter.unfrozen_parameters or []):
        if decay and re.search(r"\[(\d+|\d*:\d*)\]$", pattern):
            yield (
                ("unfrozen_parameters", index),
                f"`weight_decay: {decay}` would also shrink the rows outside `{pattern}`; set `weight_decay: 0`",
            )
    if adapter.lisa_n_layers and (distribution.sharded or distribution.deepspeed):
        yield at(
            "lisa_n_layers", "`lisa_n_layers` does not work with FSDP or DeepSpeed, which fix the trainable parameters"
        )


def _relora(adapter: AdapterSection, distribution: DistributionSection) -> Iterator[Problem]:
    if adapter.relora and (distribution.sharded or distribution.deepspeed):
        yield at("relora", "`relora: true` does not work with FSDP or DeepSpeed; run it with torchrun alone")
