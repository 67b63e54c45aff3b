"""Kernels and compilation that make a GPU faster: switched on where they are to be had, and said where not."""

from importlib.util import find_spec
from typing import Any

import torch

from tunesmith.hardware import Hardware
from tunesmith.sections import ModelSection, TrainingSection
from tunesmith.sections.model import EXPERT_KERNELS
from tunesmith.training.arguments import Decision

LIGER = {
    "liger_rope": ("rope",),
    "liger_rms_norm": ("rms_norm",),
    "liger_layer_norm": ("layer_norm",),
    "liger_glu_activation": ("swiglu", "geglu"),
    "liger_cross_entropy": ("cross_entropy",),
    "liger_fused_linear_cross_entropy": ("fused_linear_cross_entropy",),
}
"""Keys -> Liger's names; it takes those that a model has."""


def kernel_arguments(model: ModelSection, hardware: Hardware) -> tuple[dict[str, Any], list[Decision]]:
    """Return transformers' arguments for kernels and compilation, and what was decided about them."""
    arguments, decisions = _compilation(model, hardware)
    classes = [name.rsplit(".", 1)[-1] for name in model.plugins]
    kernels = [key for key in LIGER if "LigerPlugin" in classes and getattr(model, key)]
    if "CutCrossEntropyPlugin" in classes and model.cut_cross_entropy:
        kernels.append("liger_fused_linear_cross_entropy")
    if kernels and hardware.kind == "cuda" and find_spec("liger_kernel"):
        switches = {name: key in kernels for key, names in LIGER.items() for name in names}
        arguments |= {"use_liger_kernel": True, "liger_kernel_config": switches}
        decisions.append(Decision("kernels", ", ".join(kernels), f"by {' and '.join(classes)}"))
    elif classes:
        reason = (
            f"{' and '.join(classes)}: needs an NVIDIA GPU and liger-kernel; speed and memory only, the same result"
        )
        decisions.append(Decision("kernels", "plain code", reason))
    if model.experts_implementation in EXPERT_KERNELS:
        reason = f"in place of {model.experts_implementation}, a kernel for some GPUs; the same result"
        decisions.append(Decision("experts", "as transformers chooses", reason))
    return arguments, decisions


def fuse_layers(model: torch.nn.Module, section: ModelSection, hardware: Hardware) -> Decision:
    """Put fused layers into the model where they are faster, and return what was done."""
    if hardware.kind != "cpu" or not section.fused_layers:
        reason = "fused_layers: false" if hardware.kind == "cpu" else f"the {hardware.kind} has kernels of its own"
        return Decision("layers", "plain", reason)
    from tunesmith.modeling.fused import LEFT, fuse

    counts = fuse(model)
    others = f"; {count} {LEFT}" if (count := counts.pop(LEFT, 0)) else ""
    fused = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    if not fused:
        return Decision("layers", "plain", f"none is of a form that is faster here{others}")
    return Decision("layers", f"fused: {fused}{others}", "fewer passes over memory; the same result")


def spare_checkpointing(
    model: torch.nn.Module, training: TrainingSection, tokens: int, hardware: Hardware
) -> tuple[TrainingSection, list[Decision]]:
    """Return the section without `gradient_checkpointing` where what it saves fits a CPU's memory, and say so.

    Args:
        model: the model to train.
        training: the section.
        tokens: the most that go through the model at once.
        hardware: the machine.
    """
    if not training.gradient_checkpointing or hardware.kind != "cpu":
        return training, []
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    num_bytes = sum(module.in_features + module.out_features for module in linear) * tokens * 4  # if all is in fp32
    if not linear or num_bytes > hardware.memory / 4:
        return training, []
    reason = f"what it saves, at most {num_bytes / 2**30:.1f} GiB, fits; the same result in three quarters of the time"
    changed = training.model_copy(update={"gradient_checkpointing": False})
    return changed, [Decision("gradient_checkpointing", "off", reason)]


def _compilation(model: ModelSection, hardware: Hardware) -> tuple[dict[str, Any], list[Decision]]:
    if not model.torch_compile:
        return {}, []
    if model.torch_compile == "auto" or hardware.kind != "cuda":
        reason = "rows differ in length" if model.torch_compile == "auto" else f"on a {hardware.kind} it gains nothing"
        return {}, [Decision("torch_compile", "off", f"{model.torch_compile}: {reason}; speed only, the same result")]
    settings = {"torch_compile_backend": model.torch_compile_backend, "torch_compile_mode": model.torch_compile_mode}
    return {"torch_compile": True, **settings}, [Decision("torch_compile", "on", "as set")]
