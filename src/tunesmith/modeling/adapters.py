"""Adapters: what is trained in place of the whole model. A new one is a function and a line in `ADAPTERS`."""

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tunesmith.config.yaml_source import shown
from tunesmith.errors import ConfigError, ModelError, did_you_mean
from tunesmith.hardware import detect
from tunesmith.modeling.embeddings import check_embedding_keys
from tunesmith.modeling.precision import Format
from tunesmith.sections import AdapterSection

if TYPE_CHECKING:
    from peft import LoraConfig, PeftConfig, PeftModel
    from torch import nn

    from tunesmith.modeling.causal_lm import CausalLM

KEPT = "kept"
"""Folder in a checkpoint of ReLoRA with what was learnt before the last restart; peft's name of that adapter."""


def lora_config(section: AdapterSection) -> "LoraConfig":
    """Return peft's config of a LoRA adapter."""
    from peft import LoftQConfig, LoraConfig

    loftq = section.peft.loftq_config
    by_loftq = loftq is not None or section.peft_init_lora_weights == "loftq"
    if by_loftq and detect().kind != "cuda":
        raise ConfigError(
            "LoftQ is computed on an NVIDIA GPU only, and the adapter that begins otherwise is another one; set "
            "`peft_init_lora_weights: true` and no `peft.loftq_config`, or run it there"
        )
    assert section.lora_r is not None
    alpha = section.lora_alpha if section.lora_alpha is not None else 2 * section.lora_r
    parameters = section.lora_target_parameters
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=section.lora_r,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft computes with floats too
        lora_dropout=section.lora_dropout,
        target_modules="all-linear" if section.lora_target_linear else section.lora_target_modules,
        modules_to_save=section.lora_modules_to_save,
        fan_in_fan_out=section.lora_fan_in_fan_out,
        use_dora=section.peft_use_dora,
        use_rslora=section.peft_use_rslora,
        target_parameters=[parameters] if isinstance(parameters, str) else parameters,
        rank_pattern=section.lora_rank_pattern,
        alpha_pattern=section.lora_alpha_pattern,
        layers_to_transform=section.peft_layers_to_transform,
        layers_pattern=section.peft_layers_pattern,
        init_lora_weights="loftq" if by_loftq else section.peft_init_lora_weights,
        loftq_config=LoftQConfig(loftq_bits=loftq.loftq_bits if loftq else 4) if by_loftq else {},
        trainable_token_indices=section.peft_trainable_token_indices,
        ensure_weight_tying=bool(section.peft_ensure_weight_tying),
    )


ADAPTERS: dict[str, Callable[[AdapterSection], "PeftConfig"]] = {"lora": lora_config, "qlora": lora_config}
"""Value of `adapter` -> its peft config."""


def new_adapter(model: "CausalLM", section: AdapterSection, dtype: Format, *, fused: bool = False) -> "CausalLM":
    """Return `model` with a fresh adapter, whose weights are in `dtype`; in `fused` layers if asked for.

    Raises:
        ConfigError: a name in `lora_target_modules`, `lora_target_parameters` or `lora_modules_to_save` fits nothing,
            or a package is missing.
    """
    from peft import get_peft_model

    _check_section(section, model)
    section = _complete_section(section, model)
    check_embedding_keys(model, section)
    assert section.adapter is not None
    try:
        settings = ADAPTERS[section.adapter](section)
        if fused:
            _take_fused_layers(settings, model)
        return in_format(cast("CausalLM", get_peft_model(model, settings)), dtype)
    except ImportError as error:
        raise ConfigError(f"LoftQ rounds by k-means of another package: pip install scipy ({error})") from error
    except ValueError as error:
        if "target module" not in str(error).lower():
            raise ConfigError(f"`adapter: {section.adapter}`: peft cannot adapt this model so: {error}") from error
        keys = ("lora_target_modules", "lora_target_linear", "lora_target_parameters", "peft_layers_pattern")
        targets = " and ".join(f"`{key}: {shown(value)}`" for key in keys if (value := getattr(section, key)))
        raise ConfigError(
            f"{targets} names no layer that LoRA can adapt; "
            f"the model's linear layers are {', '.join(sorted(_linear_names(model)))}"
        ) from error


