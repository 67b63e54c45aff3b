"""Whole runs through the command: on the real model where what it learns matters, on a tiny one elsewhere."""

import json
import threading

import pytest
import yaml

from tunesmith.cli.train import main
from tunesmith.config.load import load
from tunesmith.training.record.runs import read_run
from tunesmith.training.run import train as train_config

FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None, "learning_rate": 1e-4}
QLORA = {"adapter": "qlora", "load_in_4bit": True}


@pytest.fixture(scope="module")
def real_config(texts_file, write_config):
    """`real_config(folder, **keys)` writes a config that trains the built-in model on twelve short texts."""

    def write(folder, **keys):
        values = {
            "datasets": [{"path": str(texts_file), "type": "completion"}],
            "sequence_len": 64,
            "sample_packing": True,
            "max_steps": 6,
            "learning_rate": 2e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "save_total_limit": 1,
            "dataset_prepared_path": str(texts_file.parent / "prepared"),
        }
        return write_config(folder, **(values | keys))

    return write


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory, real_config, train):
    return train(real_config(tmp_path_factory.mktemp("lora")))


def assert_falls_clearly(curve):
    assert len(curve) == 6
    assert curve[6] < 0.7 * curve[1], curve


def test_lora_lowers_the_loss(lora_run, losses):
    assert_falls_clearly(losses(lora_run))
    assert (lora_run / "adapter_model.safetensors").exists()
    assert (lora_run / "chat_template.jinja").exists()
    assert not (lora_run / "model.safetensors").exists()


def test_the_last_step_is_logged_whatever_logging_steps_says(tmp_path, real_config, train, losses):
    output = train(real_config(tmp_path, max_steps=3, logging_steps=2))
    assert list(losses(output)) == [1, 2, 3]
    assert read_run(output, "a").summary["step"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("keys", [QLORA, FULL], ids=["qlora", "full"])
def test_other_ways_of_training_lower_the_loss_too(keys, tmp_path, real_config, train, losses):
    output = train(real_config(tmp_path, **keys))
    assert_falls_clearly(losses(output))
    whole = output / "model.safetensors"
    assert whole.exists() == (keys is FULL)
    whole.unlink(missing_ok=True)  # half a GiB


def test_the_same_seed_gives_the_same_losses(lora_run, tmp_path, real_config, train, losses):
    assert losses(train(real_config(tmp_path))) == losses(lora_run)


def test_the_record_says_what_ran_and_how(lora_run, metrics):
    about = json.loads((lora_run / "run/run.json").read_text())
    config = yaml.safe_load((lora_run / "run/config.yml").read_text())
    assert (about["status"], about["step"]) == ("finished", 6)
    assert about["source"].endswith("config.yml")
    assert len(about["prepared"]) == 1
    assert (config["lora_r"], config["max_steps"]) == (8, 6)
    assert (lora_run / "run/loss.png").read_bytes().startswith(b"\x89PNG")
    last = metrics(lora_run)[-1]
    assert last.keys() >= {"step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "peak_memory"}
    assert last["tokens"] > 6 * 40


TINY = {"max_steps": 10, "gradient_accumulation_steps": 2, "val_set_size": 2}
"""Two epochs of five steps."""


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory, tiny_config, train):
    return train(tiny_config(tmp_path_factory.mktemp("tiny"), **TINY))


def epochs(curve):
    """Return the mean loss of the first and of the second epoch."""
    return tuple(sum(curve[step] for step in steps) / 5 for steps in (range(1, 6), range(6, 11)))


def test_the_decisions_and_the_steps_are_printed(tmp_path, tiny_config, train, capsys):
    train(tiny_config(tmp_path, **TINY))
    out, err = capsys.readouterr()
    assert "step 10/10  loss " in out
    assert "trained    16,384 of 6,381,888 weights  (adapter: lora)" in err
    assert "steps      10  (10 samples, 2 a step)" in err
    assert f"done: weights in {tmp_path}/out, record in {tmp_path}/out/run, loss curve in" in err


def test_the_result_and_the_record_lie_in_the_output_folder(tmp_path, tiny_config, train):
    train(tiny_config(tmp_path, **TINY, output_dir=str(tmp_path / "elsewhere")))
    assert (tmp_path / "elsewhere/adapter_model.safetensors").exists()
    assert (tmp_path / "elsewhere/run/metrics.jsonl").exists()
    assert not (tmp_path / "out").exists()


def test_held_out_rows_are_evaluated_during_training(tiny_run, metrics):
    evaluated = [entry for entry in metrics(tiny_run) if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluated] == [5, 10]
    assert evaluated[1]["eval_loss"] < evaluated[0]["eval_loss"]
    assert evaluated[0]["eval_tokens"] > 10


def test_a_run_in_a_thread_leaves_the_signals_of_the_program_alone(tmp_path, tiny_config):
    config, outcomes = load(str(tiny_config(tmp_path, max_steps=1))), []
    thread = threading.Thread(target=lambda: outcomes.append(train_config(config)))
    thread.start()
    thread.join()
    assert [outcome.finished for outcome in outcomes] == [True]


@pytest.mark.parametrize(
    "keys",
    [
        {"micro_batch_size": 2, "gradient_accumulation_steps": 1},
        {"gradient_accumulation_steps": None, "batch_size": 2},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
        {"attn_implementation": "eager"},
        {"attn_implementation": "flash_attention_2"},
        {"optimizer": "adamw_8bit"},
        {"dataloader_num_workers": 1},
    ],
    ids=lambda keys: ",".join(keys),
)
def test_what_only_changes_speed_or_memory_leaves_the_losses_as_they_are(
    keys, tiny_run, tmp_path, tiny_config, train, losses
):
    found = losses(train(tiny_config(tmp_path, **(TINY | keys))))
    assert found == pytest.approx(losses(tiny_run), abs=1e-5)


def test_another_seed_gives_other_losses(tiny_run, tmp_path, tiny_config, train, losses):
    found = losses(train(tiny_config(tmp_path, **TINY, seed=7)))
    assert found != pytest.approx(losses(tiny_run), abs=1e-3)


@pytest.mark.parametrize("checkpointing", [None, {"use_reentrant": True}])
def test_training_goes_on_from_an_adapter(checkpointing, tiny_run, tmp_path, tiny_config, train, losses):
    keys = {"lora_model_dir": str(tiny_run), "warmup_steps": 0}
    if checkpointing:
        keys |= {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": checkpointing}
    found = epochs(losses(train(tiny_config(tmp_path, **(TINY | keys)))))
    assert found[0] < epochs(losses(tiny_run))[1]
    assert found[1] < found[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"bf16": "full"},
        {"bf16": True},
        {"lora_modules_to_save": ["embed_tokens", "lm_head"]},
        {"peft_use_dora": True},
        {"neftune_noise_alpha": 0.1},
        {"optimizer": "adafactor"},
        {"adapter": "lora", "load_in_8bit": True},
        {**FULL, "learning_rate": 1e-3},
    ],
    ids=lambda keys: ",".join(keys),
)
def test_other_settings_train_too(keys, tmp_path, tiny_config, train, losses):
    first, second = epochs(losses(train(tiny_config(tmp_path, **(TINY | keys)))))
    assert second < first


