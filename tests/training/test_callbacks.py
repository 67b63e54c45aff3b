"""What watches a run beside its steps."""

import gc
import json
import os
import signal

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from tunesmith.errors import RunError
from tunesmith.sections import TrainingSection
from tunesmith.signals import handle_stop_signals
from tunesmith.training import callbacks
from tunesmith.training.callbacks import (
    CleanStop,
    LogLastStep,
    LossWatch,
    Reporter,
    asked_for,
    duration,
    peak_memory,
)
from tunesmith.training.record.run_record import RunRecord
from tunesmith.world import World


@pytest.fixture
def arguments(tmp_path):
    return TrainingArguments(output_dir=str(tmp_path), use_cpu=True, learning_rate=0.5, report_to="none")


@pytest.fixture
def stop():
    """A `CleanStop` that has the signals, until the test ends."""
    made = CleanStop()
    with handle_stop_signals(made.on_signal):
        yield made


def end_step(stop, arguments, step):
    control = TrainerControl(should_evaluate=True)
    stop.on_step_end(arguments, TrainerState(global_step=step, max_steps=10), control)
    return control


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_at_the_end_of_the_step(stop, arguments, number, capsys):
    assert not end_step(stop, arguments, 3).should_training_stop
    os.kill(os.getpid(), number)
    control = end_step(stop, arguments, 4)
    assert (control.should_save, control.should_training_stop, control.should_evaluate) == (True, True, False)
    assert "stopping: saving a checkpoint after this step" in capsys.readouterr().err


def test_a_signal_in_the_last_step_lets_the_run_finish(stop, arguments):
    os.kill(os.getpid(), signal.SIGINT)
    assert not end_step(stop, arguments, 10).should_training_stop


@pytest.mark.usefixtures("stop")
def test_a_second_ctrl_c_stops_at_once():
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def log(watch, arguments, *losses):
    for step, loss in enumerate(losses, start=1):
        watch.on_log(arguments, TrainerState(global_step=step), TrainerControl(), logs={"loss": loss})


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(arguments, loss):
    with pytest.raises(RunError, match=r"the loss at step 2 is (nan|inf); lower `learning_rate` \(0.5\)"):
        log(LossWatch(None, None), arguments, 3.0, loss)


def test_only_losses_in_a_row_above_the_threshold_end_the_run(arguments):
    log(LossWatch(2.0, 2), arguments, 3.0, 1.0, 3.0, 1.0)
    with pytest.raises(RunError, match=r"above loss_watchdog_threshold 2.0 2 times in a row \(now 4.000 at step 3\)"):
        log(LossWatch(2.0, 2), arguments, 1.0, 3.0, 4.0)


def test_without_a_threshold_a_high_loss_is_let_pass(arguments):
    log(LossWatch(None, None), arguments, *[1e9] * 10)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3599, "59:59"), (3661, "1:01:01")])
def test_a_time_is_written_for_people(seconds, text):
    assert duration(seconds) == text


def test_memory_is_in_bytes():
    assert 2**26 < peak_memory() < 2**44


