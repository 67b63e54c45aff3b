"""Checkpoints in an output folder: which are whole, which one to go on from, and what a failed save leaves behind."""

import json
import re
import shutil
from pathlib import Path

from tunesmith.errors import RunError


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step at which a whole checkpoint was saved, whatever its folder is called now."""
    return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])


def whole_checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints that were saved to the end, oldest first. A kill in the middle leaves one that is not."""
    found = [item for item in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", item.name)]
    return sorted((item for item in found if _is_whole(item)), key=step_of)


def _is_whole(checkpoint: Path) -> bool:
    """The Trainer writes its state last, after weights, optimizer and random state."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return any(checkpoint.glob("*.safetensors")) and (checkpoint / "optimizer.pt").exists()


def remove_broken(output_dir: Path) -> list[str]:
    """Remove checkpoints that were not saved to the end and return their names; they can't be resumed from."""
    whole = set(whole_checkpoints(output_dir))
    broken = [item for item in output_dir.glob("checkpoint-*") if item.is_dir() and item not in whole]
    for item in broken:
        shutil.rmtree(item)
    return [item.name for item in broken]


def find_checkpoint(named: str, output_dir: Path) -> Path:
    """Return the checkpoint to resume from: the folder `named`, or the last whole one for `last`.

    Raises:
        RunError: there is none.
    """
    whole = whole_checkpoints(output_dir)
    if named == "last":
        if not whole:
            raise RunError(f"{output_dir} holds no checkpoint to resume from; start without --resume")
        return whole[-1]
    checkpoint = Path(named)
    if not checkpoint.is_dir() or not _is_whole(checkpoint):
        names = ", ".join(item.name for item in whole) or "none"
        raise RunError(f"`resume_from_checkpoint: {named}` is no whole checkpoint; {output_dir} holds: {names}")
    return checkpoint
