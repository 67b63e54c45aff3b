"""In which number formats the weights lie and the products are computed, decided once and printed."""

from dataclasses import dataclass, replace
from typing import Literal

from tunesmith.hardware import Hardware
from tunesmith.sections import ModelSection

Format = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Precision:
    """Number formats of a run.

    Attributes:
        compute: format of matrix products, by autocast.
        frozen: format of weights that are not trained.
        trained: format of weights that are, and so of the optimizer's state.
        reason: why, for the user.
        tf32: whether what stays in fp32 is multiplied in TF32; None leaves it to torch.
    """

    compute: Format
    frozen: Format
    trained: Format
    reason: str
    tf32: bool | None = None

    @property
    def autocast(self) -> bool:
        """Whether products are computed in bf16 from weights in fp32."""
        return self.trained == "float32" and self.compute == "bfloat16"


def choose_precision(model: ModelSection, hardware: Hardware) -> Precision:
    """Return the number formats for a run on this machine."""
    tf32 = None if model.tf32 == "auto" or hardware.kind != "cuda" else model.tf32
    return replace(_formats(model, hardware), tf32=tf32)


def _formats(model: ModelSection, hardware: Hardware) -> Precision:
    if model.fp16 or model.float16:
        setting = "fp16: true" if model.fp16 else "float16: true"
        if hardware.kind == "cpu":
            return Precision("float32", "float32", "float32", f"{setting} needs a GPU; fp32 in its place rounds less")
        return Precision("float16", "float16", "float32" if model.fp16 else "float16", setting)
    if model.bf16 == "full":
        return Precision("bfloat16", "bfloat16", "bfloat16", "bf16: full")
    if model.bf16 is True:
        slow = "" if hardware.bf16 else ", although this machine only emulates it, slowly; set bf16: auto"
        return Precision("bfloat16", "bfloat16", "float32", "bf16: true" + slow)
    if model.bf16 == "auto" and hardware.bf16:
        return Precision("bfloat16", "bfloat16", "float32", f"bf16: auto, and this {hardware.kind} computes in it")
    reason = "bf16: false" if model.bf16 is False else f"bf16: auto, and this {hardware.kind} has no bf16"
    return Precision("float32", "float32", "float32", reason)
