"""Speed of tokenization and peak memory, measured in separate processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import yaml

from tunesmith.errors import RunError
from tunesmith.modeling.builtin import local_base_model

MODEL = "builtin/smollm2-135m-instruct"
FEW, MANY = 1_000, 20_000
"""Rows of two runs; their difference has no start-up time."""


def measure_rows_per_second(folder: Path) -> dict[str, float]:
    """Return rows per second of Tunesmith and of TRL, without start-up time."""
    speeds: dict[str, float] = {}
    for name, run in (("tunesmith", preprocess), ("trl", _prepare_with_trl)):
        seconds = [run(folder, count)[0] for count in (FEW, MANY)]
        speeds[name] = round((MANY - FEW) / max(seconds[1] - seconds[0], 1e-9))
    return speeds


def preprocess(folder: Path, count: int) -> tuple[float, float]:
    """Run `tunesmith preprocess` on so many chats; return seconds and peak memory in MiB."""
    rows = folder / f"{count}.jsonl"
    rows.write_text("".join(json.dumps({"messages": list(chain(*_chat(number)))}) + "\n" for number in range(count)))
    values = {
        "base_model": MODEL,
        "datasets": [{"path": str(rows), "type": "chat_template"}],
        "learning_rate": 1e-4,
        "dataset_prepared_path": str(folder / "prepared"),
    }
    (folder / f"{count}.yml").write_text(yaml.safe_dump(values))
    return _run_measured([sys.executable, "-m", "tunesmith", "preprocess", str(folder / f"{count}.yml")])


def _prepare_with_trl(folder: Path, count: int) -> tuple[float, float]:
    """Prepare the same chats with TRL, which needs prompt and completion to know what is in the loss."""
    run_folder = folder / f"trl-{count}"
    run_folder.mkdir()
    chats = (dict(zip(("prompt", "completion"), _chat(number), strict=True)) for number in range(count))
    (run_folder / "rows.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    work = {
        "rows": str(run_folder / "rows.jsonl"),
        "cache": str(run_folder / "cache"),
        "model": local_base_model(MODEL),
    }
    (run_folder / "work.json").write_text(json.dumps(work))
    return _run_measured([sys.executable, "-m", "tunesmith.bench.peer", str(run_folder)])


def _chat(number: int) -> list[list[dict[str, str]]]:
    """Return prompt and answer of a chat without duplicates."""
    numbers = ", ".join(str((number * 7919 + step * 104729) % 9973) for step in range(24))
    question = f"Question {number}: which of {numbers} is the largest?"
    answer = f"I compare them one by one. The numbers were {numbers}. Answer {number}."
    return [[{"role": "user", "content": question}], [{"role": "assistant", "content": answer}]]


def _run_measured(command: Sequence[str]) -> tuple[float, float]:
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    log = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RunError(f"{' '.join(command)} failed; the end of its output:\n{log[-2000:]}")
    return time.monotonic() - start, usage.ru_maxrss / 1024
