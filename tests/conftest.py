"""What tests share: the built-in model's real tokenizer, and small configs and data files."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from real_tokenizers import FAMILIES, load_family
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import ModelSection

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side; each takes one core, also in what it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")

BASE_MODEL = "builtin/smollm2-135m-instruct"


@pytest.fixture(scope="session")
def tokenizer():
    """The built-in model's own tokenizer. Shared: do not change it."""
    return model_tokenizer(ModelSection(base_model=BASE_MODEL))


@pytest.fixture(scope="session")
def model_folder() -> str:
    """The folder of the built-in model's weights and tokenizer."""
    return local_base_model(BASE_MODEL)


def family_fixture(family: str):
    """Return the fixture of a family's real tokenizer. Shared: do not change it."""

    @pytest.fixture(scope="session", name=family)
    def fixture():
        tokenizer = load_family(family)
        if tokenizer is None:
            pytest.skip(f"no tokenizer of {family} here: `make test-tokenizers` fetches {FAMILIES[family][0]}")
        return tokenizer

    return fixture


mistral_v1, mistral_v2, mistral_v3, mistral_v7 = map(
    family_fixture, ("mistral_v1", "mistral_v2", "mistral_v3", "mistral_v7")
)
tekken, qwen, qwen3, llama3_1 = map(family_fixture, ("tekken", "qwen", "qwen3", "llama3_1"))
gemma3, gptoss, deepseek_v3, deepseek_v4 = map(family_fixture, ("gemma3", "gptoss", "deepseek_v3", "deepseek_v4"))


def make_chat_rows(count: int) -> list[dict[str, Any]]:
    """Return `count` short conversations, all different, the same ones each time."""
    return [
        {
            "messages": [
                {"role": "system", "content": "You add numbers."},
                {"role": "user", "content": f"What is {n} + {n % 7}?"},
                {"role": "assistant", "content": f"It is {n + n % 7}."},
            ]
        }
        for n in range(count)
    ]


def dump_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows to `path`, one JSON object a line, and return it."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def dump_config(folder: Path, **keys: Any) -> Path:
    """Write a small valid LoRA config to `folder`, with `keys` in place of its own, and return the YAML file.

    A key that is None is left out of the file. Without `datasets`, eight chat rows are written beside it.
    """
    if "datasets" not in keys:
        dump_jsonl(folder / "rows.jsonl", make_chat_rows(8))
    values = {
        "base_model": BASE_MODEL,
        "datasets": [{"path": str(folder / "rows.jsonl"), "type": "chat_template"}],
        "sequence_len": 256,
        "adapter": "lora",
        "lora_r": 8,
        "lora_target_linear": True,
        "micro_batch_size": 1,
        "num_epochs": 1,
        "learning_rate": 1e-3,
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        **keys,
    }
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return file


@pytest.fixture(scope="session")
def chat_rows():
    """`chat_rows(n)` makes n short conversations, the same ones each time."""
    return make_chat_rows


@pytest.fixture(scope="session")
def write_jsonl():
    """`write_jsonl(path, rows)` writes rows as JSON lines and returns the path."""
    return dump_jsonl


@pytest.fixture(scope="session")
def write_config():
    """`write_config(folder, **keys)` writes a small valid config and returns the YAML file."""
    return dump_config


CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    """Chromium, for the tests of pages; they are skipped where it is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()
