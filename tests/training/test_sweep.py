"""Sweeps of real runs of a tiny model: stopped, killed, gone on with; the table that they end in."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import fake_trials
import psutil
import pytest
from filelock import FileLock

from tunesmith.cli.train import main
from tunesmith.config.trials import read_sweep
from tunesmith.errors import RunError
from tunesmith.training.sweep import result, run_sweep, table, write_table

KEYS = {"max_steps": 60, "save_steps": 10, "lora_dropout": 0.1, "val_set_size": 2}
SWEEP = """_:
- {learning_rate: 0.01, lora_r: 4}
- {learning_rate: 0.01, loraplus_lr_ratio: 1e+30}
- {learning_rate: 0.01, lora_r: 8}"""
FIRST, BROKEN, LAST = (f"learning_rate=0.01,{key}" for key in ("lora_r=4", "loraplus_lr_ratio=1e+30", "lora_r=8"))
"""The trials; the second loses its numbers."""


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_config):
    """A config and a sweep file."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = folder / "sweep.yml"
    sweep.write_text(SWEEP)
    return [str(tiny_config(folder, **KEYS)), "--sweep", str(sweep)]


@pytest.fixture(scope="module")
def swept(files, start, wait_for_line):
    """The exit code of a sweep that was killed in its first trial and then went on to its end, and its folder."""
    process = start(*files)
    wait_for_line(process, "step 27/60")
    process.kill()
    process.communicate(timeout=120)  # until the trial has ended too
    output = Path(files[0]).parent / "out"
    assert not (output / FIRST / "checkpoint-60").exists()
    return main(files), output


