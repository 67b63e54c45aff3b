"""Loads a base model: from the Hub, a folder, or the built-in one; in bf16, fp32, or 4 or 8 bits."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import hub
from tunesmith.config.yaml_source import shown
from tunesmith.errors import ConfigError, ModelError, did_you_mean
from tunesmith.hardware import Hardware
from tunesmith.modeling.attention import DOCUMENTS, register_document_attention
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.embeddings import fit_embeddings
from tunesmith.modeling.precision import Format
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import ModelSection
from tunesmith.sections.model import EXPERTS, NOT_IN_TRANSFORMERS

if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from transformers.utils.quantization_config import QuantizationConfigMixin

    from tunesmith.modeling.causal_lm import CausalLM


def load_base_model(section: ModelSection, dtype: Format, *, attention: str | None = None) -> "CausalLM":
    """Return the base model of a config, on the CPU or, if quantised, on its device.

    Args:
        section: names the model and says whether it is quantised.
        dtype: format of the weights that are not quantised.
        attention: transformers' name of the attention code; None leaves the choice to transformers.

    Raises:
        ModelError: there is no such model, it is not a language model, or its weights do not load.
        ConfigError: a key names what transformers does not have.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    name = local_base_model(section.base_model)
    if attention == DOCUMENTS:
        register_document_attention()
    source = {
        "revision": section.revision_of_model,
        "trust_remote_code": section.trust_remote_code,
        "local_files_only": Path(name).is_dir() or not hub.is_reachable(),
    }
    options = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    loader = _named(section.type_of_model, "type_of_model")
    try:
        config = _model_config(section, name, source)
        _check_class(section, loader, config)
        _check_gptq(section, config)
        if section.reinit_weights:
            model: CausalLM = _named("AutoModelForCausalLM", "type_of_model").from_config(config, **options)
        else:
            if section.experts_implementation in EXPERTS:
                options["experts_implementation"] = section.experts_implementation
            arguments = options | {"quantization_config": _quantisation(section)} | section.overrides_of_model_kwargs
            model, info = loader.from_pretrained(name, config=config, output_loading_info=True, **source, **arguments)
            _check_weights(section, model, info)
    except (ConfigError, ModelError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(_reason("base_model", section.base_model, name, error, section)) from error
    model.config.use_cache = True
    if section.changes_vocabulary:
        fit_embeddings(model, section, model_tokenizer(section))
    return model


def trained_model(section: ModelSection, folder: str) -> ModelSection:
    """Return the section that loads the whole model which a run with `section` saved in `folder`."""
    before = {
        "revision_of_model": None,
        "base_model_config": None,
        "reinit_weights": False,
        "fix_untrained_tokens": None,
    }
    return section.model_copy(update={"base_model": folder, **before})


def _named(name: str, key: str) -> Any:
    """Return a class of transformers."""
    import transformers

    if name not in dir(transformers):
        raise ConfigError(f"`{key}: {name}`: transformers has no such class{did_you_mean(name, dir(transformers))}")
    return getattr(transformers, name)


def _model_config(section: ModelSection, name: str, source: dict[str, Any]) -> "PreTrainedConfig":
    """Return the model's config, with the settings that the user's config changes."""
    key, name_in_config = "base_model", section.base_model
    if section.base_model_config and section.base_model_config != name_in_config:
        key, name_in_config = "base_model_config", section.base_model_config
        name = local_base_model(name_in_config)
        source = source | {"revision": None, "local_files_only": Path(name).is_dir() or not hub.is_reachable()}
    config_class = _named(section.cls_model_config or "AutoConfig", "cls_model_config")
    try:
        if section.cls_model_config:
            _check_config_class(config_class, section, name, source)
        config: PreTrainedConfig = config_class.from_pretrained(name, **source)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(_reason(key, name_in_config, name, error, section)) from error
    _override(config, section.overrides_of_model_config)
    if section.model_quantization_config_kwargs.get("dequantize") and "quantization_config" not in config.to_dict():
        raise ConfigError(
            f"`model_quantization_config: {section.model_quantization_config}` with `dequantize: true`: the weights of "
            f"{section.base_model} are not quantised; remove both keys"
        )
    return config


def _check_config_class(
    config_class: "type[PreTrainedConfig]", section: ModelSection, name: str, source: dict[str, Any]
) -> None:
    """Refuse a class for another kind of model; that of a part of the model, such as its text model, is fine."""
    from transformers import PreTrainedConfig

    raw = PreTrainedConfig.get_config_dict(name, **source)[0]
    kinds = [part["model_type"] for part in (raw, *raw.values()) if isinstance(part, dict) and "model_type" in part]
    if kinds and config_class.model_type not in kinds:
        raise ConfigError(
            f"`cls_model_config: {section.cls_model_config}` is for models of type {config_class.model_type}, and "
            f"`base_model: {section.base_model}` is {kinds[0]}; remove `cls_model_config`"
        )


def _check_class(section: ModelSection, loader: type, config: "PreTrainedConfig") -> None:
    """Refuse a class of models that is not made for the config; it would take some of the weights, or none."""
    from transformers import PreTrainedModel

    config_class = loader.config_class if issubclass(loader, PreTrainedModel) else None
    if config_class is None or isinstance(config, config_class):
        return
    own = (config.architectures or ["AutoModelForCausalLM"])[0]
    raise ConfigError(
        f"`type_of_model: {section.type_of_model}` is for models of type {config_class.model_type}, and "
        f"`base_model: {section.base_model}` is {config.model_type}; remove `type_of_model`, or set it to {own}"
    )


def _check_gptq(section: ModelSection, config: Any) -> None:
    """Refuse GPTQ weights that cannot be loaded here, and `gptq` for other weights."""
    method = config.to_dict().get("quantization_config", {}).get("quant_method")
    if method != "gptq":
        if section.gptq:
            raise ConfigError(
                f"`gptq: true`: `base_model: {section.base_model}` is not quantized with GPTQ; remove `gptq`"
            )
        return
    missing = [name for name in ("gptqmodel", "optimum") if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"`base_model: {section.base_model}` is quantized with GPTQ: loading it needs the packages gptqmodel and "
            f"optimum (pip install {' '.join(missing)}), and training it at a useful speed a GPU. Without them, use "
            "the unquantized model with `load_in_4bit: true`"
        )


def _check_weights(section: ModelSection, model: "CausalLM", info: dict[str, Any]) -> None:
    """Refuse a checkpoint without all weights of the model: those that are missing would begin at random."""
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"`base_model: {section.base_model}` has no {missing[0]} and lacks {len(missing)} weights of "
            f"{type(model).__name__} in all; they would begin at random. Look at `type_of_model`, `cls_model_config`, "
            "`base_model_config` and `overrides_of_model_config`; `reinit_weights: true` trains from random weights"
        )


