"""Are the processes that run the ones that were asked for? A launcher that silently starts fewer is refused."""

import re
from collections.abc import Sequence
from pathlib import Path

from tunesmith.errors import RunError
from tunesmith.world import World

_ADVICE = "; for N processes on one machine use: torchrun --nproc_per_node N -m tunesmith.cli.train FILE"


def check_launch(hardware_kind: str, world: World) -> None:
    """Refuse to start where the launcher promised what it does not do.

    On a machine without a GPU, `accelerate launch --cpu --num_processes 2` starts one process, and an FSDP setting
    is dropped (accelerate 1.15); neither says so.

    Raises:
        RunError: fewer processes run than were asked for, or FSDP was asked for without a GPU.
    """
    requested = _accelerate_processes(_parent_command())
    if requested is not None and requested > world.size:
        raise RunError(f"`accelerate launch` was asked for {requested} processes but started {world.size}{_ADVICE}")
    if world.backend == "fsdp" and hardware_kind == "cpu":
        raise RunError(f"accelerate drops FSDP on a machine without a GPU{_ADVICE}")


def check_world(num_joined: int, world: World) -> None:
    """Refuse to go on when the processes did not join into one run.

    Raises:
        RunError: each process would train alone and write the same folder.
    """
    if num_joined != world.size:
        raise RunError(
            f"{world.size} processes were started, but they did not join ({num_joined} in this run){_ADVICE}"
        )


def _parent_command() -> list[str]:
    import psutil

    parent = psutil.Process().parent()
    try:
        return parent.cmdline() if parent else []
    except psutil.Error:
        return []


def _accelerate_processes(command: Sequence[str]) -> int | None:
    """Return how many processes an `accelerate launch` command line asks for, or None if it is none or does not say."""
    from accelerate.commands.config.config_args import default_config_file

    text = " ".join(command)
    if not re.search(r"\baccelerate(\S* |\S*[.-])launch\b", text):
        return None
    if match := re.search(r"--num[_-]processes[= ](\d+)", text):
        return int(match[1])
    match = re.search(r"--config[_-]file[= ](\S+)", text)
    file = Path(match[1] if match else default_config_file)
    if file.is_file() and (number := re.search(r"^num_processes:\s*(\d+)", file.read_text(), re.MULTILINE)):
        return int(number[1])
    return None
