"""Adapters: what is trained in place of the whole model. A new one is a function and a line in `ADAPTERS`."""

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tunesmith.config.yaml_source import shown
from tunesmith.errors import ConfigError, ModelError, did_you_mean
from tunesmith.hardware import detect
from tunesmith.modeling.precision import Format
from tunesmith.sections import AdapterSection

KEPT = "kept"
"""Folder in a checkpoint of ReLoRA with what was learnt before the last restart; peft's name of that adapter."""


def lora_config(section: AdapterSection) -> Any:
    """Return peft's config of a LoRA adapter."""
    from peft import LoftQConfig, LoraConfig

    loftq = section.peft.loftq_config
    by_loftq = loftq is not None or section.peft_init_lora_weights == "loftq"
    if by_loftq and detect().kind != "cuda":
        raise ConfigError(
            "LoftQ is computed on an NVIDIA GPU only, and the adapter that begins otherwise is another one; set "
            "`peft_init_lora_weights: true` and no `peft.loftq_config`, or run it there"
        )
    parameters = section.lora_target_parameters
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=section.lora_r,
        lora_alpha=section.lora_alpha if section.lora_alpha is not None else 2 * (section.lora_r or 0),
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


ADAPTERS: dict[str, Callable[[AdapterSection], Any]] = {"lora": lora_config, "qlora": lora_config}
"""Value of `adapter` -> its peft config."""


def new_adapter(model: Any, section: AdapterSection, trained: Format, *, fused: bool = False) -> Any:
    """Return `model` with a fresh adapter, whose weights are in the format `trained`; in `fused` layers if asked for.

    Raises:
        ConfigError: a name in `lora_target_modules`, `lora_target_parameters` or `lora_modules_to_save` fits nothing,
            or a package is missing.
    """
    from peft import get_peft_model

    assert section.adapter is not None
    make, asked = ADAPTERS[section.adapter], section
    _check_names("lora_target_modules", section.lora_target_modules, model)
    _check_names("lora_modules_to_save", section.lora_modules_to_save, model)
    parameters = section.lora_target_parameters
    _check_names("lora_target_parameters", [parameters] if isinstance(parameters, str) else parameters, model)
    _check_patterns("lora_rank_pattern", section.lora_rank_pattern, model)
    _check_patterns("lora_alpha_pattern", section.lora_alpha_pattern, model)
    _check_numbers(section, model)
    if section.lora_target_linear and (section.lora_target_modules or section.peft_layers_to_transform):
        both = sorted({*_linear_names(model), *(section.lora_target_modules or [])})
        section = section.model_copy(update={"lora_target_linear": False, "lora_target_modules": both})
    if section.peft_ensure_weight_tying is None:
        ties = model.config.get_text_config().tie_word_embeddings and len(section.lora_modules_to_save or []) > 1
        section = section.model_copy(update={"peft_ensure_weight_tying": ties})
    try:
        settings = make(section)
        if fused:
            _take_fused_layers(settings, model)
        return in_format(get_peft_model(model, settings), trained)
    except ImportError as error:
        raise ConfigError(f"LoftQ rounds by k-means of another package: pip install scipy ({error})") from error
    except ValueError as error:
        if "target module" not in str(error).lower():
            raise
        keys = ("lora_target_modules", "lora_target_linear", "lora_target_parameters", "peft_layers_pattern")
        said = " and ".join(f"`{key}: {shown(value)}`" for key in keys if (value := getattr(asked, key)))
        raise ConfigError(
            f"{said} names no layer that LoRA can adapt; "
            f"the model's linear layers are {', '.join(sorted(_linear_names(model)))}"
        ) from error


def _check_names(key: str, names: list[str] | str | None, model: Any) -> None:
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


def _check_patterns(key: str, patterns: Collection[str], model: Any) -> None:
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


