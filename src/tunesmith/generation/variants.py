"""Loads the model variants that answer: the tuned model of a config, and its base."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import ModelError
from tunesmith.hardware import Hardware
from tunesmith.modeling.adapters import load_adapter
from tunesmith.modeling.generate import ModelVariant
from tunesmith.modeling.load import load_base_model, trained_model
from tunesmith.modeling.precision import choose_precision
from tunesmith.sections import Config, ModelSection

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


def load_variants(config: Config, hardware: Hardware, *, tuned: bool = True, base: bool = False) -> list[ModelVariant]:
    """Return the requested variants, the base first.

    The adapter is `lora_model_dir`, by default the one in `output_dir`; without `adapter`, the full model there.

    Raises:
        ModelError: nothing is trained yet, or it does not match the base model.
    """
    import torch

    if not tuned:
        return [load_base_variant(config.model, hardware)]
    dtype = choose_precision(config.model, hardware).frozen
    folder = find_trained_folder(config)
    if not config.adapter.adapter:
        section = trained_model(config.model, folder)
        variants = [load_base_variant(config.model, hardware)] if base else []
        return [*variants, ModelVariant("tuned", _prepare(load_base_model(section, dtype), hardware))]
    model = load_adapter(load_base_model(config.model, dtype), folder)
    if not config.model.has_quantized_weights:
        model = model.to(getattr(torch, dtype))
    model = _prepare(model, hardware)
    variants = [ModelVariant("base", model, adapter_off=True)] if base else []
    return [*variants, ModelVariant("tuned", model)]


def load_base_variant(section: ModelSection, hardware: Hardware) -> ModelVariant:
    """Return a base model as a variant."""
    dtype = choose_precision(section, hardware).frozen
    return ModelVariant("base", _prepare(load_base_model(section, dtype), hardware))


def find_trained_folder(config: Config) -> str:
    """Return the folder of the adapter, or without `adapter` of the full model.

    Raises:
        ModelError: nothing is trained yet.
    """
    output = config.training.output_dir
    if not config.adapter.adapter:
        if not (Path(output) / "config.json").exists():
            raise ModelError(f"`output_dir: {output}` has no trained model yet; run tunesmith train first")
        return output
    folder = config.adapter.lora_model_dir or output
    if not (Path(folder) / "adapter_config.json").exists():
        raise ModelError(f"{folder} has no adapter yet; run tunesmith train first, or set --lora-model-dir")
    return folder


def _prepare(model: "CausalLM", hardware: Hardware) -> "CausalLM":
    """Switch dropout off, and move a model to the accelerator if it is still on the CPU."""
    model.eval()
    return model if hardware.kind == "cpu" or model.device.type != "cpu" else model.to(hardware.kind)