def _complete_section(section: AdapterSection, model: "CausalLM") -> AdapterSection:
    """Return the section with the values that depend on the model: all target layers, and tied weights."""
    changes: dict[str, Any] = {}
    if section.lora_target_linear and (section.lora_target_modules or section.peft_layers_to_transform):
        targets = sorted({*_linear_names(model), *(section.lora_target_modules or [])})
        changes |= {"lora_target_linear": False, "lora_target_modules": targets}
    if section.peft_ensure_weight_tying is None:
        ties = model.config.get_text_config().tie_word_embeddings and len(section.lora_modules_to_save or []) > 1
        changes["peft_ensure_weight_tying"] = ties
    return section.model_copy(update=changes)


def _check_section(section: AdapterSection, model: "CausalLM") -> None:
    """Refuse names, patterns and numbers that fit nothing in the model."""
    parameters = section.lora_target_parameters
    _check_names("lora_target_modules", section.lora_target_modules, model)
    _check_names("lora_modules_to_save", section.lora_modules_to_save, model)
    _check_names("lora_target_parameters", [parameters] if isinstance(parameters, str) else parameters, model)
    _check_patterns("lora_rank_pattern", section.lora_rank_pattern, model)
    _check_patterns("lora_alpha_pattern", section.lora_alpha_pattern, model)
    _check_numbers(section, model)


def _check_names(key: str, names: list[str] | str | None, model: "CausalLM") -> None:
    """Refuse a name that fits nothing; peft passes over it as long as another one fits."""
    bare = key == "lora_target_parameters"
    layers = [name for name, _ in (model.named_parameters() if bare else model.named_modules())]
    for name in names if isinstance(names, list) else []:
        if not any(f".{layer}".endswith(f".{name}") for layer in layers):
            known = {layer.rsplit(".", 1)[-1] for layer in layers if layer}
            if bare:
                raise ConfigError(f"`{key}`: the model has no parameter `{name}`{did_you_mean(name, layers)}")
            raise ConfigError(
                f"`{key}`: the model has no layer `{name}`; its linear layers are "
                f"{', '.join(sorted(_linear_names(model)))}{did_you_mean(name, known)}"
            )


def _check_patterns(key: str, patterns: Collection[str], model: "CausalLM") -> None:
    """Refuse an expression that fits no layer; peft only warns."""
    names = [name for name, _ in model.named_modules()]
    for pattern in patterns:
        try:
            fits = any(re.fullmatch(rf"(.*\.)?({pattern})", name) for name in names)
        except re.error as error:
            raise ConfigError(f"`{key}`: `{pattern}` is no regular expression: {error}") from None
        if not fits:
            known = sorted(_linear_names(model))
            raise ConfigError(
                f"`{key}`: the model has no layer `{pattern}`; its linear layers are {', '.join(known)}"
                f"{did_you_mean(pattern, known)}"
            )


def _check_numbers(section: AdapterSection, model: "CausalLM") -> None:
    """Refuse blocks and tokens that the model does not have."""
    blocks = model.config.get_text_config().num_hidden_layers
    if section.peft_layers_to_transform and max(section.peft_layers_to_transform) >= blocks:
        raise ConfigError(
            f"`peft_layers_to_transform: {shown(section.peft_layers_to_transform)}`: the model has {blocks} blocks, 0 "
            f"to {blocks - 1}"
        )
    indices = section.peft_trainable_token_indices or []
    by_layer = indices if isinstance(indices, dict) else {"": indices}
    _check_names("peft_trainable_token_indices", [name for name in by_layer if name], model)
    rows = model.get_input_embeddings().weight.shape[0]
    for token in sorted({token for tokens in by_layer.values() for token in tokens}):
        if token >= rows:
            raise ConfigError(f"`peft_trainable_token_indices`: there is no token {token}; the model has {rows}")


