"""The record of a run survives being cut off, and draws its curve."""

import json

import pytest

from tunesmith.training.record.run_record import RunRecord

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def record(tmp_path):
    made = RunRecord(tmp_path / "out/run")
    made.start({"base_model": "x", "lora_r": 8}, {"source": "x.yml"})
    return made


def entries(*steps):
    return [{"step": step, "loss": 3.0 / step} for step in steps]


def test_the_start_records_config_versions_and_command(record):
    about = record.about()
    assert record.config_file.read_text() == "base_model: x\nlora_r: 8\n"
    assert about["status"] == "running"
    assert about["source"] == "x.yml"
    assert {"tunesmith", "torch", "transformers"} <= about["versions"].keys()


def test_an_update_keeps_the_other_entries(record):
    record.update({"status": "finished"})
    assert record.about()["status"] == "finished"
    assert record.about()["source"] == "x.yml"
    assert not list(record.folder.glob("*.tmp"))


def test_there_is_nothing_to_read_before_the_start(tmp_path):
    empty = RunRecord(tmp_path / "run")
    assert empty.about() == {}
    assert empty.metrics() == []


def test_metrics_come_back_as_they_were_added(record):
    for entry in entries(1, 2):
        record.add_metrics(entry)
    assert record.metrics() == entries(1, 2)


def test_a_torn_last_line_is_left_out_and_removed_on_resuming(record):
    for entry in entries(1, 2):
        record.add_metrics(entry)
    with record.metrics_file.open("a") as stream:
        stream.write('{"step": 3, "lo')
    assert record.metrics() == entries(1, 2)
    record.forget_after(2)
    record.add_metrics(entries(3)[0])
    assert [json.loads(line) for line in record.metrics_file.read_text().splitlines()] == entries(1, 2, 3)


def test_steps_after_the_checkpoint_are_forgotten(record):
    for entry in [*entries(1, 2), {"step": 2, "eval_loss": 1.0}, *entries(3)]:
        record.add_metrics(entry)
    record.forget_after(2)
    assert record.metrics() == [*entries(1, 2), {"step": 2, "eval_loss": 1.0}]


def test_the_curve_is_a_picture(record):
    for entry in [*entries(1, 2, 3), {"step": 3, "eval_loss": 1.0}]:
        record.add_metrics(entry)
    file = record.plot()
    assert file == record.folder / "loss.png"
    assert file.read_bytes().startswith(PNG)


def test_without_losses_there_is_no_curve(record):
    assert record.plot() is None
    assert not (record.folder / "loss.png").exists()


def test_a_failure_is_written_down_and_goes_on(record):
    with pytest.raises(ValueError, match="broken"), record.failure_noted(True):
        raise ValueError("broken")
    assert record.about()["status"] == "failed"