def _check_numbers(section: AdapterSection, model: Any) -> None:
    """Refuse blocks and tokens that the model does not have."""
    blocks = model.config.get_text_config().num_hidden_layers
    if section.peft_layers_to_transform and max(section.peft_layers_to_transform) >= blocks:
        raise ConfigError(
            f"`peft_layers_to_transform: {shown(section.peft_layers_to_transform)}`: the model has {blocks} blocks, 0 "
            f"to {blocks - 1}"
        )
    given = section.peft_trainable_token_indices or []
    by_layer = given if isinstance(given, dict) else {"": given}
    _check_names("peft_trainable_token_indices", [name for name in by_layer if name], model)
    rows = model.get_input_embeddings().weight.shape[0]
    for token in sorted({token for tokens in by_layer.values() for token in tokens}):
        if token >= rows:
            raise ConfigError(f"`peft_trainable_token_indices`: there is no token {token}; the model has {rows}")


def in_format(model: Any, trained: Format) -> Any:
    """Put what is trained into one format; peft leaves `modules_to_save` in that of the frozen weights."""
    import torch

    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(getattr(torch, trained))
    return model


def _linear_names(model: Any) -> set[str]:
    """The names of linear layers, without the head."""
    head = model.get_output_embeddings()
    layers = [name for name, module in model.named_modules() if _is_linear(module) and module is not head]
    return {name.rsplit(".", 1)[-1] for name in layers}


def _is_linear(module: Any) -> bool:
    return type(module).__name__.startswith("Linear")


def _take_fused_layers(settings: Any, model: Any) -> None:
    """Let peft make its LoRA layers in our class, which is for layers that are not quantised."""
    from torch import nn

    from tunesmith.modeling.fused import FusedLoraLinear

    if not model.config.to_dict().get("quantization_config"):
        settings._register_custom_module({nn.Linear: FusedLoraLinear})  # documented by peft, whatever its name


def load_adapter(model: Any, folder: str, *, trained: Format | None = None, fused: bool = False) -> Any:
    """Return `model` with the adapter saved in `folder`; to be trained on in the format `trained`, if that is given.

    Raises:
        ModelError: there is none, or it belongs to another model.
    """
    from peft import PeftConfig, PeftModel
    from safetensors import SafetensorError

    config = Path(folder) / "adapter_config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no adapter (no adapter_config.json)")
    if not any((config.parent / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise ModelError(f"{folder} holds no adapter weights (no adapter_model.safetensors)")
    try:
        made_for = json.loads(config.read_text()).get("base_model_name_or_path")
    except ValueError as error:
        raise ModelError(f"{config} is damaged: {error}") from error
    try:
        settings = PeftConfig.from_pretrained(folder)
        if fused:
            _take_fused_layers(settings, model)
        loaded = PeftModel.from_pretrained(model, folder, is_trainable=trained is not None, config=settings)
        _check_layers(loaded, folder)
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            raise  # a device that is out of memory, for example, says nothing of the adapter
        reason = next((line.strip() for line in str(error).split("\n") if "size mismatch" in line), str(error))
        raise ModelError(
            f"the adapter in {folder} does not fit the base model: it was made for {made_for}. {reason:.300}"
        ) from error
    if (config.parent / KEPT).is_dir():
        loaded.load_adapter(str(config.parent / KEPT), KEPT)
        loaded.base_model.set_adapter(["default", KEPT], inference_mode=trained is None)
        loaded.set_requires_grad(KEPT, False)
    return in_format(loaded, trained) if trained else loaded


def _check_layers(model: Any, folder: str) -> None:
    """Refuse an adapter of a deeper or shallower model; peft leaves out what has no counterpart."""
    from peft import get_peft_model_state_dict
    from peft.utils import load_peft_weights

    saved = load_peft_weights(folder, device="cpu")
    taken = get_peft_model_state_dict(model, save_embedding_layers=False)
    differing = sorted(key for key in saved.keys() ^ taken.keys() if "lora_" in key)
    if differing:
        raise ValueError(f"{len(differing)} weights are only in one of the two, such as {differing[0]}")
