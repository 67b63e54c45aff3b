"""Runs that train a part of the weights: what moves, what is saved, and what inference and merging make of it."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunesmith.cli.merge_lora import main as merge
from tunesmith.config.load import load
from tunesmith.generation.variants import load_variants
from tunesmith.hardware import detect
from tunesmith.modeling.adapters import load_adapter
from tunesmith.modeling.load import load_base_model
from tunesmith.sections import AdapterSection
from tunesmith.training.optim.relora import ReLora

IDS = torch.arange(5, 25)[None]
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}


def weights(folder):
    return load_file(folder / "model.safetensors")


def moved(folder, tiny_model):
    before, after = weights(tiny_model), weights(folder)
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_only_unfrozen_parameters_move(train, tiny_config, tiny_model, tmp_path):
    patterns = ["^lm_head.weight$[:100]", "model.layers.1.mlp"]
    output = train(tiny_config(tmp_path, **FULL, unfrozen_parameters=patterns, max_steps=2))
    mlp = {f"model.layers.1.mlp.{name}_proj.weight" for name in ("gate", "up", "down")}
    assert moved(output, tiny_model) == mlp | {"lm_head.weight"}
    rows = (weights(output)["lm_head.weight"] != weights(tiny_model)["lm_head.weight"]).any(1).nonzero()[:, 0]
    assert 0 < len(rows) <= 100
    assert rows.max() < 100


def test_lisa_trains_some_blocks_at_a_time(train, tiny_config, tiny_model, tmp_path):
    lisa = {"lisa_n_layers": 1, "lisa_step_interval": 2}
    output = train(tiny_config(tmp_path / "a", **FULL, **lisa, max_steps=2, save_steps=1))

    def blocks(folder):
        return {name.split(".")[2] for name in moved(folder, tiny_model) if ".layers." in name}

    first = blocks(output / "checkpoint-2")
    assert len(first) == 1
    assert {"lm_head.weight", "model.embed_tokens.weight"} <= moved(output, tiny_model)
    longer = train(tiny_config(tmp_path / "b", **FULL, **lisa, max_steps=12))
    assert blocks(longer) == {"0", "1"}


RELORA = {
    "relora": True,
    "jagged_restart_steps": 3,
    "jagged_restart_warmup_steps": 1,
    "lora_r": 2,
    "lora_dropout": 0.1,
    "max_steps": 8,
}


def adapter_config(folder):
    return json.loads((folder / "adapter_config.json").read_text())


@pytest.fixture(scope="module")
def relora(train, tiny_config, tmp_path_factory):
    """A run of three parts, restarted after steps 3 and 6."""
    config = tiny_config(tmp_path_factory.mktemp("relora"), **RELORA, save_steps=1, save_total_limit=9)
    train(config)
    return config


def test_relora_ends_with_one_adapter_of_all_its_ranks(relora, tiny_model):
    output = relora.parent / "out"
    saved = adapter_config(output)
    assert (saved["r"], saved["lora_alpha"]) == (6, 6)
    assert not (output / "kept").exists()
    update = load_file(output / "adapter_model.safetensors")
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_{}.weight"
    assert torch.linalg.matrix_rank(update[name.format("B")] @ update[name.format("A")]) == 6
    losses = [json.loads(line) for line in (output / "run/metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["loss"] < losses[0]["loss"]


def test_relora_restarts_with_the_same_model_and_new_matrices(relora):
    """Step 3 ends the first part; at step 4 its adapter is kept, and the new one has done one step."""
    third, fourth = (relora.parent / f"out/checkpoint-{step}" for step in (3, 4))
    before = load_file(third / "adapter_model.safetensors")
    kept = load_file(fourth / "kept/adapter_model.safetensors")
    for name in (name for name in before if "lora_A" in name):
        other = name.replace("lora_A", "lora_B")
        scale = adapter_config(third)["lora_alpha"] / adapter_config(third)["r"]
        torch.testing.assert_close(kept[other] @ kept[name], before[other] @ before[name] * scale)
    now = load_file(fourth / "adapter_model.safetensors")
    assert all((now[name].abs() <= 1.1e-2).all() for name in now if "lora_B" in name)  # a step from zero


@pytest.mark.parametrize("step", [2, 3, 5, 6])
def test_relora_goes_on_exactly_from_any_checkpoint(relora, train, tiny_config, tmp_path, step):
    checkpoint = relora.parent / f"out/checkpoint-{step}"
    output = train(tiny_config(tmp_path, **RELORA, resume_from_checkpoint=str(checkpoint)))
    expected = load_file(relora.parent / "out/adapter_model.safetensors")
    found = load_file(output / "adapter_model.safetensors")
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_a_checkpoint_of_relora_answers_with_all_its_parts(relora):
    folder = relora.parent / "out/checkpoint-8"
    config = load(str(relora))

    def of(path):
        return logits(load_adapter(load_base_model(config.model, "float32"), str(path)).eval())

    torch.testing.assert_close(of(folder), of(relora.parent / "out"), atol=1e-5, rtol=0)
    assert (of(folder) - of(relora.parent / "out/checkpoint-3")).abs().max() > 1e-3


@pytest.mark.parametrize(("method", "share"), [("magnitude", 0.9), ("random", 0.9), ("reset", 0.999)])
def test_a_restart_thins_the_optimizer_state(method, share):
    section = AdapterSection(adapter="lora", lora_r=4, relora=True, relora_prune_method=method)
    memory = {"step": torch.tensor(3.0), "exp_avg": torch.arange(1.0, 10_001).view(100, 100)}
    ReLora(None, section, 5).thin(memory)
    left = memory["exp_avg"].nonzero()
    assert len(left) == round(10_000 * (1 - share))
    assert (memory["exp_avg"].max() == 10_000) or method != "magnitude"
    assert memory["step"] == 3
    chosen = AdapterSection(adapter="lora", lora_r=4, relora=True, relora_prune_ratio=0.0)
    ReLora(None, chosen, 5).thin(memory)
    assert len(memory["exp_avg"].nonzero()) == len(left)


def test_a_rounded_optimizer_state_is_dropped_whole():
    memory = {"step": 3, "state1": torch.ones(8, dtype=torch.uint8), "qmap1": torch.ones(256)}
    ReLora(None, AdapterSection(adapter="lora", lora_r=4, relora=True), 5).thin(memory)
    assert memory == {}


TOKENS = {"tokens": ["<one>", "<two>"], "special_tokens": {"eos_token": "<stop>"}}


@pytest.fixture(scope="module")
def with_tokens(train, tiny_config, tmp_path_factory, write_jsonl):
    folder = tmp_path_factory.mktemp("tokens")
    rows = write_jsonl(folder / "rows.jsonl", [{"text": f"<one> {n} <two> {n + 1}"} for n in range(8)])
    data = {"datasets": [{"path": str(rows), "type": "completion"}]}
    whole = {"lora_modules_to_save": ["embed_tokens", "lm_head"]}
    config = tiny_config(folder, **data, **TOKENS, **whole, max_steps=6)
    train(config)
    return config


def test_new_tokens_are_trained_and_merged(with_tokens, tokenizer, tmp_path):
    config = load(str(with_tokens))
    variant = load_variants(config, detect())[0].model
    size = len(tokenizer) + 3
    assert variant.get_input_embeddings().weight.shape[0] == size
    fresh = load_base_model(config.model, "float32")
    for layer, old in (
        (variant.get_output_embeddings(), fresh.lm_head),
        (variant.get_input_embeddings(), fresh.model.embed_tokens),
    ):
        step = (layer.weight - old.weight)[len(tokenizer) :].abs().amax(1)
        assert (step[1:] > 1e-3).all()  # the end token is first, and the model is not asked what follows it
    assert merge([str(with_tokens), "--output", str(tmp_path / "merged"), "--dtype", "float32"]) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    saved = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert merged.config.vocab_size == len(saved) == size
    assert saved.convert_tokens_to_ids("<two>") == len(tokenizer) + 2
    assert merged.config.eos_token_id == saved.eos_token_id == len(tokenizer)
    torch.testing.assert_close(logits(merged), logits(variant), atol=1e-4, rtol=0)


def test_rows_of_new_tokens_alone_can_be_trained(train, tiny_config, tokenizer, tmp_path):
    ids = [len(tokenizer)]
    rows = {"embed_tokens": ids, "lm_head": ids}
    output = train(tiny_config(tmp_path, tokens=["<one>"], peft_trainable_token_indices=rows, max_steps=2))
    saved = load_file(output / "adapter_model.safetensors")
    sizes = {weight.shape[0] for name, weight in saved.items() if "trainable_tokens_delta" in name}
    assert sizes == {1}
    assert load_variants(load(str(tmp_path / "config.yml")), detect())[0].model.config.vocab_size == len(tokenizer) + 1


def test_an_adapter_that_leaves_new_tokens_untrained_is_refused(tiny_config, tmp_path, capsys):
    from tunesmith.cli.train import main

    assert main([str(tiny_config(tmp_path, **TOKENS, max_steps=1))]) == 3
    assert "set `lora_modules_to_save: [embed_tokens, lm_head]`" in capsys.readouterr().err


def test_full_fine_tuning_saves_the_grown_model_and_answers_with_it(train, tiny_config, tokenizer, tmp_path):
    config = tiny_config(tmp_path, **FULL, **TOKENS, resize_token_embeddings_to_32x=True, max_steps=1)
    output = train(config)
    model = load_variants(load(str(config)), detect())[0].model
    assert len(weights(output)["lm_head.weight"]) == model.config.vocab_size == len(tokenizer) + 32
    assert AutoTokenizer.from_pretrained(output).eos_token == "<stop>"
    assert model.config.eos_token_id == len(tokenizer)


def test_random_weights_are_trained_and_answered_with(train, tiny_config, tiny_model, tmp_path):
    config = tiny_config(tmp_path, **FULL, reinit_weights=True, max_steps=1, learning_rate=1e-5)
    output = train(config)
    before, after = weights(tiny_model)["lm_head.weight"], weights(output)["lm_head.weight"]
    assert (before - after).abs().max() > 0.01
    model = load_variants(load(str(config)), detect())[0].model
    assert torch.equal(model.lm_head.weight, after)
