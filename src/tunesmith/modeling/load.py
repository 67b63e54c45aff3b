"""Loads a base model: from the Hub, a folder, or the built-in one; in bf16, fp32, or 4 or 8 bits."""

import sys
from pathlib import Path
from typing import Any

from tunesmith import hub
from tunesmith.config.sections import ModelSection
from tunesmith.errors import ConfigError, ModelError
from tunesmith.hardware import Hardware
from tunesmith.modeling.attention import DOCUMENTS, register_document_attention
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.precision import Format

PLAIN_ATTENTION = ("sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", None)
"""Settings of `attn_implementation` that only say how fast; document attention computes the same."""


def load_base_model(section: ModelSection, dtype: Format, *, attention: str | None = None) -> Any:
    """Return the base model of a config, on the CPU or, if quantised, on its device.

    Args:
        section: names the model and says whether it is quantised.
        dtype: format of the weights that are not quantised.
        attention: transformers' name of the attention code; None leaves the choice to transformers.

    Raises:
        ModelError: there is no such model, it is not a language model, or its weights do not load.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    name = local_base_model(section.base_model)
    if attention == DOCUMENTS:
        register_document_attention()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name,
            revision=section.revision_of_model,
            trust_remote_code=section.trust_remote_code,
            local_files_only=Path(name).is_dir() or not hub.is_reachable(),
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            quantization_config=_quantisation(section),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(_reason(section.base_model, error)) from error
    model.config.use_cache = True
    return model


def _reason(name: str, error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    if Path(name).is_dir():
        return f"`base_model: {name}` is a folder, but does not load as a model: {text}"
    if name.startswith((".", "/", "~")):
        return f"`base_model: {name}`: no such folder"
    return f"`base_model: {name}` is no folder here, and {hub.why_not(error)}"


def _quantisation(section: ModelSection) -> Any:
    """Return the bitsandbytes settings, or None: nf4 with double quantisation, as in the QLoRA paper (2305.14314)."""
    if not (section.load_in_4bit or section.load_in_8bit):
        return None
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("`load_in_4bit` and `load_in_8bit` need bitsandbytes: pip install 'tunesmith[qlora]'")
    if section.load_in_8bit:
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.float32 if section.bf16 is False else torch.bfloat16
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def training_attention(section: ModelSection, hardware: Hardware) -> tuple[str | None, str]:
    """Return the attention code for training, and why.

    Raises:
        ConfigError: FlashAttention is asked for by name on a GPU that lacks it.
    """
    wanted = section.attn_implementation
    if hardware.kind == "cpu" and wanted in PLAIN_ATTENTION:
        instead = f" in place of {wanted}, which needs a GPU; the same result" if wanted not in ("sdpa", None) else ""
        return DOCUMENTS, f"sdpa of each document alone{instead}"
    if wanted and wanted.startswith("flash_attention") and not hardware.flash_attention:
        raise ConfigError(
            f"`attn_implementation: {wanted}` needs pip install flash-attn; or set `attn_implementation: sdpa`"
        )
    if wanted is None and hardware.flash_attention:
        return "flash_attention_2", "flash_attn is installed"
    return wanted or "sdpa", "as set" if wanted else "the default"