def _override(config: "PreTrainedConfig", changes: dict[str, Any]) -> None:
    """Set attributes of a model's config; a block changes only what it names."""
    from transformers import PreTrainedConfig

    for key, value in changes.items():
        if not hasattr(config, key):
            known = [name for name in config.to_dict() if not name.startswith("_")]
            raise ConfigError(
                f"`overrides_of_model_config.{key}`: {type(config).__name__} has no `{key}`{did_you_mean(key, known)}"
            )
        before = getattr(config, key)
        if isinstance(before, PreTrainedConfig):
            _override(before, value)
        elif isinstance(before, dict) and isinstance(value, dict):
            old_name = {"rope_type": value["type"]} if "type" in value else {}  # of rope_scaling, in transformers 4
            setattr(config, key, before | value | old_name)
        else:
            setattr(config, key, value)


def _reason(key: str, name_in_config: str, folder: str, error: Exception, section: ModelSection) -> str:
    """Return why a model or its config does not load; the keys that have a hand in it are named."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        advice = "set `load_in_4bit: true`, or choose a smaller model"
        return f"`{key}: {name_in_config}` needs more memory than the device has free; {advice}"
    text = str(error).strip().split("\n")[0]
    settings_text = ""
    if key == "base_model":
        others = {
            "type_of_model": section.type_of_model,
            "overrides_of_model_kwargs": section.overrides_of_model_kwargs,
        }
        named = [f"`{name}: {shown(value)}`" for name, value in others.items() if name in section.model_fields_set]
        settings_text = f" with {' and '.join(named)}" if named else ""
    if Path(folder).is_dir():
        return f"`{key}: {name_in_config}` is a folder, but does not load as a model{settings_text}: {text}"
    fix = "; if it was moved, set --base-model FOLDER" if key == "base_model" else ""
    if name_in_config.startswith((".", "/", "~")):
        return f"`{key}: {name_in_config}`: no such folder{fix}"
    return f"`{key}: {name_in_config}` is no folder here, and {hub.why_not(error)}{fix}"


def _quantisation(section: ModelSection) -> "QuantizationConfigMixin | None":
    """Return the bitsandbytes settings, or None: nf4 with double quantisation, as in the QLoRA paper (2305.14314)."""
    if section.model_quantization_config:
        quantization_class = _named(section.model_quantization_config, "model_quantization_config")
        quantization: QuantizationConfigMixin = quantization_class(**section.model_quantization_config_kwargs)
        return quantization
    if not (section.load_in_4bit or section.load_in_8bit):
        return None
    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ConfigError("`load_in_4bit` and `load_in_8bit` need bitsandbytes: pip install 'tunesmith[qlora]'")
    if section.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.float32 if section.bf16 is False else torch.bfloat16
    settings = {
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": compute,
    }
    return BitsAndBytesConfig(load_in_4bit=True, **(settings | section.bnb_config_kwargs))


def training_attention(section: ModelSection, hardware: Hardware) -> tuple[str, str]:
    """Return the attention code for training, and why. What is not to be had is replaced by what computes the same."""
    name = section.attn_implementation
    if name == "eager":
        return name, "as set"
    if hardware.kind == "cpu":
        instead = f" in place of {name}, which needs a GPU; the same result" if name not in ("sdpa", None) else ""
        return DOCUMENTS, f"each document by itself{instead}"
    if name is None:
        return ("flash_attention_2", "flash_attn is installed") if hardware.flash_attention else ("sdpa", "the default")
    package = "kernels" if "/" in name else "flash_attn" if name.startswith("flash_attention") else ""
    if package and not (hardware.flash_attention if package == "flash_attn" else find_spec(package)):
        return "sdpa", f"in place of {name}, which needs pip install {package.replace('_', '-')}; the same result"
    if name in NOT_IN_TRANSFORMERS:
        return "sdpa", f"in place of {name}, which is not in transformers; the same result"
    return name, "as set"
