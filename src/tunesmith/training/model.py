"""The model to train: all weights, a part of them, or an adapter; and what changes during a run which they are."""

from typing import TYPE_CHECKING

from transformers import TrainerCallback

from tunesmith.modeling.adapters import in_format, load_adapter, new_adapter
from tunesmith.modeling.embeddings import check_new_tokens
from tunesmith.modeling.freeze import unfreeze
from tunesmith.modeling.load import load_base_model
from tunesmith.modeling.precision import Precision
from tunesmith.modeling.tokenizer import model_tokenizer, new_tokens
from tunesmith.sections import Config
from tunesmith.training.optim.lisa import Lisa
from tunesmith.training.optim.relora import ReLora

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


def build_model(config: Config, precision: Precision, attention: str | None, *, fused: bool = False) -> "CausalLM":
    """Return the model to train: all weights or a part of them, or frozen ones with an adapter; in `fused` layers."""
    adapter = config.adapter
    in_part = adapter.adapter or adapter.unfrozen_parameters
    model = load_base_model(config.model, precision.frozen if in_part else precision.trained, attention=attention)
    if config.training.gradient_checkpointing:
        model.enable_input_require_grads()  # reentrant checkpoints pass no gradient where no input needs one
    dtype = precision.trained if adapter.peft_autocast_adapter_dtype else precision.frozen
    if adapter.lora_model_dir:
        model = load_adapter(model, adapter.lora_model_dir, dtype=dtype, fused=fused)
    elif adapter.adapter:
        check_new_tokens(model, adapter, new_tokens(config.model, model_tokenizer(config.model)))
        model = new_adapter(model, adapter, dtype, fused=fused)
    elif adapter.unfrozen_parameters:
        unfreeze(model, adapter.unfrozen_parameters)
        in_format(model, dtype)
    return model


def model_callbacks(config: Config, model: "CausalLM") -> list[TrainerCallback]:
    """Return what changes during the run which weights are trained."""
    callbacks: list[TrainerCallback] = []
    if config.adapter.lisa_n_layers:
        callbacks.append(Lisa(model, config.adapter))
    if config.adapter.relora and config.training.jagged_restart_steps:
        callbacks.append(ReLora(model, config.adapter, config.training.jagged_restart_steps))
    return callbacks