def test_the_best_checkpoint_is_the_result_if_asked_for(tmp_path, tiny_config, train, metrics):
    import torch
    from safetensors.torch import load_file

    keys = {"eval_steps": 2, "save_steps": 2, "save_total_limit": 9, "load_best_model_at_end": True}
    too_fast = {"learning_rate": 10.0, "lr_scheduler": "constant"}
    output = train(tiny_config(tmp_path, **(TINY | keys | too_fast)))
    evaluated = {entry["step"]: entry["eval_loss"] for entry in metrics(output) if "eval_loss" in entry}
    best = min(evaluated, key=evaluated.get)
    assert best != 10
    expected, found = (
        load_file(folder / "adapter_model.safetensors") for folder in (output / f"checkpoint-{best}", output)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_training_stops_early_when_the_held_out_loss_no_longer_falls(tmp_path, tiny_config, train):
    keys = {"eval_steps": 1, "early_stopping_patience": 2, "learning_rate": 1.0, "max_steps": 100}
    output = train(tiny_config(tmp_path, **(TINY | keys)))
    about = json.loads((output / "run/run.json").read_text())
    assert about["status"] == "finished"
    assert about["step"] < 100
    assert (output / "adapter_model.safetensors").exists()


def test_a_resumed_run_stops_early_where_the_uninterrupted_one_does(tmp_path, tiny_config, train, metrics):
    import shutil

    keys = {
        "eval_steps": 1,
        "save_steps": 1,
        "save_total_limit": 50,
        "early_stopping_patience": 2,
        "learning_rate": 1.0,
    }
    config = tiny_config(tmp_path, **(TINY | keys | {"max_steps": 100}))
    ended = metrics(train(config))[-1]["step"]
    assert ended < 100
    train(config, "--resume")  # it had ended: nothing is left to train
    assert metrics(tmp_path / "out")[-1]["step"] == ended
    shutil.rmtree(tmp_path / f"out/checkpoint-{ended}")
    assert metrics(train(config, "--resume"))[-1]["step"] == ended


def test_a_run_that_changes_nothing_says_so(tmp_path, tiny_config, train, capsys):
    quiet = {"max_steps": 2, "save_strategy": "no", "val_set_size": None, "warmup_steps": 0}
    train(tiny_config(tmp_path / "moves", **(TINY | quiet)))
    assert "warning" not in capsys.readouterr().err
    train(tiny_config(tmp_path / "still", **(TINY | quiet | FULL | {"optimizer": "sgd", "learning_rate": 1e-30})))
    assert "warning: 2 steps changed no weight; is `learning_rate: 1e-30` too low?" in capsys.readouterr().err
    groups = [{"name": "b", "modules": ["lora_B"], "lr": 1e-300}]
    train(tiny_config(tmp_path / "half", **(TINY | quiet), weight_decay=0.1, lr_groups=groups))
    assert "warning: all of lora_B is zero after 2 steps: the adapter changes nothing" in capsys.readouterr().err


def test_a_best_metric_that_no_evaluation_measures_is_an_error(tmp_path, tiny_config, capsys):
    keys = {"eval_steps": 1, "load_best_model_at_end": True, "save_steps": 1}
    keys |= {"metric_for_best_model": "f1", "greater_is_better": True}
    assert main([str(tiny_config(tmp_path, **(TINY | keys)))]) == 5
    error = capsys.readouterr().err
    assert (
        "`metric_for_best_model: f1` was not measured; evaluations of this run have eval_loss, eval_perplexity" in error
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"loss_watchdog_threshold": 0.5}, "the loss was above loss_watchdog_threshold 0.5 3 times in a row"),
        (
            {"loss_watchdog_threshold": 0.6, "loss_watchdog_patience": 2},
            "the loss was above loss_watchdog_threshold 0.6 2 times in a row",
        ),
        ({**FULL, "embedding_lr": 1e20}, "the loss at step"),
    ],
)
def test_a_broken_loss_ends_the_run(keys, expected, tmp_path, tiny_config, capsys):
    assert main([str(tiny_config(tmp_path, **(TINY | keys)))]) == 5
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {expected}")
    assert "lower `learning_rate`" in error


