"""What the machine is: detected once, passed in, faked in tests. The only file that asks torch about devices."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Hardware:
    """The devices that a run computes on.

    Attributes:
        kind: `cpu`, `cuda` or `mps`.
        count: number of devices (1 on a CPU, however many cores).
        name: what the device calls itself.
        memory: bytes of one device's memory; of the machine's memory on a CPU.
        bf16: whether bfloat16 arithmetic is native, hence fast.
        flash_attention: whether the `flash_attn` package and a GPU for it are there.
        quantised_optimizer: whether bitsandbytes' 8-bit optimizers run.
    """

    kind: Literal["cpu", "cuda", "mps"]
    count: int
    name: str
    memory: int
    bf16: bool
    flash_attention: bool = False
    quantised_optimizer: bool = False

    def __str__(self) -> str:
        return f"{self.count} x {self.name}, {self.memory / 2**30:.0f} GiB, bf16 {'yes' if self.bf16 else 'no'}"


def detect() -> Hardware:
    """Return the machine's best kind of device."""
    import torch

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Hardware(
            kind="cuda",
            count=torch.cuda.device_count(),
            name=properties.name,
            memory=properties.total_memory,
            bf16=torch.cuda.is_bf16_supported(including_emulation=False),
            flash_attention=importlib.util.find_spec("flash_attn") is not None,
            quantised_optimizer=importlib.util.find_spec("bitsandbytes") is not None,
        )
    if torch.backends.mps.is_available():
        return Hardware(kind="mps", count=1, name="Apple GPU", memory=_machine_memory(), bf16=True)
    return Hardware(
        kind="cpu",
        count=1,
        name=f"CPU ({os.cpu_count()} cores)",
        memory=_machine_memory(),
        bf16=_cpu_has_bf16(),
        quantised_optimizer=importlib.util.find_spec("bitsandbytes") is not None,
    )


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; without that bf16 is slower than fp32."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
