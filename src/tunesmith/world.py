"""The processes of a run: read once from what the launcher put into the environment, then passed in.

This is the only file that reads these variables.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

from tunesmith.errors import RunError


class World(NamedTuple):
    """The processes of a run, and which of them this is.

    Attributes:
        rank: number of this process among all, from 0.
        local_rank: number of this process on this machine, from 0.
        size: number of processes.
        launcher: `torchrun`, `accelerate` or `env` (another one that sets RANK); empty for a plain start.
        backend: `fsdp` or `deepspeed` if the launcher requested it; empty otherwise.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    launcher: str = ""
    backend: str = ""

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0


LAUNCHERS = {"accelerate": "ACCELERATE_MIXED_PRECISION", "torchrun": "TORCHELASTIC_RUN_ID", "env": "RANK"}
"""Launcher -> a variable that it sets; accelerate starts torchrun's processes, so it comes first."""
BACKENDS = {"fsdp": "ACCELERATE_USE_FSDP", "deepspeed": "ACCELERATE_USE_DEEPSPEED"}


def detect_world(environment: Mapping[str, str] = os.environ) -> World:
    """Return the processes that the launcher started.

    Raises:
        RunError: one of the launcher's variables is not a number.
    """
    launchers = [name for name, variable in LAUNCHERS.items() if variable in environment]
    backends = [name for name, variable in BACKENDS.items() if environment.get(variable, "").lower() == "true"]
    return World(
        rank=_number(environment, "RANK", 0),
        local_rank=_number(environment, "LOCAL_RANK", 0),
        size=_number(environment, "WORLD_SIZE", 1),
        launcher=next(iter(launchers), ""),
        backend=next(iter(backends), ""),
    )


def _number(environment: Mapping[str, str], variable: str, default: int) -> int:
    value = environment.get(variable) or str(default)
    if not value.isdecimal():
        raise RunError(f"{variable}={value} in the environment is not a whole number; unset it, or start by a launcher")
    return int(value)
