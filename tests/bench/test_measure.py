"""The benchmark measures from outside, and both systems do the same work."""

import sys
from dataclasses import replace

import pytest

from tunesmith.bench.growth import Point, format_table, plot
from tunesmith.bench.measure import (
    BEST,
    DEFAULT,
    FP32,
    TUNESMITH,
    WARMUP_STEPS,
    Run,
    _concatenate,
    _run,
    _summarize,
    compare_losses,
    compute_speed,
    make_work,
    trl_run,
    tunesmith_run,
)
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, RunError
from tunesmith.hardware import detect

CHATS = [
    {"messages": [{"role": "user", "content": f"Add {n} and 2."}, {"role": "assistant", "content": f"It is {n + 2}."}]}
    for n in range(8)
]
STEPS = """
import json, sys
held = bytearray(300 * 2**20)
for step in range(6):
    with open(sys.argv[1], "a") as lines:
        lines.write(json.dumps({"step": step, "loss": 1.0 / (step + 1), "tokens": 100 * (step + 1)}) + "\\n")
"""


def test_a_run_is_measured_from_outside(tmp_path):
    file = tmp_path / "metrics.jsonl"
    run = _run([sys.executable, "-c", STEPS, str(file)], tmp_path, file, ("some", "system"))
    assert (run.system, run.setting, run.losses[1]) == ("some", "system", 0.5)
    assert run.tokens == [100, 200, 300, 400, 500, 600]
    assert run.peak_mb > 300  # memory of this process counts too, if it is more


def test_the_speed_is_that_after_the_first_steps():
    assert compute_speed([100, 200, 300, 400], [9.0, 10.0, 10.5, 11.0]) == 200


def test_a_run_that_fails_says_why(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    with pytest.raises(RunError, match="some system failed with exit code 1: the reason; the end of its output:\nthe"):
        _run(command, tmp_path, tmp_path / "metrics.jsonl", ("some", "system"))
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(RunError, match="ended by signal SIGKILL: the machine may be out of memory"):
        _run(command, tmp_path, tmp_path / "metrics.jsonl", ("some", "system"))
    with pytest.raises(RunError, match="some system took 0 steps, and the first 2 are not measured"):
        _run([sys.executable, "-c", "print('done')"], tmp_path, tmp_path / "metrics.jsonl", ("some", "system"))


def test_too_few_steps_to_measure_are_an_error_before_any_run(tmp_path, write_config, write_jsonl, model_folder):
    data = [{"path": str(write_jsonl(tmp_path / "chats.jsonl", CHATS)), "type": "chat_template"}]
    keys = {"adapter": "lora", "lora_r": 4, "lora_target_linear": True, "base_model": str(model_folder)}
    config = load(str(write_config(tmp_path, datasets=data, **keys)))
    with pytest.raises(ConfigError, match="8 rows, 4 a step, 1 epochs: 2 steps, and the first 2 are not measured"):
        make_work(config, tmp_path, rows=8, mean=0, batch=4, epochs=1, hardware=detect())


def test_samples_are_joined_to_rows_of_the_mean_that_is_asked_for():
    samples = [{"input_ids": [1] * 20, "labels": [1] * 20}] * 7
    rows = list(_concatenate(samples, 400, 500, 4096))
    lengths = [len(row["input_ids"]) for row in rows]
    assert 480 < sum(lengths) / len(lengths) < 540
    assert len(set(lengths)) > 20
    assert [len(row["input_ids"]) for row in _concatenate(samples, 3, 0, 4096)] == [20, 20, 20]


@pytest.fixture
def config(tmp_path, write_config, write_jsonl):
    rows = write_jsonl(tmp_path / "rows.jsonl", CHATS)
    keys = {"datasets": [{"path": str(rows), "type": "chat_template"}], "sequence_len": 128, "learning_rate": 1e-3}
    return load(str(write_config(tmp_path, **keys, adapter="lora", lora_r=8, lora_target_linear=True)))


def test_only_lora_on_linear_layers_is_compared(tmp_path, config):
    other = config.model_copy(update={"adapter": config.adapter.model_copy(update={"adapter": None})})
    with pytest.raises(ConfigError, match="compares LoRA on all linear layers"):
        make_work(other, tmp_path, rows=2, mean=0, batch=1, epochs=1, hardware=detect())


@pytest.mark.slow
def test_both_systems_train_the_same_tokens_to_the_same_losses(tmp_path, config):
    work = make_work(config, tmp_path, rows=8, mean=0, batch=2, epochs=1, hardware=detect())
    runs = []
    for name, start in ((TUNESMITH, tunesmith_run), (DEFAULT, trl_run)):
        folder = tmp_path / name[0]
        folder.mkdir()
        runs.append(start(folder, work, name, {}))
    ours, theirs = runs
    assert len(ours.losses) == len(theirs.losses) == 4 > WARMUP_STEPS
    assert compare_losses(runs) < 0.03
    assert ours.tokens == theirs.tokens


def test_what_differs_is_not_compared():
    ours, theirs = (Run(*name, 1.0, 1, 1.0, [2.0, 1.0], [5, 9]) for name in (TUNESMITH, DEFAULT))
    assert compare_losses([ours, theirs]) == 0
    assert compare_losses([replace(ours, losses=[2.02, 1.0]), theirs]) == 0.01
    with pytest.raises(RunError, match="total tokens"):
        compare_losses([replace(ours, tokens=[5, 8]), theirs])
    with pytest.raises(RunError, match="do not agree within 3%"):
        compare_losses([replace(ours, losses=[2.0, 1.04]), theirs])


def test_ratios_are_of_medians_and_their_spread_is_that_of_the_rounds():
    speeds = {TUNESMITH: [90.0, 100.0, 120.0], DEFAULT: [10.0, 10.0, 20.0], FP32: [5.0] * 3, BEST: [50.0] * 3}
    found = _summarize([Run(*name, speed, 100, 2.0, [], []) for name, each in speeds.items() for speed in each])
    assert (found["ratios"]["tokens_per_s_vs_trl_default"], found["spread"]["tokens_per_s_vs_trl_default"]) == (
        10,
        [6, 10],
    )
    assert found["ratios"]["peak_memory_vs_trl_best"] == 1


def test_growth_is_told_and_drawn(tmp_path):
    points = [Point("step", "tokens", 512, 1.0, 900.0), Point("step", "tokens", 1024, 2.0, 1000.0)]
    assert format_table(points).splitlines()[2:] == [
        "| step | 512 tokens | 1.00 |  | 900 |",
        "| step | 1,024 tokens | 2.00 | 2.0 for 2 times as many | 1000 |",
    ]
    plot(points, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
