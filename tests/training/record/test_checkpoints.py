"""Which checkpoints are whole, and which one is resumed from."""

import json

import pytest

from tunesmith.errors import RunError
from tunesmith.training.record.checkpoints import find_checkpoint, remove_broken, step_of, whole_checkpoints

PARTS = ("adapter_model.safetensors", "optimizer.pt", "trainer_state.json")


def save(folder, name, step, *, without=None):
    checkpoint = folder / name
    checkpoint.mkdir()
    for part in PARTS:
        if part != without:
            (checkpoint / part).write_text(json.dumps({"global_step": step}))
    return checkpoint


def test_whole_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    made = [save(tmp_path, f"checkpoint-{step}", step) for step in (100, 9, 20)]
    (tmp_path / "checkpoint-best").mkdir()
    assert whole_checkpoints(tmp_path) == [made[1], made[2], made[0]]


@pytest.mark.parametrize("part", PARTS)
def test_a_checkpoint_without_one_of_its_files_is_not_whole(tmp_path, part):
    save(tmp_path, "checkpoint-3", 3)
    save(tmp_path, "checkpoint-6", 6, without=part)
    assert [item.name for item in whole_checkpoints(tmp_path)] == ["checkpoint-3"]
    # `save_only_model` leaves the optimizer out on purpose
    assert remove_broken(tmp_path) == ([] if part == "optimizer.pt" else ["checkpoint-6"])
    assert (tmp_path / "checkpoint-3").exists()


def test_a_checkpoint_with_a_torn_state_is_not_whole(tmp_path):
    (save(tmp_path, "checkpoint-6", 6) / "trainer_state.json").write_text('{"global_st')
    assert whole_checkpoints(tmp_path) == []


def test_the_step_does_not_depend_on_the_name_of_the_folder(tmp_path):
    assert step_of(save(tmp_path, "the-best-one", 12)) == 12


def test_the_last_whole_checkpoint_is_found(tmp_path):
    save(tmp_path, "checkpoint-9", 9)
    save(tmp_path, "checkpoint-10", 10)
    save(tmp_path, "checkpoint-11", 11, without="optimizer.pt")
    assert find_checkpoint("last", tmp_path).name == "checkpoint-10"


def test_a_named_checkpoint_is_found_anywhere(tmp_path):
    (tmp_path / "out").mkdir()
    kept = save(tmp_path, "kept", 5)
    assert find_checkpoint(str(kept), tmp_path / "out") == kept


def test_a_named_checkpoint_that_is_not_whole_lists_those_that_are(tmp_path):
    save(tmp_path, "checkpoint-3", 3)
    broken = save(tmp_path, "checkpoint-6", 6, without="optimizer.pt")
    with pytest.raises(RunError, match=r"`resume_from_checkpoint: .*checkpoint-6` is no whole.* holds: checkpoint-3"):
        find_checkpoint(str(broken), tmp_path)


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(RunError, match="holds no checkpoint to resume from; start without --resume"):
        find_checkpoint("last", tmp_path / "missing")
