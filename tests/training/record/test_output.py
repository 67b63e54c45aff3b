"""What a run may do with its output folder."""

import time

import pytest

from tunesmith.errors import RunError
from tunesmith.sections import TrainingSection
from tunesmith.training.record.output import (
    changed_settings,
    check_disk,
    full_disk_explained,
    move_aside,
    only_writer,
    starting_point,
)
from tunesmith.world import World


def start(output, *, resume=False, overwrite=False, **keys):
    section = TrainingSection(learning_rate=1e-4, output_dir=str(output), **keys)
    return starting_point(section, resume=resume, overwrite=overwrite)


@pytest.mark.parametrize("mark", ["run/config.yml", "adapter_config.json", "config.json", "checkpoint-3/x"])
def test_a_folder_with_another_run_is_refused_and_moved_aside_only_when_asked(tmp_path, mark):
    output = tmp_path / "out"
    (output / mark).parent.mkdir(parents=True)
    (output / mark).write_text("precious")
    with pytest.raises(RunError, match=r"holds another run .*--resume .*--overwrite .*--output-dir NEW"):
        start(output)
    assert start(output, overwrite=True) is None
    aside = move_aside(output)
    assert not output.exists()
    assert (aside / mark).read_text() == "precious"
    assert aside.name.startswith("out.")


def test_folders_that_are_moved_aside_in_one_second_get_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda form: "20261201-120000")
    names = []
    for _ in range(3):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/config.json").touch()
        names.append(move_aside(tmp_path / "out").name)
    assert names == ["out.20261201-120000", "out.20261201-120000-2", "out.20261201-120000-3"]


def test_a_folder_with_other_things_is_used_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert start(tmp_path) is None
    assert move_aside(tmp_path) is None


def test_a_folder_that_is_not_there_is_a_new_run(tmp_path):
    assert start(tmp_path / "new") is None
    assert start(tmp_path / "new", auto_resume_from_checkpoints=True) is None


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(RunError, match=r"`output_dir: .*out` is a file; choose a folder"):
        start(tmp_path / "out")


def test_one_process_at_a_time_writes_to_a_folder_also_when_the_run_before_is_moved_aside(tmp_path):
    output = tmp_path / "deep/out"
    with only_writer(output, "a run", World()):
        (output / "config.json").touch()
        aside = move_aside(output)
        assert [item.name for item in aside.iterdir()] == ["config.json"]
        another = pytest.raises(RunError, match=r"another process trains a run in .*out; wait for it, or set another")
        with another, only_writer(output, "a run", World()):
            pass
    with only_writer(output, "a run", World()):
        (output / "mine").touch()
    assert [item.name for item in output.iterdir()] == ["mine"]


def test_a_folder_in_which_nothing_was_written_is_gone_again(tmp_path):
    with pytest.raises(ValueError, match="bad data"), only_writer(tmp_path / "out", "a run", World()):
        raise ValueError("bad data")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_said_before_anything_slow(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(RunError, match=r"`output_dir: .*file/out` cannot be written: Not a directory"),
        only_writer(tmp_path / "file/out", "a run", World()),
    ):
        pass
    with (
        pytest.raises(RunError, match=r"`output_dir: .*file` is a file; choose a folder"),
        only_writer(tmp_path / "file", "a run", World()),
    ):
        pass


def test_a_run_larger_than_the_disk_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"MiB free; 3 checkpoints and one being written need about [\d,]+ MiB"):
        check_disk(tmp_path, 2**50, kept=3)
    check_disk(tmp_path / "new", 1000, kept=3)
    assert (tmp_path / "new").is_dir()


def test_other_errors_than_a_full_disk_are_left_alone(tmp_path):
    with pytest.raises(ValueError, match="something else"), full_disk_explained(tmp_path):
        raise ValueError("something else")


def test_a_full_disk_without_a_checkpoint_asks_to_start_again(tmp_path):
    expected = r"no checkpoint had been saved.*start again with --overwrite"
    with pytest.raises(RunError, match=expected), full_disk_explained(tmp_path):
        raise OSError(28, "No space left on device")


def test_changed_settings_are_named_with_both_values():
    before = {"learning_rate": 1e-4, "lora_r": 8, "output_dir": "a"}
    now = {"learning_rate": 2e-4, "lora_r": 8, "output_dir": "b", "seed": 1}
    assert changed_settings(before, now) == ["learning_rate: 0.0001 -> 0.0002", "seed: None -> 1"]
