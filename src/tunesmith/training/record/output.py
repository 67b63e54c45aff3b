"""Who may write to the output folder: a new run, or one that goes on. Nothing of another run is overwritten."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tunesmith.errors import RunError
from tunesmith.files import hold_lock
from tunesmith.sections import TrainingSection
from tunesmith.training.record.checkpoints import find_checkpoint, remove_broken, whole_checkpoints
from tunesmith.training.record.run_record import RunRecord
from tunesmith.world import World

MARGIN = 100 * 2**20
"""Bytes that a run needs besides its checkpoints."""


LOCK = ".lock"
"""File in the folder of a run or of a sweep that whoever writes there holds."""


@contextmanager
def only_writer(folder: Path, what: str, world: World) -> Iterator[None]:
    """Make a folder and hold it, so that no other process writes `what` there; the first process does so for all.

    Raises:
        RunError: another one has it, or it cannot be made.
    """
    if not world.is_main:
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise RunError(f"`output_dir: {folder}` is a file; choose a folder")
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            busy = f"another process trains {what} in {folder}; wait for it, or set another --output-dir"
            stack.enter_context(hold_lock(folder / LOCK, busy))
        except OSError as error:
            raise RunError(f"`output_dir: {folder}` cannot be written: {error.strerror}") from None
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()  # if nothing was written


def starting_point(training: TrainingSection, *, resume: bool, overwrite: bool) -> Path | None:
    """Return the checkpoint to go on from, or None for a run that starts anew.

    Raises:
        RunError: the folder holds another run and neither resuming nor overwriting was asked for, or there is no
            checkpoint to resume from.
    """
    output = Path(training.output_dir)
    if output.exists() and not output.is_dir():
        raise RunError(f"`output_dir: {output}` is a file; choose a folder")
    if training.resume_from_checkpoint:
        return find_checkpoint(training.resume_from_checkpoint, output)
    if resume:
        return find_checkpoint("last", output)
    if training.auto_resume_from_checkpoints and whole_checkpoints(output):
        return find_checkpoint("last", output)
    if overwrite or not _holds_a_run(output):
        return None
    status = RunRecord(output / "run").about().get("status", "of unknown state")
    raise RunError(
        f"`output_dir: {output}` holds another run ({status}): --resume goes on from its last checkpoint, "
        "--overwrite moves it aside and starts anew, --output-dir NEW leaves it alone"
    )


def _holds_a_run(output: Path) -> bool:
    marks = ("run", "adapter_config.json", "config.json", "model.safetensors")
    return output.is_dir() and (any((output / mark).exists() for mark in marks) or any(output.glob("checkpoint-*")))


def move_aside(output: Path) -> Path | None:
    """Rename a folder that holds a run, and return its new name; nothing is deleted."""
    if not _holds_a_run(output):
        return None
    stamped = output.with_name(f"{output.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    aside, count = stamped, 1
    while aside.exists():  # another run was moved aside in the same second
        count += 1
        aside = stamped.with_name(f"{stamped.name}-{count}")
    output.rename(aside)
    if (aside / LOCK).exists():  # it is ours, and stays with the folder's name
        output.mkdir()
        (aside / LOCK).rename(output / LOCK)
    return aside


def check_disk(output: Path, checkpoint_bytes: int, kept: int) -> None:
    """Refuse to start a run whose checkpoints will not fit on the disk.

    Raises:
        RunError: names the space that is needed and that is free.
    """
    output.mkdir(parents=True, exist_ok=True)
    needed = checkpoint_bytes * (kept + 1) + MARGIN
    free = shutil.disk_usage(output).free
    if free < needed:
        raise RunError(
            f"{output} has {free / 2**20:,.0f} MiB free; {kept} checkpoints and one being written need about "
            f"{needed / 2**20:,.0f} MiB. Free some, set `output_dir` on another disk, or lower `save_total_limit`"
        )


@contextmanager
def full_disk_explained(output: Path) -> Iterator[None]:
    """Turn a write that fails in here because the disk is full into an error that says so.

    Raises:
        RunError: the disk is full; the checkpoints that are left are whole.
    """
    try:
        yield
    except Exception as error:  # torch and safetensors have classes of their own for it
        if not _is_disk_full(output, error):
            raise
        remove_broken(output)
        whole = whole_checkpoints(output)
        last = f"the last whole checkpoint is {whole[-1].name}" if whole else "no checkpoint had been saved"
        again = "go on with --resume" if whole else "start again with --overwrite"
        raise RunError(f"the disk of {output} is full; {last}. Free some space, then {again}") from error


def _is_disk_full(output: Path, error: Exception) -> bool:
    text = str(error).lower()
    if "no space left" in text:
        return True
    return shutil.disk_usage(output).free < 2**20 and ("writ" in text or "unexpected pos" in text)


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the settings that a resumed run changes, as `key: old -> new`."""
    free = {"resume_from_checkpoint", "auto_resume_from_checkpoints", "output_dir", "dataset_prepared_path"}
    keys = [key for key in {**before, **now} if key not in free and before.get(key) != now.get(key)]
    return [f"{key}: {before.get(key)} -> {now.get(key)}" for key in keys]
