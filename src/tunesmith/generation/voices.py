"""Loads who answers: the tuned model of a config, and beside it the base."""

from pathlib import Path
from typing import Any

from tunesmith.errors import ModelError
from tunesmith.hardware import Hardware
from tunesmith.modeling.adapters import load_adapter
from tunesmith.modeling.generate import Voice
from tunesmith.modeling.load import load_base_model, trained_model
from tunesmith.modeling.precision import choose_precision
from tunesmith.sections import Config, ModelSection


def load_voices(config: Config, hardware: Hardware, *, tuned: bool = True, base: bool = False) -> list[Voice]:
    """Return the voices asked for, the base first.

    The adapter is `lora_model_dir`, by default the one in `output_dir`; without `adapter`, the whole model there.

    Raises:
        ModelError: there is nothing trained yet, or it does not fit the base model.
    """
    import torch

    dtype = choose_precision(config.model, hardware).frozen
    if not tuned:
        return [base_voice(config.model, hardware)]
    folder = trained_folder(config)
    if config.adapter.adapter:
        model = load_base_model(config.model, dtype)
        model = load_adapter(model, folder)
        if not (config.model.load_in_4bit or config.model.load_in_8bit):
            model = model.to(getattr(torch, dtype))
        model = _ready(model, hardware)
        voices = [Voice("base", model, adapter_off=True), Voice("tuned", model)]
        return voices if base else voices[1:]
    trained = trained_model(config.model, folder)
    voices = [base_voice(config.model, hardware)] if base else []
    return [*voices, Voice("tuned", _ready(load_base_model(trained, dtype), hardware))]


def base_voice(section: ModelSection, hardware: Hardware) -> Voice:
    """Return a base model as a voice."""
    dtype = choose_precision(section, hardware).frozen
    return Voice("base", _ready(load_base_model(section, dtype), hardware))


def trained_folder(config: Config) -> str:
    """Return the folder of the adapter, or without `adapter` of the whole model.

    Raises:
        ModelError: there is nothing trained yet.
    """
    output = config.training.output_dir
    if not config.adapter.adapter:
        if not (Path(output) / "config.json").exists():
            raise ModelError(f"`output_dir: {output}` holds no trained model yet; run tunesmith train first")
        return output
    folder = config.adapter.lora_model_dir or output
    if not (Path(folder) / "adapter_config.json").exists():
        raise ModelError(f"{folder} holds no adapter yet; run tunesmith train first, or set --lora-model-dir")
    return folder


def _ready(model: Any, hardware: Hardware) -> Any:
    """Put a model where it computes, without dropout."""
    model.eval()
    return model if hardware.kind == "cpu" or model.device.type != "cpu" else model.to(hardware.kind)
