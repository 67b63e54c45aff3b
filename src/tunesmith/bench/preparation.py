"""How fast rows become tokens, in processes of their own, with all that starting takes."""

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
"""Rows of the two runs whose difference is the work without the start."""


def rows_per_second(folder: Path) -> dict[str, float]:
    """Return rows a second of Tunesmith and of TRL, without the time that both take to start."""
    found: dict[str, float] = {}
    for name, run in (("tunesmith", preprocess), ("trl", _peer)):
        seconds = [run(folder, count)[0] for count in (FEW, MANY)]
        found[name] = round((MANY - FEW) / max(seconds[1] - seconds[0], 1e-9))
    return found


def preprocess(folder: Path, count: int) -> tuple[float, float]:
    """Run `tunesmith preprocess` on so many chats, and return seconds and the MiB that it held at most."""
    rows = folder / f"{count}.jsonl"
    rows.write_text("".join(json.dumps({"messages": list(chain(*_chat(number)))}) + "\n" for number in range(count)))
    values = {
        "base_model": MODEL,
        "datasets": [{"path": str(rows), "type": "chat_template"}],
        "learning_rate": 1e-4,
        "dataset_prepared_path": str(folder / "prepared"),
    }
    (folder / f"{count}.yml").write_text(yaml.safe_dump(values))
    return _measured([sys.executable, "-m", "tunesmith", "preprocess", str(folder / f"{count}.yml")])


def _peer(folder: Path, count: int) -> tuple[float, float]:
    """Let TRL prepare the same chats; to know what is trained, it takes prompt and completion."""
    place = folder / f"trl-{count}"
    place.mkdir()
    chats = (dict(zip(("prompt", "completion"), _chat(number), strict=True)) for number in range(count))
    (place / "rows.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    work = {"rows": str(place / "rows.jsonl"), "cache": str(place / "cache"), "model": local_base_model(MODEL)}
    (place / "work.json").write_text(json.dumps(work))
    return _measured([sys.executable, "-m", "tunesmith.bench.peer", str(place)])


def _chat(number: int) -> list[list[dict[str, str]]]:
    """Return prompt and answer of a chat that is like no other."""
    numbers = ", ".join(str((number * 7919 + step * 104729) % 9973) for step in range(24))
    question = f"Question {number}: which of {numbers} is the largest?"
    answer = f"I compare them one by one. The numbers were {numbers}. Answer {number}."
    return [[{"role": "user", "content": question}], [{"role": "assistant", "content": answer}]]


def _measured(command: Sequence[str]) -> tuple[float, float]:
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RunError(f"{' '.join(command)} failed; the end of what it said:\n{said[-2000:]}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024