def test_a_folder_with_another_run_is_refused_or_moved_aside(tiny_run, tmp_path, tiny_config, train, losses, capsys):
    config = tiny_config(tmp_path, **TINY)
    before = losses(train(config))
    assert main([str(config)]) == 5
    error = capsys.readouterr().err
    assert f"error: `output_dir: {tmp_path}/out` holds another run (finished): --resume" in error
    train(config, "--overwrite", "--seed", "7")
    (aside,) = tmp_path.glob("out.*")
    assert losses(aside) == before
    assert losses(tmp_path / "out") != before
    assert f"is now in {aside}" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_accumulation(tiny_run, tmp_path, tiny_config, start, metrics):
    import sys

    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2")
    process = start(tiny_config(tmp_path, **(TINY | {"gradient_accumulation_steps": 1})), launcher=launcher)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    one, two = metrics(tiny_run), metrics(tmp_path / "out")
    assert [entry["step"] for entry in two] == [entry["step"] for entry in one]
    for key in ("loss", "eval_loss", "eval_tokens"):
        assert [entry.get(key) for entry in two] == [pytest.approx(entry.get(key), abs=1e-3) for entry in one]
    assert output.count("step 10/10  loss") == 1
    assert output.count("done: weights in") == 1
    assert output.count("hardware  ") == 1


def test_the_trained_template_and_the_manifest_of_prompts_are_saved(
    tmp_path, tokenizer, tiny_config, write_jsonl, train
):
    """The tokenizer beside the weights, and beside a checkpoint, serves the prompt that was trained."""
    from tunesmith.checks.manifest import FILE, PROBES
    from tunesmith.data.tokenizer import load_tokenizer, named_templates

    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "1"}]} for n in range(4)
    ]
    datasets = [{"path": str(write_jsonl(tmp_path / "rows.jsonl", rows)), "type": "chat_template"}]
    keys = {"datasets": datasets, "chat_template": "chatml", "max_steps": 1, "save_steps": 1}
    output = train(tiny_config(tmp_path, **keys))
    manifest = json.loads((output / "run" / FILE).read_text())
    for folder in (output, output / "checkpoint-1"):
        saved = load_tokenizer(str(folder))
        assert saved.chat_template == named_templates()["chatml"] != tokenizer.chat_template
        for name in ("single turn", "system turn", "several turns"):
            served = saved.apply_chat_template(PROBES[name], add_generation_prompt=True)["input_ids"]
            assert served == manifest["probes"][name]
