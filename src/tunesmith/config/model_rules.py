"""Rules across keys about what is loaded and what trains of it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tunesmith.config.problem import Idle, Problem, at
from tunesmith.config.yaml_source import shown
from tunesmith.errors import did_you_mean
from tunesmith.sections import AdapterSection, Config, ModelSection
from tunesmith.sections.model import ATTENTION, EXPERT_KERNELS, EXPERTS

PLUGINS = {
    "LigerPlugin": "",
    "CutCrossEntropyPlugin": "",
    "KernelsPlugin": "",
    "SwanLabPlugin": "",
    "DenseMixerPlugin": "experts that are not chosen get no gradient here; remove it",
    "DiffusionPlugin": "diffusion language models are not trained here; remove it for ordinary training",
    "ExpertParallelPlugin": "",
    "GrokfastPlugin": "it filters gradients by a method of its own; `weight_decay` is the usual remedy",
    "HatcheryPlugin": "training on a remote service is not supported; remove it",
    "KDPlugin": "there is no distillation from a teacher's probabilities; train on the teacher's answers",
    "LLMCompressorPlugin": "sparse models are not kept sparse; compress the merged model afterwards",
    "LMEvalPlugin": "benchmarks are not run here; run lm-eval on the merged model",
    "MoraPlugin": "MoRA is not supported; use `adapter: lora`, or `relora: true` for updates of high rank",
    "NemoGymPlugin": "training in environments of NeMo Gym is not supported",
    "SpectrumPlugin": "it chooses layers by a scan; name them yourself in `unfrozen_parameters`",
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
"""Keys that must say the same as the adapter in `lora_model_dir` -> their names there."""
NOT_IN_SAVED = (
    "lora_target_ lora_rank_pattern lora_alpha_pattern lora_fan_in_fan_out peft peft_layers_ peft_init_ "
    "peft_trainable_token_indices peft_ensure_weight_tying"
)
"""Keys, or how their names begin, that change nothing beside `lora_model_dir`."""

_CHANGES_BASE = ("orthogonal", "olora", "pissa", "loftq")
_NO_LANGUAGE_MODEL = re.compile(r"(Classification|QuestionAnswering|MaskedLM|Seq2Seq|Model)$")


def what_trains(config: Config) -> list[Problem]:
    """Return the problems between keys about the model and its trained part."""
    return [
        *_loading(config.model, config.adapter),
        *_plugins(config.model),
        *_peft(config.adapter, config.model),
        *_saved_adapter(config.adapter),
        *_in_part(config),
        *_relora(config),
    ]


def _loading(model: ModelSection, adapter: AdapterSection) -> Iterator[Problem]:
    name = model.attn_implementation
    if name and name not in ATTENTION and "/" not in name:
        yield at(
            "attn_implementation",
            f"`attn_implementation: {name}` is unknown; known are {', '.join(ATTENTION)}, "
            f"and kernels of the Hub, OWNER/NAME{did_you_mean(name, ATTENTION)}",
        )
    experts, known = model.experts_implementation, (*EXPERTS, *EXPERT_KERNELS)
    if experts and experts not in known:
        near = did_you_mean(experts, known)
        yield at(
            "experts_implementation",
            f"`experts_implementation: {experts}` is unknown; known are {', '.join(known)}{near}",
        )
    if _NO_LANGUAGE_MODEL.search(model.type_of_model) and not model.type_of_model.endswith("LMHeadModel"):
        yield at(
            "type_of_model",
            f"`type_of_model: {model.type_of_model}` is no causal language model; remove it, or name one such as "
            "AutoModelForCausalLM",
        )
    if model.float16 and (model.fp16 or model.bf16 in (True, "full")):
        other = "fp16: true" if model.fp16 else f"bf16: {str(model.bf16).lower()}"
        yield at("float16", f"`float16: true` and `{other}`: keep one; `{other}` loses less")
    if model.reinit_weights and adapter.adapter:
        yield at(
            "reinit_weights",
            f"`reinit_weights: true` and `adapter: {adapter.adapter}`: random weights are not saved with an adapter; "
            "remove one",
        )
    if model.model_quantization_config and (model.load_in_4bit or model.load_in_8bit):
        bits = "load_in_4bit" if model.load_in_4bit else "load_in_8bit"
        yield at(
            "model_quantization_config",
            f"`model_quantization_config: {model.model_quantization_config}` and `{bits}: true`: keep one",
        )


def _plugins(model: ModelSection) -> Iterator[Problem]:
    names = [plugin.rsplit(".", 1)[-1] for plugin in model.plugins]
    for index, name in enumerate(names):
        if name not in PLUGINS:
            known = ", ".join(key for key, reason in PLUGINS.items() if not reason)
            yield ("plugins", index), f"plugin `{name}` is not supported; those that are: {known}; remove it"
        elif PLUGINS[name]:
            yield ("plugins", index), f"plugin `{name}`: {PLUGINS[name]}"
    cut = "CutCrossEntropyPlugin" in names and model.cut_cross_entropy
    losses = [key for key in ("liger_cross_entropy", "liger_fused_linear_cross_entropy") if getattr(model, key)]
    asked = [*(losses if "LigerPlugin" in names else []), *(["cut_cross_entropy"] if cut else [])]
    if len(asked) > 1:
        both = " and ".join(f"`{key}: true`" for key in asked)
        yield (asked[0],), f"{both}: keep one; each is the code of the loss"


def _peft(adapter: AdapterSection, model: ModelSection) -> Iterator[Problem]:
    start = "loftq" if adapter.peft.loftq_config else adapter.peft_init_lora_weights
    if start in _CHANGES_BASE and (model.load_in_4bit or model.load_in_8bit):
        key = "peft" if adapter.peft.loftq_config else "peft_init_lora_weights"
        bits = "load_in_4bit" if model.load_in_4bit else "load_in_8bit"
        yield at(key, f"`{start}` changes the base weights, which `{bits}: true` has rounded already; remove one")
    if adapter.lora_target_parameters and adapter.lora_dropout:
        yield at(
            "lora_dropout",
            f"`lora_dropout: {adapter.lora_dropout}` and `lora_target_parameters`: bare parameters have no input "
            "to drop; set `lora_dropout: 0`",
        )
    if adapter.peft_layers_pattern and not adapter.peft_layers_to_transform:
        yield at("peft_layers_pattern", "`peft_layers_pattern` needs `peft_layers_to_transform`: the blocks' numbers")
    if adapter.peft_layers_to_transform and isinstance(adapter.lora_target_modules, str):
        yield at(
            "peft_layers_to_transform",
            f"`peft_layers_to_transform` needs a list, found `lora_target_modules: {adapter.lora_target_modules}`; "
            "or name the blocks in the expression",
        )


def _saved_adapter(adapter: AdapterSection) -> Iterator[Problem]:
    """Yield the keys that say other than the adapter which the run begins with; training goes on with that one."""
    file = Path(adapter.lora_model_dir or "") / "adapter_config.json"
    if not adapter.lora_model_dir or not file.is_file():
        return  # what is wrong is said when it is loaded
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return
    for key, name in IN_SAVED.items():
        ours, theirs = getattr(adapter, key), saved.get(name)
        if key in adapter.model_fields_set and name in saved and ours not in (None, theirs):
            yield at(
                key,
                f"`{key}: {shown(ours)}`, but the adapter in `lora_model_dir: {adapter.lora_model_dir}` has "
                f"{shown(theirs)}; remove `{key}`, or `lora_model_dir` to begin anew",
            )


def _in_part(config: Config) -> Iterator[Problem]:
    adapter, decay = config.adapter, config.training.weight_decay
    for key in ("unfrozen_parameters", "lisa_n_layers"):
        if getattr(adapter, key) and adapter.adapter:
            yield at(
                key, f"`{key}` chooses among all weights, but `adapter: {adapter.adapter}` freezes them; remove one"
            )
    if adapter.unfrozen_parameters and adapter.lisa_n_layers:
        yield at("lisa_n_layers", f"`unfrozen_parameters` and `lisa_n_layers: {adapter.lisa_n_layers}`: keep one")
    for index, pattern in enumerate(adapter.unfrozen_parameters or []):
        if decay and re.search(r"\[(\d+|\d*:\d*)\]$", pattern):
            yield (
                ("unfrozen_parameters", index),
                f"`weight_decay: {decay}` would shrink the rows that `{pattern}` leaves out; set `weight_decay: 0`",
            )
    if bool(adapter.lisa_n_layers) != bool(adapter.lisa_step_interval):
        key, other = ("lisa_n_layers", "lisa_step_interval")[:: 1 if adapter.lisa_n_layers else -1]
        yield at(key, f"`{key}: {getattr(adapter, key)}` needs `{other}`")
    if adapter.lisa_n_layers and (config.distribution.sharded or config.distribution.deepspeed):
        yield at("lisa_n_layers", "`lisa_n_layers` does not go with FSDP or DeepSpeed, which fix what is trained")


def _relora(config: Config) -> Iterator[Problem]:
    adapter = config.adapter
    if not adapter.relora:
        return
    if not adapter.adapter:
        yield at("relora", "`relora: true` needs `adapter: lora` (or qlora)")
    if not config.training.jagged_restart_steps:
        yield at("relora", "`relora: true` needs `jagged_restart_steps`: the steps between restarts")
    others = ("peft_use_dora", "peft_use_rslora", "lora_modules_to_save", "peft_trainable_token_indices")
    for key in (*others, "lora_target_parameters", "lora_rank_pattern", "lora_alpha_pattern", "peft"):
        if adapter.peft.loftq_config if key == "peft" else getattr(adapter, key):
            yield at(key, f"`relora: true` adds up plain low-rank updates, which `{key}` makes others of; remove one")
    if adapter.peft_init_lora_weights is not True:
        yield at(
            "peft_init_lora_weights",
            f"`relora: true` and `peft_init_lora_weights: {adapter.peft_init_lora_weights}`: each restart must begin "
            "at nothing; remove one",
        )
    if config.training.load_best_model_at_end:
        yield at(
            "load_best_model_at_end",
            "`relora: true` and `load_best_model_at_end: true`: an earlier checkpoint has other parts; remove one",
        )
    if config.distribution.sharded or config.distribution.deepspeed:
        yield at("relora", "`relora: true` does not go with FSDP or DeepSpeed; run it with torchrun alone")


def _without_plugin(name: str) -> Callable[[Config], bool]:
    return lambda config: not any(plugin.endswith(name) for plugin in config.model.plugins)


IDLE_MODEL: list[Idle] = [
    ("peft peft_", lambda c: c.adapter.adapter is None, "there is no `adapter`, all weights are trained"),
    ("relora_prune_", lambda c: not c.adapter.relora, "there is no `relora: true`"),
    ("lisa_layers_attribute", lambda c: not c.adapter.lisa_n_layers, "there is no `lisa_n_layers`"),
    ("liger_", _without_plugin("LigerPlugin"), "`plugins` does not name LigerPlugin"),
    ("cut_cross_entropy", _without_plugin("CutCrossEntropyPlugin"), "`plugins` does not name CutCrossEntropyPlugin"),
    ("torch_compile_", lambda c: c.model.torch_compile is not True, "there is no `torch_compile: true`"),
    ("bnb_config_kwargs", lambda c: not c.model.load_in_4bit, "there is no `load_in_4bit: true`"),
    (
        "model_quantization_config_kwargs",
        lambda c: not c.model.model_quantization_config,
        "there is no `model_quantization_config`",
    ),
    ("mean_resizing_embeddings", lambda c: not c.model.changes_vocabulary, "no key adds tokens"),
    (
        "type_of_model overrides_of_model_kwargs experts_implementation",
        lambda c: c.model.reinit_weights,
        "`reinit_weights: true` makes the model from its config alone",
    ),
    (NOT_IN_SAVED, lambda c: c.adapter.lora_model_dir is not None, "the adapter in `lora_model_dir` has its own"),
    (
        "revision_of_model",
        lambda c: c.model.base_model.startswith("builtin/") or Path(c.model.base_model).is_dir(),
        "`base_model` is no repository of the Hub",
    ),
]
"""Keys, or how their names begin -> when they change nothing -> why."""
