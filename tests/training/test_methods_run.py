"""Whole runs with other methods: what they log, save and resume, and the weighted loss."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.data.types import MASKED
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.training.losses import EntropyWeighted


@pytest.mark.parametrize(
    "keys",
    [
        {
            "optimizer": "adamw_bnb_8bit",
            "lr_scheduler": "rex",
            "embedding_lr": 1e-3,
            "lora_modules_to_save": ["lm_head"],
        },
        {"optimizer": "muon", "loraplus_lr_ratio": 4, "group_by_length": True, "micro_batch_size": 2, "num_epochs": 3},
        pytest.param({"optimizer": "schedule_free_adamw", "lr_scheduler": "constant"}, marks=pytest.mark.optional),
        {"optimizer": "adamw_torch", "lr_scheduler": "reduce_lr_on_plateau", "val_set_size": 3, "eval_steps": 2},
    ],
    ids=lambda keys: keys["optimizer"],
)
def test_a_resumed_run_goes_on_exactly(tiny_config, train, losses, tmp_path, keys):
    if keys["optimizer"].startswith("schedule_free"):
        pytest.importorskip("schedulefree")
    keys = {"save_steps": 5, "max_steps": 10, "lora_dropout": 0.1, **keys}
    whole = train(tiny_config(tmp_path / "whole", **keys))
    config = tiny_config(tmp_path / "halves", **keys)
    train(config, "--resume-from-checkpoint", str(whole / "checkpoint-5"))
    halves = tmp_path / "halves/out"
    assert {step: losses(whole)[step] for step in range(6, 11)} == losses(halves)
    expected, found = (load_file(folder / "adapter_model.safetensors") for folder in (whole, halves))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    if keys["optimizer"].startswith("schedule_free"):
        state = torch.load(whole / "checkpoint-10/optimizer.pt")
        assert not state["param_groups"][0]["train_mode"], "what is saved are the averaged weights"


def test_the_log_has_the_learning_rate_of_the_schedule(tiny_config, train, metrics, tmp_path):
    keys = {"max_steps": 6, "warmup_steps": 0, "loraplus_lr_ratio": 4, "lr_scheduler": "linear", "learning_rate": 0.06}
    output = train(tiny_config(tmp_path, **keys))
    rates = [entry["learning_rate"] for entry in metrics(output) if "learning_rate" in entry]
    assert rates == pytest.approx([0.06, 0.05, 0.04, 0.03, 0.02, 0.01])


def test_best_saves_after_the_evaluations_that_gained(tiny_config, train, metrics, tmp_path):
    keys = {"val_set_size": 3, "eval_steps": 1, "max_steps": 6, "save_strategy": "best", "save_total_limit": 9}
    output = train(tiny_config(tmp_path, learning_rate=0.5, lr_scheduler="constant", warmup_steps=0, **keys))
    best, saved = float("inf"), set()
    for entry in metrics(output):
        if entry.get("eval_loss", best) < best:
            best = entry["eval_loss"]
            saved.add(f"checkpoint-{entry['step']}")
    assert {folder.name for folder in output.glob("checkpoint-*")} == saved
    assert len(saved) < 6


def test_the_best_is_chosen_by_the_metric_and_its_direction(tiny_config, train, tmp_path):
    keys = {"val_set_size": 3, "eval_steps": 1, "save_steps": 1, "max_steps": 4, "load_best_model_at_end": True}

    def best(name, **more):
        output = train(tiny_config(tmp_path / name, learning_rate=0.05, warmup_steps=0, **keys, **more))
        state = json.loads((output / "checkpoint-4/trainer_state.json").read_text())
        return state["best_global_step"], state["best_metric"]

    step, loss = best("loss")
    assert best("perplexity", metric_for_best_model="eval_perplexity") == (step, pytest.approx(math.exp(loss)))
    worst, high = best("high", greater_is_better=True)
    assert worst != step
    assert high > loss


def test_curriculum_keeps_the_order_of_the_file(tiny_config, tmp_path):
    def rows(**keys):
        config = load(str(tiny_config(tmp_path, dataset_prepared_path=str(tmp_path / "p"), **keys)))
        return prepare_splits(config, model_tokenizer(config.model)).train["row"]

    assert list(rows(curriculum_sampling=True)) == sorted(rows(curriculum_sampling=True))
    assert list(rows()) != sorted(rows())


class Outputs:
    def __init__(self, logits):
        self.logits = logits


def test_the_entropy_weighted_loss_follows_its_formula():
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 50) * 3
    targets = torch.tensor([[4, MASKED, 7, 9, MASKED]])
    expected = 0.0
    for place in (0, 2, 3):
        likeliest = logits[0, place].topk(20).values.softmax(-1)
        entropy = -(likeliest * likeliest.log()).sum()
        expected += entropy**1.5 * -logits[0, place].log_softmax(-1)[targets[0, place]]
    loss = EntropyWeighted(1.5, 20)
    assert loss(Outputs(logits), targets).item() == pytest.approx(expected.item() / 3, rel=1e-5)
    assert loss(Outputs(logits), targets, torch.tensor(12)).item() == pytest.approx(expected.item() / 12, rel=1e-5)


def test_the_eval_loss_stays_the_mean_over_tokens_when_the_training_loss_is_weighted(
    tiny_config, train, metrics, tmp_path
):
    def run(name, **keys):
        output = train(tiny_config(tmp_path / name, val_set_size=3, eval_steps=1, max_steps=2, warmup_steps=1, **keys))
        entries = metrics(output)
        return [entry["loss"] for entry in entries if "loss" in entry], [
            entry["eval_loss"] for entry in entries if "eval_loss" in entry
        ]

    losses, evals = run("plain")
    weighted, same = run("weighted", use_eaft=True)
    assert same[0] == evals[0], "the first step of the warmup has a learning rate of zero"
    assert weighted[0] > 2 * losses[0], "random weights: the entropy over 20 tokens is near log 20"
    squared, _ = run("squared", use_eaft=True, eaft_alpha=2)
    narrow, _ = run("narrow", use_eaft=True, eaft_k=2)
    assert narrow[0] < losses[0] < weighted[0] < squared[0]
