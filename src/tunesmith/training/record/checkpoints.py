"""Checkpoints in an output folder: which are whole, which one to go on from, and what a failed save leaves behind."""

import json
import re
import shutil
from pathlib import Path

from tunesmith.errors import RunError

WEIGHTS = ("*.safetensors", "pytorch_model_fsdp_*", "global_step*")
"""What weights are saved as: whole, split by FSDP, and by DeepSpeed."""
OPTIMIZER = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")
"""The same of the optimizer's state; `.bin` is FSDP's whole one."""

DATA_FILE = "prepared_data.json"
"""File of a checkpoint with the names of the prepared data that it was trained on."""


def read_prepared(checkpoint: Path) -> list[str] | None:
    """Return the names of the prepared data that a checkpoint was trained on; None if nobody knows.

    A checkpoint of an earlier version has the record of its run beside it.
    """
    for file in (checkpoint / DATA_FILE, checkpoint.resolve().parent / "run/run.json"):
        if file.exists() and (prepared := json.loads(file.read_text()).get("prepared")):
            return list(prepared)
    return None


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step at which a whole checkpoint was saved, whatever its folder is called now."""
    return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])


def stopped_early(checkpoint: Path, patience: int | None) -> bool:
    """Return whether early stopping had ended the run when a checkpoint was saved."""
    callbacks = json.loads((checkpoint / "trainer_state.json").read_text()).get("stateful_callbacks") or {}
    state = callbacks.get("EarlyStopping", {}).get("attributes", {})
    return patience is not None and state.get("early_stopping_patience_counter", 0) >= patience


def whole_checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints that were saved to the end, oldest first. A kill in the middle leaves one that is not."""
    folders = [item for item in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", item.name)]
    return sorted((item for item in folders if _is_whole(item)), key=step_of)


def _is_whole(checkpoint: Path) -> bool:
    """With `save_only_model` a checkpoint has no optimizer: it was saved to the end, but no run can go on from it."""
    return _is_saved(checkpoint) and _holds(checkpoint, OPTIMIZER)


def _is_saved(checkpoint: Path) -> bool:
    """The Trainer writes its state last, after weights, optimizer and random state."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return _holds(checkpoint, WEIGHTS)


def _holds(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(item for pattern in patterns for item in folder.glob(pattern))


def remove_broken(output_dir: Path) -> list[str]:
    """Remove checkpoints that were not saved to the end and return their names; they can't be resumed from."""
    broken = [item for item in output_dir.glob("checkpoint-*") if item.is_dir() and not _is_saved(item)]
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