def merge_adapter(model: "CausalLM") -> "CausalLM":
    """Return the base model with the adapter merged into it.

    A head that is tied to the embeddings gets its own weights first, because the adapter may change only one of the
    two, or each in another way. If the weights are equal after the merge, they are tied again.
    """
    import torch
    from torch import nn

    embedding_weights = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    adapted_head: nn.Module = model.get_output_embeddings()
    is_tied = False
    for name, parameter in list(adapted_head.named_parameters()):
        if id(parameter) in embedding_weights:
            is_tied = True
            layer, _, key = name.rpartition(".")
            weight = nn.Parameter(parameter.detach().clone(), requires_grad=False)
            setattr(adapted_head.get_submodule(layer), key, weight)
    merged: CausalLM = cast("Any", model).merge_and_unload()
    if is_tied:
        embeddings, head = merged.get_input_embeddings(), merged.get_output_embeddings()
        is_tied = torch.equal(embeddings.weight, head.weight)
        if is_tied:
            head.weight = embeddings.weight
        for config in (merged.config, merged.config.get_text_config()):
            config.tie_word_embeddings = is_tied
    return merged


def in_format(model: "CausalLM", dtype: Format) -> "CausalLM":
    """Put what is trained into one format; peft leaves `modules_to_save` in that of the frozen weights."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, dtype))
    return model


def _linear_names(model: "CausalLM") -> set[str]:
    """The names of linear layers, without the head."""
    head = model.get_output_embeddings()
    layers = [name for name, module in model.named_modules() if _is_linear(module) and module is not head]
    return {name.rsplit(".", 1)[-1] for name in layers}


def _is_linear(module: "nn.Module") -> bool:
    return type(module).__name__.startswith("Linear")


def _take_fused_layers(settings: "PeftConfig", model: "CausalLM") -> None:
    """Let peft make its LoRA layers in our class, which is for layers that are not quantised."""
    from peft import LoraConfig
    from torch import nn

    from tunesmith.modeling.fused import FusedLoraLinear

    if isinstance(settings, LoraConfig) and not model.config.to_dict().get("quantization_config"):
        settings._register_custom_module({nn.Linear: FusedLoraLinear})  # documented by peft, whatever its name


def load_adapter(model: "CausalLM", folder: str, *, dtype: Format | None = None, fused: bool = False) -> "CausalLM":
    """Return `model` with the adapter saved in `folder`; to be trained further in `dtype`, if it is set.

    Raises:
        ModelError: there is none, or it belongs to another model.
    """
    from peft import PeftConfig, PeftModel
    from peft.tuners.tuners_utils import BaseTuner
    from safetensors import SafetensorError

    config = Path(folder) / "adapter_config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no adapter (no adapter_config.json)")
    if not any((config.parent / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise ModelError(f"{folder} holds no adapter weights (no adapter_model.safetensors)")
    try:
        base_name = json.loads(config.read_text()).get("base_model_name_or_path")
    except ValueError as error:
        raise ModelError(f"{config} is damaged: {error}") from error
    try:
        settings = PeftConfig.from_pretrained(folder)
        if fused:
            _take_fused_layers(settings, model)
        loaded = PeftModel.from_pretrained(model, folder, is_trainable=dtype is not None, config=settings)
        _check_layers(loaded, folder)
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise  # a device that is out of memory, for example, says nothing of the adapter
        reason = next((line.strip() for line in str(error).split("\n") if "size mismatch" in line), str(error))
        raise ModelError(
            f"the adapter in {folder} does not fit the base model: it was made for {base_name}. {reason:.300}"
        ) from error
    if (config.parent / KEPT).is_dir():
        loaded.load_adapter(str(config.parent / KEPT), KEPT)
        assert isinstance(loaded.base_model, BaseTuner)
        loaded.base_model.set_adapter(["default", KEPT], inference_mode=dtype is None)
        loaded.set_requires_grad(KEPT, False)
    adapted = cast("CausalLM", loaded)
    return in_format(adapted, dtype) if dtype else adapted


def _check_layers(model: "PeftModel", folder: str) -> None:
    """Refuse an adapter of a deeper or shallower model; peft leaves out what has no counterpart."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    saved = load_peft_weights(folder, device="cpu")
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    differing = sorted(key for key in saved.keys() ^ loaded.keys() if "lora_" in key)
    if differing:
        raise ValueError(f"{len(differing)} weights are only in one of the two, such as {differing[0]}")
