"""Runs that end in the middle, by a signal, a kill or a full disk, and go on as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from tunesmith.cli.train import main

STEPS = 60
KEYS = {"max_steps": STEPS, "save_steps": 10, "save_total_limit": 10, "lora_dropout": 0.1}
"""With dropout, so that the random state has to be resumed too."""


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, tiny_config, train):
    """The output of a run that nothing interrupted."""
    return train(tiny_config(tmp_path_factory.mktemp("whole"), **KEYS))


@pytest.fixture
def interrupted_run(whole_run, tiny_config, tmp_path):
    """A config whose output folder is that of the whole run as it was at step 30."""
    output = tmp_path / "out"
    shutil.copytree(whole_run, output)
    for step in (40, 50, 60):
        shutil.rmtree(output / f"checkpoint-{step}")
    return tiny_config(tmp_path, **KEYS)


def test_a_resumed_run_has_the_losses_of_one_in_one_go(whole_run, interrupted_run, train, losses):
    output = train(interrupted_run, "--resume")
    assert losses(output) == losses(whole_run)
    assert list(losses(output)) == list(range(1, STEPS + 1))


def test_the_weights_are_those_of_one_in_one_go(whole_run, interrupted_run, train):
    import torch
    from safetensors.torch import load_file

    output = train(interrupted_run, "--resume")
    expected, found = (load_file(folder / "adapter_model.safetensors") for folder in (whole_run, output))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_auto_resume_takes_the_last_checkpoint(whole_run, interrupted_run, train, losses):
    output = train(interrupted_run, "--auto-resume-from-checkpoints", "true")
    assert losses(output) == losses(whole_run)


def test_a_checkpoint_under_another_name_is_resumed_from_its_step(whole_run, interrupted_run, train, losses, tmp_path):
    (tmp_path / "out/checkpoint-20").rename(tmp_path / "kept")
    output = train(interrupted_run, "--resume-from-checkpoint", str(tmp_path / "kept"))
    assert losses(output) == losses(whole_run)


def test_resuming_skips_and_removes_a_checkpoint_that_was_not_saved_to_the_end(
    whole_run, interrupted_run, train, losses, capsys
):
    broken = interrupted_run.parent / "out/checkpoint-40"
    broken.mkdir()
    (broken / "adapter_model.safetensors").write_bytes(b"half")
    output = train(interrupted_run, "--resume")
    assert "removed checkpoint-40, which was not saved to the end" in capsys.readouterr().err
    assert losses(output) == losses(whole_run)


def test_resuming_with_another_setting_says_so(interrupted_run, train, capsys):
    train(interrupted_run, "--resume", "--learning-rate", "0.005", "--max-steps", "31")
    assert "warning: resuming with another setting: learning_rate: 0.01 -> 0.005" in capsys.readouterr().err


def test_resuming_with_other_data_is_refused(interrupted_run, write_jsonl, tmp_path, capsys):
    rows = write_jsonl(tmp_path / "other.jsonl", [{"text": f"Another text, number {n}."} for n in range(12)])
    assert main([str(interrupted_run), "--resume", "--datasets.0.path", str(rows)]) == 5
    assert "the data is not what the run of" in capsys.readouterr().err


@pytest.mark.parametrize("copied", [False, True])
def test_a_checkpoint_of_a_run_on_other_rows_is_refused_in_another_folder(
    copied, whole_run, tiny_config, write_jsonl, tmp_path, capsys
):
    rows = write_jsonl(tmp_path / "other.jsonl", [{"text": f"Another text, number {n}."} for n in range(12)])
    config = tiny_config(tmp_path, **KEYS | {"datasets": [{"path": str(rows), "type": "completion"}]})
    checkpoint = max(whole_run.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    if copied:  # away from the record of its run
        checkpoint = shutil.copytree(checkpoint, tmp_path / "kept")
    assert main([str(config), "--resume-from-checkpoint", str(checkpoint)]) == 5
    assert f"the data is not what the run of {checkpoint} began with" in capsys.readouterr().err


def test_resuming_a_finished_run_trains_no_further_and_says_so(whole_run, tiny_config, train, losses, tmp_path, capsys):
    shutil.copytree(whole_run, tmp_path / "out")
    output = train(tiny_config(tmp_path, **KEYS), "--resume")
    assert losses(output) == losses(whole_run)
    assert "warning: no step was left to train: the checkpoint is of step" in capsys.readouterr().err


def test_resuming_without_a_checkpoint_is_refused(tiny_config, tmp_path, capsys):
    assert main([str(tiny_config(tmp_path)), "--resume"]) == 5
    assert "holds no checkpoint to resume from; start without --resume" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_the_run_can_go_on(
    number, whole_run, tiny_config, tmp_path, start, wait_for_line, train, losses
):
    config = tiny_config(tmp_path, **KEYS, save_strategy="steps")
    process = start(config)
    wait_for_line(process, "step 12/60")
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    about = json.loads((tmp_path / "out/run/run.json").read_text())
    assert process.returncode == 130, rest
    assert f"stopped at step {about['step']} of 60; saved {tmp_path}/out/checkpoint-{about['step']}." in rest
    assert "with the same command and --resume" in rest
    assert about["status"] == "interrupted"
    assert 12 <= about["step"] < 60
    assert "Traceback" not in rest
    assert losses(train(config, "--resume")) == losses(whole_run)


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_checkpoint(
    whole_run, tiny_config, tmp_path, start, wait_for_line, train, losses
):
    config = tiny_config(tmp_path, **KEYS)
    process = start(config)
    wait_for_line(process, "step 24/60")
    process.kill()
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out/checkpoint-60").exists()
    assert losses(train(config, "--resume")) == losses(whole_run)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own; `small_disk(MiB)` mounts it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(mebibytes):
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small file system needs root")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def fill_when(seen: Path, filler: Path) -> threading.Thread:
    """Fill the disk of `filler` as soon as `seen` exists."""

    def fill():
        while not seen.exists():
            time.sleep(0.002)
        free = shutil.disk_usage(filler.parent).free
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, free)

    thread = threading.Thread(target=fill)
    thread.start()
    return thread


def test_a_disk_that_is_too_small_is_said_before_the_first_step(small_disk, tiny_config, tmp_path, capsys):
    disk = small_disk(50)
    assert main([str(tiny_config(tmp_path, **KEYS, output_dir=str(disk / "out")))]) == 5
    error = capsys.readouterr().err
    assert "MiB free; 10 checkpoints and one being written need about" in error
    assert "lower `save_total_limit`" in error


def test_a_disk_that_fills_later_ends_the_run_with_its_checkpoints_whole(
    small_disk, whole_run, tiny_config, tmp_path, capsys, train, losses
):
    disk = small_disk(160)
    config = tiny_config(tmp_path, **KEYS, output_dir=str(disk / "out"))
    filling = fill_when(disk / "out/checkpoint-10/prepared_data.json", disk / "filler")
    assert main([str(config)]) == 5
    filling.join()
    error = capsys.readouterr().err
    assert f"error: the disk of {disk}/out is full; the last whole checkpoint is checkpoint-" in error
    assert "go on with --resume" in error
    assert "Traceback" not in error
    (disk / "filler").unlink()
    assert main([str(config), "--resume"]) == 0
    assert losses(disk / "out") == losses(whole_run)


def test_a_disk_that_is_full_when_the_result_is_saved_is_said_too(small_disk, tiny_config, tmp_path, capsys):
    disk = small_disk(160)
    keys = {"max_steps": 200, "save_strategy": "no", "logging_steps": 1000, "output_dir": str(disk / "out")}
    filling = fill_when(disk / "out/run/metrics.jsonl", disk / "filler")
    assert main([str(tiny_config(tmp_path, **keys))]) == 5
    filling.join()
    assert f"error: the disk of {disk}/out is full" in capsys.readouterr().err


def test_a_setting_recorded_of_a_run_can_be_read_back(whole_run):
    assert yaml.safe_load((whole_run / "run/config.yml").read_text())["max_steps"] == STEPS
