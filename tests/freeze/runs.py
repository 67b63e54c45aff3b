"""Whole commands: the tokens of prepared datasets, and the losses of short seeded runs of a tiny model."""

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from adapters import SMOLLM, find_tokenizer, metrics, prepared_sets, run_command
from tokens import digest

QUESTIONS = [
    "What is 2 + 2?",
    "Name a color.",
    "Say hello in French.",
    "Which animal says moo?",
    "Is water wet?",
    "Go on: A, B,",
]
ANSWERS = [
    "4, because two and two make four.",
    "Blue.",
    "Bonjour !",
    "A cow says moo, a cat does not.",
    "Yes.",
    "C, D and E.",
]
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
QLORA = LORA | {"adapter": "qlora", "load_in_4bit": True}
RUNS: dict[str, dict[str, Any]] = {
    "full": {},
    "full, inputs": {"train_on_inputs": True},
    "full, packed": {"sample_packing": True},
    "full, accumulated": {"micro_batch_size": 1, "gradient_accumulation_steps": 2},
    "full, axolotl": {"mask": "axolotl"},
    "lora": LORA,
    "lora, packed": LORA | {"sample_packing": True},
    "lora, plain layers": LORA | {"fused_layers": False},
    "lora, dora": LORA | {"peft_use_dora": True},
    "lora, bf16": LORA | {"bf16": True},
    "qlora": QLORA,
    "muon": {"optimizer": "muon"},
    "checkpointing": LORA | {"gradient_checkpointing": True},
    "eaft": {"use_eaft": True},
    "neftune": {"neftune_noise_alpha": 5},
    **{f"{rl}, full": {"rl": rl} for rl in ("dpo", "ipo", "simpo", "orpo", "kto")},
    **{f"{rl}, lora": LORA | {"rl": rl} for rl in ("dpo", "ipo", "simpo", "orpo", "kto")},
    "dpo, qlora": QLORA | {"rl": "dpo"},
    "dpo, losses": {"rl": "dpo", "dpo_loss_type": ["hinge", "sigmoid_norm"], "dpo_loss_weights": [1.0, 0.5]},
    "dpo, weighted": {"rl": "dpo", "dpo_use_weighting": True, "dpo_label_smoothing": 0.1},
    "kto, weights": {"rl": "kto", "kto_desirable_weight": 2.0},
    "dpo, eval": {"rl": "dpo", "val_set_size": 2, "evals_per_epoch": 1},
    "lora, eval": LORA | {"val_set_size": 2, "evals_per_epoch": 1},
}
"""Name -> keys of a run."""
MEASURED = ("loss", "eval_loss", "grad_norm")


def prepared() -> dict[str, str]:
    """Return for each kind of rows the hash of the ids and labels that `preprocess` writes."""
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for run in RUNS:
            code, _ = run_command("preprocess", str(_config(folder, run)))
            results[run] = f"{code} {digest(prepared_sets(folder / 'prepared'))} -"
    return results


def losses() -> dict[str, str]:
    """Return for each run the losses of its steps, and what else it measured."""
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for run in RUNS:
            code, _ = run_command("train", str(_config(folder, run)))
            entries = metrics(folder / f"out-{run}") if code == 0 else []
            values = [f"{key}={entry[key]:.4g}" for entry in entries for key in MEASURED if key in entry]
            results[run] = f"{code} {' '.join(values)} -"
    return results


def _config(folder: Path, run: str) -> Path:
    """Write model, rows and config of a run; return the config's file."""
    keys = RUNS[run]
    rows = folder / f"{keys.get('rl', 'chat')}.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _rows(keys.get("rl"))), encoding="utf-8")
    values = {
        "base_model": str(_tiny_model(folder / "model")),
        "datasets": [{"path": str(rows), **({} if "rl" in keys else {"type": "chat_template"})}],
        "chat_template": "chatml",
        "sequence_len": 64,
        "bf16": False,
        "micro_batch_size": 2,
        "learning_rate": 1e-2,
        "max_steps": 4,
        "logging_steps": 1,
        "seed": 7,
        "data_checks": "off",
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / f"out-{run}"),
    }
    file = folder / "file.yml"
    file.write_text(yaml.safe_dump(values | keys, sort_keys=False), encoding="utf-8")
    for old in sorted((folder / "prepared").rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    return file


def _rows(rl: str | None) -> list[dict[str, Any]]:
    pairs = list(zip(QUESTIONS, ANSWERS, strict=True)) * 2
    if rl is None:
        return [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    if rl == "kto":
        return [{"prompt": q, "completion": f" {a}", "label": index % 3 != 0} for index, (q, a) in enumerate(pairs)]
    return [{"prompt": q, "chosen": f" {a}", "rejected": f" {a[::-1]}"} for q, a in pairs]


def _tiny_model(folder: Path) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if not folder.exists():
        tokenizer = find_tokenizer(SMOLLM)
        torch.manual_seed(0)
        shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **heads)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder
