"""Every recipe of docs/training.md, run to its end: trained, asked, evaluated, merged, and loaded by transformers."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tunesmith.cli.evaluate import main as evaluate
from tunesmith.cli.inference import main as infer
from tunesmith.cli.merge_lora import main as merge
from tunesmith.cli.train import main as train
from tunesmith.config.folder import load_folder
from tunesmith.generation.variants import load_variants
from tunesmith.hardware import detect

TOKENS = {"tokens": ["<cell>", "</cell>"]}
BOTH = {"lora_modules_to_save": ["embed_tokens", "lm_head"]}
NEW_IDS = [49152, 49153]
EMBEDDINGS = {"lora_target_linear": None, "lora_target_modules": ["q_proj", "embed_tokens"]}
HEAD = {"lora_target_linear": None, "lora_target_modules": ["q_proj", "lm_head"]}
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}

RECIPES = {
    "lora": {},
    "some layers": {"lora_target_linear": None, "lora_target_modules": ["q_proj", "down_proj"]},
    "rslora": {"peft_use_rslora": True},
    "dora": {"peft_use_dora": True},
    "pissa": {"peft_init_lora_weights": "pissa"},
    "olora": {"peft_init_lora_weights": "olora"},
    "orthogonal": {"peft_init_lora_weights": "orthogonal"},
    "ranks": {"lora_rank_pattern": {"q_proj": 4}, "lora_alpha_pattern": {"v_proj": 3}},
    "relora": {"relora": True, "jagged_restart_steps": 2}
    | {"jagged_restart_warmup_steps": 1, "jagged_restart_anneal_steps": 1},
    "qlora": {"adapter": "qlora", "load_in_4bit": True},
    "new tokens, all rows": TOKENS | BOTH,
    "new tokens, special": {"special_tokens": {"additional_special_tokens": ["<cell>", "</cell>"]}} | BOTH,
    "new tokens, other order": TOKENS | {"lora_modules_to_save": ["lm_head", "embed_tokens"]},
    "new tokens, their rows": TOKENS | {"peft_trainable_token_indices": {"embed_tokens": NEW_IDS, "lm_head": NEW_IDS}},
    "new tokens, 32x": TOKENS | BOTH | {"resize_token_embeddings_to_32x": True},
    "reserved tokens": {"added_tokens_overrides": {16: "<|tool|>"}},
    "lora on embeddings": EMBEDDINGS,
    "lora on the head": HEAD,
    "lora on both, tied": EMBEDDINGS | {"peft_ensure_weight_tying": True},
    "dora on embeddings": EMBEDDINGS | {"peft_use_dora": True},
    "embeddings saved": {"lora_modules_to_save": ["embed_tokens"]},
    "model settings": {"overrides_of_model_config": {"rope_parameters": {"rope_theta": 5000.0}}},
    "all parameters": FULL,
    "some parameters": FULL | {"unfrozen_parameters": ["^lm_head.weight$[:32000]", "model.layers.1"]},
    "some layers at a time": FULL | {"lisa_n_layers": 1, "lisa_step_interval": 2},
    "all parameters, new tokens": FULL | TOKENS,
}
QUICK = ("new tokens, all rows", "lora on embeddings")
PROBE = "What is <cell>3 + 3</cell>?"


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def base(request, tmp_path_factory, tokenizer):
    """A tiny model, without and with tied embeddings."""
    folder = tmp_path_factory.mktemp("base") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), **shape, **heads, tie_word_embeddings=request.param)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write(write_config, write_jsonl, folder, **keys):
    """Write a config of four steps whose answers hold the new tokens."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {n} + 1?"},
                {"role": "assistant", "content": f"<cell>{n + 1}</cell>"},
            ]
        }
        for n in range(4)
    ]
    dataset = {"path": str(write_jsonl(folder / "rows.jsonl", rows)), "type": "chat_template"}
    values = {
        "datasets": [dataset],
        "test_datasets": [dataset],
        "eval_strategy": "no",
        "bf16": False,
        "lora_r": 2,
        "max_steps": 4,
        "warmup_steps": 0,
        "learning_rate": 2e-2,
        "save_strategy": "no",
    }
    return write_config(folder, **(values | keys))


def logits(model, tokenizer):
    with torch.no_grad():
        return model.eval()(tokenizer(PROBE, return_tensors="pt").input_ids).logits.float()


def use(folder, capsys):
    """Ask and evaluate the model in a folder."""
    assert infer([str(folder), "--prompt", "What is 3 + 1?", "--max-new-tokens", "2"]) == 0
    assert evaluate([str(folder), "--evaluation.max_new_tokens", "2"]) == 0
    assert "loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
)
def test_a_recipe_works_to_its_end(base, name, write_config, write_jsonl, tmp_path, capsys):
    config = write(write_config, write_jsonl, tmp_path, base_model=str(base), **RECIPES[name])
    run = tmp_path / "out"
    assert train([str(config)]) == 0
    use(run, capsys)
    before = [variant.model for variant in load_variants(load_folder(str(run)), detect(), base=True)]
    tokenizer = AutoTokenizer.from_pretrained(run)
    tuned = logits(before[-1], tokenizer)
    result = run
    if RECIPES[name].get("adapter", "lora"):
        for given, output in ((run, "merged"), (config, "merged-by-file")):
            assert merge([str(given), "--output", str(run / output), "--dtype", "float32"]) == 0
        result = run / "merged"
        use(result, capsys)
    plain = AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32)
    distance = (logits(plain, AutoTokenizer.from_pretrained(result)) - tuned).norm() / tuned.norm()
    assert distance < (0.03 if name == "qlora" else 1e-5), "4-bit layers compute in bf16 on a CPU, all others in fp32"
    start = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    start.resize_token_embeddings(plain.config.vocab_size)
    assert (logits(start, tokenizer) - tuned).abs().max() > 0.01, "the run changed the model"
