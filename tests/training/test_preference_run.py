"""Training on preferences: the losses are TRL's, and a run learns to tell the answers apart."""

import math
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainingArguments

from tunesmith.cli.train import main
from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.objectives import OBJECTIVES, find_objective
from tunesmith.objectives.dpo import PAIR_LOSSES
from tunesmith.objectives.objective import Completions
from tunesmith.sections import PreferenceSection
from tunesmith.sections.preference import PairLoss
from tunesmith.training.collate import FlatCollator, Sequences
from tunesmith.training.preference import PreferenceTrainer

FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}
DPO = {"rl": "dpo", "sample_packing": False}
PAIRS = [
    {"prompt": f"What is {n} and {n}?", "chosen": f" It is {2 * n}.", "rejected": f" I do not know what {n} is, sorry!"}
    for n in range(12)
]
JUDGED = [
    {"prompt": pair["prompt"], "completion": pair["chosen"] if n % 2 else pair["rejected"], "label": bool(n % 2)}
    for n, pair in enumerate(PAIRS)
]


@pytest.fixture(scope="module")
def pref_config(tmp_path_factory, tiny_config, write_jsonl):
    """`pref_config(folder, **keys)` writes a config that trains the tiny model on twelve rows."""
    data = tmp_path_factory.mktemp("preferences")
    files = {"kto": write_jsonl(data / "judged.jsonl", JUDGED), "dpo": write_jsonl(data / "pairs.jsonl", PAIRS)}

    def write(folder, **keys):
        rl = keys.get("rl", "dpo")
        values = {
            "rl": rl,
            "datasets": [{"path": str(files.get(rl, files["dpo"]))}],
            "micro_batch_size": 4,
            "max_steps": 6,
            "learning_rate": 5e-3,
            "warmup_steps": 0,
            "lr_scheduler": "constant",
            "save_strategy": "no",
            "dataset_prepared_path": str(data / "prepared"),
        }
        return tiny_config(folder, **(values | keys))

    return write


@pytest.fixture(scope="module")
def make_trainer(tiny_model, tokenizer, pref_config):
    """`make_trainer(folder, **keys)` is a trainer on the rows, and its whole set of rows as one batch."""

    def make(folder, **keys):
        config = load(str(pref_config(folder, **{**FULL, "max_steps": None, **keys})))
        torch.manual_seed(0)
        rows = Sequences(prepare_splits(config, tokenizer).train, packed=False, sequence_len=64)
        trainer = PreferenceTrainer(
            model=AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="sdpa"),
            args=TrainingArguments(output_dir=str(folder / "out"), use_cpu=True, report_to="none", disable_tqdm=True),
            train_dataset=rows,
            data_collator=FlatCollator(),
            objective=find_objective(config.data.rl),
            section=config.preference,
        )
        return trainer, trainer.data_collator([trainer.train_dataset[index] for index in range(len(rows))])

    return make


def move(model):
    """Change all weights a little, the same way each time."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)


@pytest.fixture(scope="module")
def trl_loss(tmp_path_factory, tiny_model, tokenizer):
    """`trl_loss(trainer class, config, rows)` is TRL's loss of all rows for the moved model, and its metrics."""
    from datasets import Dataset

    def loss(kind, settings, rows):
        folder = str(tmp_path_factory.mktemp("trl"))
        common = {"output_dir": folder, "use_cpu": True, "report_to": "none", "bf16": False, "max_length": None}
        arguments = settings(per_device_train_batch_size=len(rows), gradient_checkpointing=False, **common)
        models = [AutoModelForCausalLM.from_pretrained(tiny_model) for _ in range(2)]
        trainer = kind(
            models[0], models[1], args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )
        move(models[0])
        batch = trainer.data_collator([trainer.train_dataset[index] for index in range(len(rows))])
        models[0].train()
        return trainer.compute_loss(models[0], batch).item(), dict(trainer._metrics["train"]), trainer.train_dataset

    return loss


def test_every_loss_of_the_config_is_there():
    assert set(get_args(PairLoss)) == set(PAIR_LOSSES)


