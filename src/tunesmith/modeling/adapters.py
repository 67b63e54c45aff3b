"""Adapters: what is trained in place of the whole model. A new one is a function and a line in `ADAPTERS`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.config.sections import AdapterSection
from tunesmith.errors import ConfigError, ModelError


def lora_config(section: AdapterSection) -> Any:
    """Return peft's config of a LoRA adapter."""
    from peft import LoraConfig

    targets: Any = section.lora_target_modules
    if section.lora_target_linear:
        targets = "all-linear"
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=section.lora_r,
        lora_alpha=section.lora_alpha if section.lora_alpha is not None else 2 * (section.lora_r or 0),
        lora_dropout=section.lora_dropout,
        target_modules=targets,
        modules_to_save=section.lora_modules_to_save,
        fan_in_fan_out=section.lora_fan_in_fan_out,
        use_dora=section.peft_use_dora,
        use_rslora=section.peft_use_rslora,
    )


ADAPTERS: dict[str, Callable[[AdapterSection], Any]] = {"lora": lora_config, "qlora": lora_config}
"""Value of `adapter` -> its peft config."""


def new_adapter(model: Any, section: AdapterSection) -> Any:
    """Return `model` with a fresh adapter, whose weights are fp32 whatever those of the model are.

    Raises:
        ConfigError: no layer has a name in `lora_target_modules`.
    """
    from peft import get_peft_model

    assert section.adapter is not None
    try:
        return get_peft_model(model, ADAPTERS[section.adapter](section))
    except ValueError as error:
        if "target modules" not in str(error).lower():
            raise
        linear = sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if _is_linear(module)})
        raise ConfigError(
            f"`lora_target_modules: {section.lora_target_modules}` names no layer of the model; "
            f"its linear layers are {', '.join(linear)}"
        ) from error


def _is_linear(module: Any) -> bool:
    return type(module).__name__.startswith("Linear")


def load_adapter(model: Any, folder: str, *, trainable: bool = False) -> Any:
    """Return `model` with the adapter saved in `folder`.

    Raises:
        ModelError: there is none, or it belongs to another model.
    """
    from peft import PeftModel

    config = Path(folder) / "adapter_config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no adapter (no adapter_config.json)")
    if not any((config.parent / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise ModelError(f"{folder} holds no adapter weights (no adapter_model.safetensors)")
    made_for = json.loads(config.read_text()).get("base_model_name_or_path")
    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    except (RuntimeError, ValueError, OSError) as error:
        reason = next((line.strip() for line in str(error).split("\n") if "size mismatch" in line), str(error))
        raise ModelError(
            f"the adapter in {folder} does not fit the base model: it was made for {made_for}. {reason:.300}"
        ) from error