def results(output):
    return {line["trial"]: line for line in map(json.loads, (output / "sweep.jsonl").read_text().splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rank"), [(FIRST, 4), (LAST, 8)])
def test_a_trial_is_the_run_that_it_would_be_by_itself_also_after_a_kill(
    name, rank, swept, files, tmp_path, losses, metrics
):
    code, output = swept
    alone = tmp_path / "alone"
    options = ["--learning-rate", "0.01", "--lora-r", str(rank), "--output-dir", str(alone)]
    assert main([files[0], *options]) == 0
    assert losses(output / name) == losses(alone)
    evals, expected = ([m["eval_loss"] for m in metrics(run) if "eval_loss" in m] for run in (output / name, alone))
    assert evals == expected
    found = results(output)[name]
    assert (found["loss"], found["eval_loss"]) == (losses(alone)[60], expected[-1])
    assert (found["steps"], found["lora_r"], found["status"]) == (60, rank, "finished")
    assert found["tokens_per_second"] > 0
    assert code == 5


@pytest.mark.slow
def test_the_table_has_the_best_first_and_failures_last_with_their_reason(swept):
    _, output = swept
    first, second, last = results(output).values()
    assert first["eval_loss"] < second["eval_loss"]
    assert last["trial"] == BROKEN
    assert last["status"] == "failed: the loss at step 3 is nan; lower `learning_rate` (0.01)"
    lines = (output / "sweep.md").read_text().splitlines()
    names = "trial learning_rate lora_r eval_loss loss steps seconds tokens_per_second status loraplus_lr_ratio"
    assert lines[0].replace("|", " ").split() == names.split()
    assert lines[2].split()[1] == first["trial"]
    assert len({len(line) for line in lines[:5]}) == 1


@pytest.mark.slow
def test_a_dry_run_says_what_is_done_and_trains_nothing(swept, files, capsys):
    assert main([*files, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[-3].strip() for line in lines[2:]] == ["finished", "starts again", "finished"]


@pytest.mark.slow
def test_a_trial_with_other_settings_is_not_taken_for_done(swept, files, capsys):
    assert main([*files, "--dry-run", "--max-steps", "61"]) == 5
    error = capsys.readouterr().err
    assert f"{swept[1]}/{FIRST} holds a trial with other settings: max_steps: 60 -> 61" in error
    assert "undo the change, or set another --output-dir" in error


@pytest.fixture
def three(tmp_path, tiny_config):
    """Three trials that have not been trained."""
    (tmp_path / "sweep.yml").write_text("seed: [1, 2, 3]\n")
    return read_sweep(str(tiny_config(tmp_path)), str(tmp_path / "sweep.yml"))


@pytest.mark.parametrize(
    ("train_one", "code", "status"),
    [
        (fake_trials.fail, None, "failed: the disk is full"),
        (fake_trials.be_killed, None, "failed: its process was ended by SIGKILL; was there no memory left?"),
        (
            fake_trials.be_too_large,
            None,
            "failed: the GPU has no memory left; lower `micro_batch_size` or `sequence_len`",
        ),
        (fake_trials.break_down, 1, None),
    ],
)
def test_a_failed_trial_lets_the_others_go_on_and_a_fault_of_ours_does_not(
    train_one, code, status, three, tmp_path, capfd
):
    if code is None:
        with pytest.raises(RunError, match="3 of 3 trials failed; the same command tries them again"):
            run_sweep(three, train_one)
        assert [line["status"] for line in results(tmp_path / "out").values()] == [status] * 3
    else:
        assert run_sweep(three, train_one) == code
        printed = capfd.readouterr().err
        assert "ZeroDivisionError: a fault of ours" in printed
        assert "trial 2/3" not in printed
        first = next(iter(results(tmp_path / "out").values()))
        assert first["status"] == "failed: a fault of Tunesmith; its traceback was printed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_sweep_when_the_trial_has_stopped(number, three, capfd):
    """The terminal sends Ctrl-C to all processes; it alone is not passed on, as twice would mean at once."""

    def send():
        while not three[0].output.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)
        if number == signal.SIGINT:
            psutil.Process().children()[-1].terminate()

    thread = threading.Thread(target=send)
    thread.start()
    assert run_sweep(three, fake_trials.work) == 130
    thread.join()
    printed = capfd.readouterr().err
    assert "trial 2/3" not in printed
    assert "the sweep is stopped; the same command goes on with it" in printed


def test_what_a_signal_does_is_as_before_when_a_trial_has_ended(three):
    before = signal.getsignal(signal.SIGINT)
    assert run_sweep(three[:1], fake_trials.finish) == 0
    assert signal.getsignal(signal.SIGINT) is before


def record(trial, entries, **about):
    (trial.output / "run").mkdir(parents=True)
    (trial.output / "run/run.json").write_text(json.dumps({"status": "finished", "prepared": ["a"]} | about))
    text = "".join(
        json.dumps({"tokens": 100 * entry["step"], "tokens_per_second": 50.0} | entry) + "\n" for entry in entries
    )
    (trial.output / "run/metrics.jsonl").write_text(text)


def test_without_held_out_rows_the_training_loss_sorts(three, tmp_path):
    for trial, loss in zip(three, (2.0, 1.0, float("nan")), strict=True):
        record(trial, [{"step": 1, "loss": 5.0}, {"step": 2, "loss": loss}])
    text = write_table(three, {}, tmp_path)
    assert [line.split()[1] for line in text.splitlines()[2:5]] == ["seed=2", "seed=1", "seed=3"]
    assert "Sorted by training loss: nothing was held out." in text
    assert result(three[0])["seconds"] == 4
    assert result(three[0])["tokens_per_second"] == 50


def test_trials_on_different_data_are_said_not_to_compare(three, tmp_path):
    for trial, prepared in zip(three, "aab", strict=True):
        record(trial, [{"step": 1, "loss": 1.0}, {"step": 1, "eval_loss": 1.0}], prepared=[prepared])
    assert "losses on different tokens do not compare" in write_table(three, {}, tmp_path)


def test_the_best_model_counts_where_it_is_the_one_that_is_kept(tmp_path, tiny_config):
    (tmp_path / "sweep.yml").write_text("load_best_model_at_end: [true, false]\n")
    keys = {"val_set_size": 2, "save_strategy": "epoch", "eval_strategy": "epoch"}
    trials = read_sweep(str(tiny_config(tmp_path, **keys)), str(tmp_path / "sweep.yml"))
    for trial in trials:
        record(trial, [{"step": 1, "eval_loss": 1.0}, {"step": 2, "eval_loss": 3.0}])
    assert [result(trial)["eval_loss"] for trial in trials] == [1.0, 3.0]


def test_a_score_sorts_the_trials_with_the_highest_first(tmp_path, tiny_config):
    (tmp_path / "sweep.yml").write_text("seed: [1, 2]\n")
    keys = {"val_set_size": 2, "eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    keys |= {"metric_for_best_model": "eval_chrf", "do_causal_lm_eval": True, "eval_causal_lm_metrics": ["chrf"]}
    trials = read_sweep(str(tiny_config(tmp_path, **keys)), str(tmp_path / "sweep.yml"))
    scores = ([30.0, 10.0], [20.0, 40.0])
    for trial, (first, last) in zip(trials, scores, strict=True):
        evals = [{"step": 1, "eval_loss": 2.0, "eval_chrf": first}, {"step": 2, "eval_loss": 1.0, "eval_chrf": last}]
        record(trial, [{"step": 1, "loss": 1.0}, *evals])
    text = write_table(trials, {}, tmp_path)
    assert [line.split()[1] for line in text.splitlines()[2:4]] == ["seed=2", "seed=1"]
    assert [result(trial)["eval_chrf"] for trial in trials] == [30.0, 40.0]
    assert [result(trial)["eval_loss"] for trial in trials] == [2.0, 1.0]  # of the evaluation that is kept


def test_a_cell_cannot_break_the_table():
    assert table([{"a": "x|y\nz", "b": None}, {"c": 0.00012345678}]).splitlines()[2:] == [
        "| x\\|y z |  |            |".replace("|  |", "|   |"),
        "|        |   | 0.00012346 |",
    ]


def test_wrong_ways_to_start_a_sweep(files, tmp_path, tiny_config, monkeypatch, capsys):
    assert main([*files, "--overwrite"]) == 2
    assert "--overwrite and --sweep: finished trials are kept" in capsys.readouterr().err
    (tmp_path / "sweep.yml").write_text("seed: [1, 2]\n")
    mine = [str(tiny_config(tmp_path)), "--sweep", str(tmp_path / "sweep.yml")]
    with FileLock(tmp_path / "out/.lock") if (tmp_path / "out").mkdir() is None else None:
        assert main(mine) == 5
    assert "another process trains the sweep in" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(mine) == 5
    assert "start it without torchrun or accelerate" in capsys.readouterr().err
    assert main([mine[0], "--sweep", str(tmp_path / "none.yml")]) == 2
    assert "none.yml: no such file" in capsys.readouterr().err


def test_a_dry_run_without_a_sweep_checks_the_file_and_says_where_it_would_begin(
    tmp_path, tiny_config, tiny_model, capsys
):
    config = str(tiny_config(tmp_path))
    assert main([config, "--dry-run"]) == 0
    assert capsys.readouterr().out == f"would train {tiny_model} into {tmp_path}/out: from the start\n"
    assert main([config, "--dry-run", "--resume"]) == 5
    assert not (tmp_path / "out").exists()
