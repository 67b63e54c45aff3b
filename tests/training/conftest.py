"""A tiny model of the real architecture, so that whole runs take seconds; and runs as plain functions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.cli.train import main

# Idle threads of OpenMP spin by default: beside another busy process every step gets five times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TEXTS = [
    "Paris is the capital of France.",
    "Two and two make four.",
    "Grass is green, and the sky is blue.",
    "A cat says meow.",
    "Cold is the opposite of hot.",
    "A week has seven days.",
    "Jupiter is the largest planet.",
    "Frozen water is ice.",
    "A spider has eight legs, an ant has six.",
    "January is the first month of the year.",
    "A baby dog is a puppy.",
    "The sun rises in the east.",
]


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory, write_jsonl):
    """Twelve short texts for `type: completion`."""
    return write_jsonl(tmp_path_factory.mktemp("texts") / "texts.jsonl", [{"text": text} for text in TEXTS])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tokenizer):
    """A folder with a two-layer Llama with random weights, and the built-in model's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape, **heads)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_model, texts_file, write_config):
    """`tiny_config(folder, **keys)` writes a config that trains the tiny model on the short texts, in fp32."""

    def write(folder, **keys):
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "base_model": str(tiny_model),
            "datasets": [{"path": str(texts_file), "type": "completion"}],
            "sequence_len": 64,
            "bf16": False,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "dataset_prepared_path": str(texts_file.parent / "prepared"),
        }
        return write_config(folder, **(values | keys))

    return write


def _train(config: Path, *arguments: str) -> Path:
    assert main([str(config), *arguments]) == 0
    return config.parent / "out"


@pytest.fixture(scope="session")
def train():
    """`train(config, *arguments)` runs the command in this process and returns its output folder."""
    return _train


def _start(config: Path, *arguments: str, launcher: tuple[str, ...] = (sys.executable,)) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*launcher, "-m", "tunesmith.cli.train", str(config), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="session")
def start():
    """`start(config, *arguments)` runs the command in a process of its own; all it prints is in its `stdout`."""
    return _start


def _wait_for_line(process: "subprocess.Popen[str]", part: str) -> None:
    lines = []
    for line in process.stdout:
        lines.append(line)
        if part in line:
            return
    pytest.fail(f"the process ended without a line with {part!r}:\n{''.join(lines)}")


@pytest.fixture(scope="session")
def wait_for_line():
    """`wait_for_line(process, part)` reads what a process prints until a line has `part`."""
    return _wait_for_line


def _metrics(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "run/metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def metrics():
    """`metrics(output)` reads what the run in that folder recorded."""
    return _metrics


@pytest.fixture(scope="session")
def losses():
    """`losses(output)` is step -> training loss of the run in that folder."""
    return lambda output: {entry["step"]: entry["loss"] for entry in _metrics(output) if "loss" in entry}