DOUBT = 0.1


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name != "sigmoid"])
def test_the_losses_of_pairs_are_those_of_trl(name, make_trainer, trl_loss, tmp_path):
    from trl import DPOConfig, DPOTrainer

    settings = lambda **keys: DPOConfig(loss_type=[name], beta=0.3, label_smoothing=DOUBT, **keys)  # noqa: E731
    expected, metrics, rows = trl_loss(DPOTrainer, settings, PAIRS)
    trainer, batch = make_trainer(
        tmp_path, dpo_loss_type=[name], rl_beta=0.3, dpo_label_smoothing=DOUBT, shuffle_merged_datasets=False
    )
    move(trainer.model)
    trainer.model.train()
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-4)
    said = trainer.named(trainer.sums[0])
    assert said["reward_margin"] == pytest.approx(metrics["rewards/margins"][0], rel=1e-3)
    assert said["reward_accuracy"] == pytest.approx(metrics["rewards/accuracies"][0])
    ours = [document.input_ids for index in range(len(PAIRS)) for document in trainer.train_dataset[index]]
    theirs = [row["prompt_ids"] + row[key] for row in rows for key in ("chosen_ids", "rejected_ids")]
    assert ours == theirs


def test_several_losses_and_the_weights_of_wpo_are_those_of_trl(make_trainer, trl_loss, tmp_path):
    from trl import DPOConfig, DPOTrainer

    mixed = {"loss_type": ["sigmoid", "hinge"], "loss_weights": [0.7, 0.5], "use_weighting": True}
    expected, *_ = trl_loss(DPOTrainer, lambda **keys: DPOConfig(**mixed, **keys), PAIRS)
    keys = {f"dpo_{key}": value for key, value in mixed.items()}
    trainer, batch = make_trainer(tmp_path, shuffle_merged_datasets=False, **keys)
    move(trainer.model)
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_kto_is_that_of_trl(make_trainer, trl_loss, tmp_path):
    from trl import KTOConfig, KTOTrainer

    settings = lambda **keys: KTOConfig(beta=0.3, desirable_weight=0.5, undesirable_weight=2.0, **keys)  # noqa: E731
    expected, metrics, _ = trl_loss(KTOTrainer, settings, JUDGED)
    weights = {"rl_beta": 0.3, "kto_desirable_weight": 0.5, "kto_undesirable_weight": 2.0}
    trainer, batch = make_trainer(tmp_path, rl="kto", shuffle_merged_datasets=False, **weights)
    move(trainer.model)
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-4)
    assert trainer.named(trainer.sums[0])["reward_margin"] == pytest.approx(metrics["rewards/margins"][0], rel=1e-3)


def some_answers(seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, 9, (5,), generator=generator)
    return Completions(
        -2.0 * tokens * torch.rand(5, generator=generator),
        torch.zeros(5),
        tokens,
        torch.ones(5),
        tokens.float().mean().expand(5),
    )


def test_the_losses_without_a_reference_are_those_of_trl():
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    good, bad = some_answers(0), some_answers(1)
    means = good.logp / good.num_tokens, bad.logp / bad.num_tokens
    likelihood = -good.logp.sum() / good.num_tokens.sum()
    on_cpu = SimpleNamespace(device=torch.device("cpu"))
    cpo = SimpleNamespace(
        alpha=0.0, beta=2.0, simpo_gamma=0.7, loss_type="simpo", label_smoothing=0.0, accelerator=on_cpu
    )
    expected = CPOTrainer.cpo_loss(cpo, *means)[0].mean() + 0.4 * likelihood
    section = PreferenceSection(rl_beta=2.0, simpo_gamma=0.7, cpo_alpha=0.4)
    assert torch.isclose(OBJECTIVES["simpo"].loss(good, bad, section, torch.zeros(())), expected)
    ratio = ORPOTrainer.odds_ratio_loss(SimpleNamespace(beta=0.3, accelerator=on_cpu), *means)[0].mean()
    assert torch.isclose(
        OBJECTIVES["orpo"].loss(good, bad, PreferenceSection(orpo_alpha=0.3), torch.zeros(())), likelihood - ratio
    )


def test_what_is_certain_has_finite_gradients():
    good = some_answers(0)._replace(logp=torch.zeros(5, requires_grad=True))
    OBJECTIVES["orpo"].loss(good, some_answers(1), PreferenceSection(), torch.zeros(())).backward()
    assert good.logp.grad.isfinite().all()


def test_label_smoothing_is_that_of_conservative_dpo():
    good, bad = some_answers(0), some_answers(1)
    margin = 0.1 * (good.log_ratio - bad.log_ratio)
    expected = -(0.8 * margin.sigmoid().log() + 0.2 * (-margin).sigmoid().log()).mean()
    assert torch.isclose(
        OBJECTIVES["dpo"].loss(good, bad, PreferenceSection(dpo_label_smoothing=0.2), torch.zeros(())), expected
    )


@pytest.fixture(scope="module")
def dpo_run(tmp_path_factory, pref_config, train):
    keys = {"val_set_size": 4, "evals_per_epoch": 1, "lora_dropout": 0.5}
    return train(pref_config(tmp_path_factory.mktemp("dpo"), **keys))


def test_dpo_begins_at_log_2_and_the_margin_grows(dpo_run, metrics):
    steps = [entry for entry in metrics(dpo_run) if "loss" in entry]
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)  # logged to four digits
    assert steps[0]["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert steps[-1]["reward_margin"] > 0.5
    assert steps[-1]["reward_accuracy"] == 1
    assert steps[-1]["reward_chosen"] > steps[-1]["reward_rejected"]


def test_the_held_out_pairs_are_measured_too(dpo_run, metrics):
    held_out = [entry for entry in metrics(dpo_run) if "eval_loss" in entry]
    assert held_out[-1]["eval_loss"] < math.log(2)
    assert held_out[-1]["eval_reward_margin"] > 0
    assert held_out[-1]["eval_reward_accuracy"] == 1
    assert "eval_perplexity" not in held_out[-1]


def test_the_lines_say_margin_and_accuracy(pref_config, tmp_path, capsys):
    assert main([str(pref_config(tmp_path, val_set_size=4, max_steps=2))]) == 0
    printed = capsys.readouterr().out
    assert "step 1/2  loss 0.6931  reward accuracy 0.000  reward margin 0.000  lr " in printed
    assert "eval loss 0." in printed
    assert "  reward margin 0." in printed.split("eval loss")[1]


@pytest.mark.parametrize(
    "keys",
    [
        {"rl": "dpo", **FULL, "learning_rate": 1e-3},
        {"rl": "dpo", "dpo_loss_type": ["hinge", "sft"], "dpo_loss_weights": [1.0, 0.1]},
        {"rl": "ipo", "rl_beta": 0.5},
        {"rl": "simpo", "rl_beta": 2.0},
        {"rl": "orpo", "orpo_alpha": 0.5, "gradient_checkpointing": True},
        {"rl": "kto", "rl_beta": 0.5},
    ],
    ids=lambda keys: " ".join(map(str, (keys["rl"], *list(keys)[1:2]))),
)
def test_each_kind_learns_to_tell_the_answers_apart(keys, pref_config, train, metrics, tmp_path):
    steps = [entry for entry in metrics(train(pref_config(tmp_path, **keys))) if "loss" in entry]
    assert steps[-1]["loss"] < 0.95 * steps[0]["loss"]
    assert steps[-1]["reward_margin"] > steps[0]["reward_margin"] + 0.01


@pytest.mark.parametrize("adapter", [True, False])
def test_the_reference_does_not_move(adapter, make_trainer, tiny_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    trainer, batch = make_trainer(tmp_path)
    if adapter:
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(target_modules="all-linear", lora_dropout=0.5)
        )
        trainer = PreferenceTrainer(
            model=model,
            args=trainer.args,
            data_collator=FlatCollator(),
            objective=trainer.objective,
            section=trainer.section,
        )
    before = trainer._complete(trainer.model, batch)
    assert torch.allclose(before.logp, before.reference_logp, atol=1e-5)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight += 0.02 * torch.randn_like(weight)
    after = trainer._complete(trainer.model, batch)
    assert torch.allclose(after.reference_logp, before.reference_logp, atol=1e-5)
    assert not torch.allclose(after.logp, before.logp, atol=1e-2)
    trainer.model.train()
    assert trainer._complete(trainer.model, batch).logp.equal(after.logp)  # dropout is off


@pytest.mark.parametrize("noise", [{"attention_dropout": 0.5}, {"gradient_checkpointing": True}], ids=str)
def test_dpo_begins_at_log_2_whatever_noise_the_model_has(noise, pref_config, train, metrics, tmp_path):
    model = {key: value for key, value in noise.items() if "dropout" in key}
    keys = {key: value for key, value in noise.items() if "dropout" not in key}
    keys |= {"overrides_of_model_config": model, "neftune_noise_alpha": 50, "max_steps": 1, "fused_layers": False}
    (step,) = (entry for entry in metrics(train(pref_config(tmp_path, **keys, **FULL))) if "loss" in entry)
    assert step["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_kto_with_one_kind_of_rows_warns(pref_config, write_jsonl, train, tmp_path, capsys):
    desirable = [row for row in JUDGED if row["label"]]
    for rows, warning in (
        (JUDGED, ""),
        (desirable, "warning: all 6 rows have `label: true`: `rl: kto` learns from both"),
    ):
        folder = tmp_path / str(len(rows))
        folder.mkdir()
        path = write_jsonl(folder / "rows.jsonl", rows)
        train(pref_config(folder, rl="kto", datasets=[{"path": str(path)}], max_steps=1))
        error = capsys.readouterr().err
        assert warning in error
        assert warning or "warning" not in error


def test_a_loss_that_sorts_a_batch_says_that_it_depends_on_the_batches(pref_config, train, tmp_path, capsys):
    keys = {"dpo_loss_type": ["aot"], "micro_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 1}
    train(pref_config(tmp_path, **keys))
    assert "`dpo_loss_type: ['aot']` sorts the pairs of a batch, and a step has 2 batches" in capsys.readouterr().err


def test_accumulated_batches_count_as_one(pref_config, train, metrics, tmp_path):
    curves = []
    for size, folder in ((4, "one"), (2, "two")):
        keys = {"micro_batch_size": size, "gradient_accumulation_steps": 4 // size, "max_steps": 4}
        curves.append([entry["loss"] for entry in metrics(train(pref_config(tmp_path / folder, **keys)))])
    assert curves[0] == pytest.approx(curves[1], abs=2e-4)


def test_a_resumed_run_has_the_losses_of_one_in_one_go(pref_config, train, metrics, tmp_path):
    import shutil

    keys = {"save_strategy": "steps", "save_steps": 3, "val_set_size": 2, "eval_steps": 3, **FULL}
    keys |= {"learning_rate": 1e-3, "load_best_model_at_end": True, "early_stopping_patience": 2}
    config = pref_config(tmp_path, **keys)
    fixed = ("step", "loss", "eval_loss", "reward_margin", "eval_reward_margin")
    whole = [{key: entry.get(key) for key in fixed} for entry in metrics(train(config))]
    shutil.rmtree(tmp_path / "out/checkpoint-6")
    output = train(config, "--resume")
    assert [{key: entry.get(key) for key in fixed} for entry in metrics(output)] == whole


@pytest.mark.parametrize(
    ("rl", "key", "value"),
    [
        ("dpo", "rl_beta", 0.5),
        ("dpo", "dpo_loss_type", ["hinge"]),
        ("dpo", "dpo_loss_weights", [0.5]),
        ("dpo", "dpo_label_smoothing", 0.2),
        ("dpo", "dpo_use_weighting", True),
        ("orpo", "orpo_alpha", 1.0),
        ("simpo", "simpo_gamma", 2.0),
        ("simpo", "cpo_alpha", 0.0),
        ("kto", "kto_desirable_weight", 0.5),
        ("kto", "kto_undesirable_weight", 0.5),
    ],
)
def test_each_key_changes_the_loss(rl, key, value, make_trainer, tmp_path):
    losses = []
    for keys in ({}, {key: value}):
        needed = {"dpo_loss_type": ["sigmoid"]} if key == "dpo_loss_weights" else {}
        trainer, batch = make_trainer(tmp_path, rl=rl, **(needed | keys))
        move(trainer.model)
        losses.append(trainer.compute_loss(trainer.model, batch).item())
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)