def test_checkpoints_and_a_trace_are_made_when_asked_for(tmp_path, tiny_config, train):
    keys = {
        "save_strategy": "no",
        "max_steps": 5,
        "save_first_step": True,
        "save_only_model": True,
        "save_total_limit": 9,
    }
    keys |= {
        "dynamic_checkpoint": {"enabled": True, "check_interval": 2, "trigger_file_path": "now"},
        "profiler_steps": 1,
        "profiler_steps_start": 1,
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "out/now").touch()
    output = train(tiny_config(tmp_path, **keys))
    assert sorted(item.name for item in output.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert not (output / "now").exists()
    assert (output / "checkpoint-2/adapter_model.safetensors").exists()
    assert not (output / "checkpoint-2/optimizer.pt").exists()
    assert "aten::mm" in {
        event.get("name") for event in json.loads((output / "profiler_trace.json").read_text())["traceEvents"]
    }


def test_the_trace_has_the_steps_that_were_asked_for(arguments, tmp_path):
    keys = {"profiler_steps": 2, "profiler_steps_start": 1}
    (profile,) = asked_for(TrainingSection(learning_rate=1e-3, output_dir=str(tmp_path), **keys), World())
    for step in range(4):
        profile.on_step_begin(arguments, TrainerState(global_step=step, max_steps=9), TrainerControl())
        assert (profile.profiler is not None) == (step in (1, 2))
        profile.on_step_end(arguments, TrainerState(global_step=step + 1, max_steps=9), TrainerControl())
        assert (tmp_path / "profiler_trace.json").exists() == (step >= 2)


def test_python_collects_each_so_many_steps(arguments, tmp_path):
    assert asked_for(TrainingSection(learning_rate=1e-3, output_dir=str(tmp_path)), World()) == []
    training = TrainingSection(learning_rate=1e-3, output_dir=str(tmp_path), gc_collect_steps=3)
    (collect,), runs = asked_for(training, World()), []
    gc.callbacks.append(lambda phase, info: runs.append(phase) if info["generation"] == 2 else None)
    gc.disable()
    for step in range(1, 8):
        collect.on_step_end(arguments, TrainerState(global_step=step), TrainerControl())
    gc.enable()
    gc.callbacks.pop()
    assert runs.count("stop") == 2


def test_what_a_trainer_logs_is_recorded_and_enriched(arguments, tmp_path):
    record = RunRecord(tmp_path / "out/run")
    record.start({}, {})
    reporter, state = Reporter(record), TrainerState(global_step=4, max_steps=8)
    state.num_input_tokens_seen = 0
    reporter.on_train_begin(arguments, state, TrainerControl())
    logs = {"loss": 2.0, "rewards/chosen": 0.5, "epoch": 1.0}
    state.num_input_tokens_seen = 100
    reporter.on_log(arguments, state, TrainerControl(), logs=logs)
    reporter.on_log(arguments, state, TrainerControl(), logs={"eval_loss": 1.0, "eval_bees_loss": 3.0})
    reporter.on_train_end(arguments, state, TrainerControl())
    step, evaluation = record.metrics()
    assert step == {"step": 4, **logs}
    assert (step["rewards/chosen"], step["tokens"]) == (0.5, 100)
    assert step["tokens_per_second"] > 0
    assert evaluation == {"step": 4, "eval_loss": 1.0, "eval_bees_loss": 3.0}
    assert record.about()["steps"] == 8


def test_the_time_of_an_evaluation_amid_steps_is_not_theirs(arguments, tmp_path, monkeypatch):
    clock = iter([0, 10, 70, 90]).__next__  # begin, end of a step, end of the evaluation, the line of steps
    monkeypatch.setattr(callbacks.time, "monotonic", clock)
    record = RunRecord(tmp_path / "run")
    record.start({}, {})
    reporter, state = Reporter(record), TrainerState(global_step=1, max_steps=8)
    reporter.on_train_begin(arguments, state, TrainerControl())
    reporter.on_step_end(arguments, state, TrainerControl())
    reporter.on_log(arguments, state, TrainerControl(), logs={"eval_loss": 1.0})
    state.num_input_tokens_seen = 300
    reporter.on_log(arguments, state, TrainerControl(), logs={"loss": 2.0})
    assert record.metrics()[-1]["tokens_per_second"] == 300 / (10 + 20)


@pytest.mark.parametrize(
    ("step", "control", "early_stopping", "logged"),
    [
        (9, {}, False, False),
        (10, {}, False, True),
        (4, {"should_training_stop": True}, False, True),
        (4, {"should_evaluate": True}, False, False),
        (4, {"should_evaluate": True}, True, True),
    ],
)
def test_the_last_step_is_logged(arguments, step, control, early_stopping, logged):
    control = TrainerControl(**control)
    LogLastStep(early_stopping=early_stopping).on_step_end(
        arguments, TrainerState(global_step=step, max_steps=10), control
    )
    assert control.should_log is logged
