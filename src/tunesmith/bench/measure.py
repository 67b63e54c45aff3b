"""Runs both systems at the same work, in turns, and puts side by side what was measured."""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tunesmith.bench.preparation import rows_per_second
from tunesmith.data.splits import prepare_splits
from tunesmith.errors import ConfigError, RunError
from tunesmith.hardware import Hardware, detect
from tunesmith.log import note
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config

DEFAULT, FP32, BEST = ("trl", "default"), ("trl", "fp32"), ("trl", "bf16, packed, no checkpointing")
OURS = ("tunesmith", "default")
PEERS: dict[tuple[str, str], dict[str, Any]] = {
    DEFAULT: {},
    FP32: {"bf16": False},
    BEST: {
        "packing": True,
        "per_device_train_batch_size": 1,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "bfloat16"},
    },
}
"""System and setting -> what is set besides TRL's defaults. The last was the fastest of many that were tried; a packed
sequence holds about as many tokens as a step of the others, if `sequence_len` is that long."""
OWN: dict[tuple[str, str], dict[str, Any]] = {
    OURS: {},
    ("tunesmith", "fused_layers: false"): {"fused_layers": False},
}
"""Setting -> keys besides those of the file."""
WARM_UP = 2
"""Steps that are not counted."""
AGREE = 0.03
"""Share by which a step's loss may differ from TRL's: what is computed in bf16 in another order differs by less."""


@dataclass(frozen=True)
class Run:
    """What one run of one system was measured at.

    Attributes:
        system: `tunesmith` or `trl`.
        setting: in which setting.
        tokens_per_s: real tokens, not padding, a second, after the first steps.
        peak_mb: the most memory that the process held, in MiB.
        first_step_s: seconds from the start of the process to the end of the first step.
        losses: of each step.
        tokens: seen by the end of each step.
    """

    system: str
    setting: str
    tokens_per_s: float
    peak_mb: float
    first_step_s: float
    losses: list[float]
    tokens: list[int]


@dataclass(frozen=True)
class Work:
    """What all systems do: rows in tokens, and the settings that they share."""

    rows: str
    tokens: int
    settings: dict[str, Any]


def make_work(
    config: Config, folder: Path, *, rows: int, mean: int, batch: int, epochs: int, hardware: Hardware
) -> Work:
    """Write `rows` rows of a config's samples in tokens, and return the work that they are.

    Args:
        config: names the data, the model and the adapter.
        folder: where to write.
        rows: how many.
        mean: tokens of a row on average, for which samples are joined to lengths that spread lognormally, as those of
            chats do; 0 takes the samples as they are.
        batch: rows a step.
        epochs: passes over the rows.
        hardware: the machine.

    Raises:
        ConfigError: the config has no LoRA adapter on linear layers, which is what is compared.
    """
    adapter = config.adapter
    if adapter.adapter != "lora" or not adapter.lora_target_linear:
        raise ConfigError(
            "the benchmark compares LoRA on all linear layers: `adapter: lora`, `lora_target_linear: true`"
        )
    train = prepare_splits(config, model_tokenizer(config.model)).train
    samples = list(_joined(train, rows, mean, config.data.sequence_len))
    file = folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(sample)}\n" for sample in samples))
    settings = {
        "rows": str(file),
        "model": local_base_model(config.model.base_model),
        "cpu": hardware.kind == "cpu",
        "micro_batch_size": batch,
        "num_epochs": epochs,
        "sequence_len": config.data.sequence_len,
        "learning_rate": config.training.learning_rate,
        "seed": config.training.seed,
        "lora": {
            "r": adapter.lora_r,
            "lora_alpha": adapter.lora_alpha or 2 * (adapter.lora_r or 0),
            "lora_dropout": adapter.lora_dropout,
            "target_modules": "all-linear",
        },
    }
    return Work(str(file), sum(len(sample["input_ids"]) for sample in samples), settings)


def _joined(train: Any, rows: int, mean: int, longest: int) -> Iterator[dict[str, list[int]]]:
    """Yield samples, or samples end to end that have about the wanted lengths."""
    draw, index = random.Random(0), 0
    for _ in range(rows):
        wanted = min(longest, round(mean * draw.lognormvariate(-0.125, 0.5)))  # e^-0.125: the mean is `mean`
        row: dict[str, list[int]] = {"input_ids": [], "labels": []}
        while not row["input_ids"] or len(row["input_ids"]) < wanted:
            sample = train[index % len(train)]
            index += 1
            row = {key: (row[key] + sample[key])[:longest] for key in row}
        yield row


def measure(config: Config, *, rows: int, mean: int, batch: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Return what is to be written to a file: the machine, each run, and the ratios of their medians.

    Raises:
        ConfigError: see `make_work`.
        RunError: a run failed, or did other work than the others.
    """
    hardware = detect()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as place:
        work = make_work(config, Path(place), rows=rows, mean=mean, batch=batch, epochs=epochs, hardware=hardware)
        note(f"{rows} rows, {work.tokens:,} tokens, {batch} rows a step, {epochs} epochs, {rounds} rounds, in turns")
        for index in range(rounds):
            for number, (name, keys) in enumerate([*OWN.items(), *PEERS.items()]):
                folder = Path(place) / f"{index}-{number}"
                folder.mkdir()
                runs.append((own_run if name in OWN else peer_run)(folder, work, name, keys))
                note(_line(runs[-1]))
        prepared = rows_per_second(Path(place))
        note(f"rows a second made into tokens: {prepared}")
    found = {"loss_difference": same_work(runs), **_sum(runs)}
    found["ratios"]["preprocess_rows_per_s_vs_trl"] = round(prepared["tunesmith"] / prepared["trl"], 3)
    about = {"rows": rows, "tokens": work.tokens, "rows_a_step": batch}
    return {"machine": str(hardware), "work": about, **found, "preprocess_rows_per_s": prepared}


def own_run(folder: Path, work: Work, name: tuple[str, str], keys: dict[str, Any]) -> Run:
    """Run `tunesmith train` on the work, with `keys` besides, and return what was measured."""
    shared, lora = work.settings, work.settings["lora"]
    values = {
        "base_model": shared["model"],
        "datasets": [{"path": work.rows, "type": "pretokenized"}],
        "dataset_prepared_path": str(folder / "prepared"),
        "adapter": "lora",
        "lora_r": lora["r"],
        "lora_alpha": lora["lora_alpha"],
        "lora_dropout": lora["lora_dropout"],
        "lora_target_linear": True,
        "curriculum_sampling": True,
        "lr_scheduler": "linear",
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "output_dir": str(folder / "out"),
        **{key: shared[key] for key in ("micro_batch_size", "num_epochs", "sequence_len", "learning_rate", "seed")},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(values | keys))
    command = [sys.executable, "-m", "tunesmith", "train", str(folder / "config.yml")]
    return _run(command, folder, folder / "out/run/metrics.jsonl", name)


def peer_run(folder: Path, work: Work, name: tuple[str, str], keys: dict[str, Any]) -> Run:
    """Run TRL on the work, with `keys` besides, and return what was measured."""
    (folder / "work.json").write_text(json.dumps(work.settings | {"settings": keys}))
    return _run([sys.executable, "-m", "tunesmith.bench.peer", str(folder)], folder, folder / "metrics.jsonl", name)


def _run(command: Sequence[str], folder: Path, metrics: Path, name: tuple[str, str]) -> Run:
    """Run a command to its end, and look on from outside: when each step's line is written, and how much it holds."""
    with (folder / "log").open("w+") as log:
        begun = time.monotonic()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        lines, times = [], []
        for line in _lines_as_written(metrics, process):
            lines.append(json.loads(line))
            times.append(time.monotonic() - begun)
        _, status, usage = os.wait4(process.pid, 0)
        if status or len(times) <= WARM_UP:
            log.seek(0)
            raise RunError(f"{' '.join(name)} failed; the end of what it said:\n{log.read()[-2000:]}")
    tokens = [line["tokens"] for line in lines]
    speed = (tokens[-1] - tokens[WARM_UP - 1]) / (times[-1] - times[WARM_UP - 1])
    losses = [line["loss"] for line in lines]
    return Run(*name, round(speed, 1), round(usage.ru_maxrss / 1024), round(times[0], 1), losses, tokens)


def _lines_as_written(file: Path, process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """Yield the lines of a file soon after they are written, until the process has ended."""
    seen = 0
    while True:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        yield from lines[seen:]
        seen = len(lines)
        if ended:
            return
        time.sleep(0.02)


def same_work(runs: Sequence[Run]) -> float:
    """Return by which share a loss of ours differs from that of TRL's default at most.

    Raises:
        RunError: that is too much, or the tokens of a step are not the same.
    """
    one, other = (next(run for run in runs if (run.system, run.setting) == name) for name in (OURS, DEFAULT))
    if one.tokens != other.tokens:
        raise RunError(f"the steps were not the same: tokens by each step {one.tokens} and {other.tokens}")
    largest = max(abs(ours / theirs - 1) for ours, theirs in zip(one.losses, other.losses, strict=True))
    if largest > AGREE:
        raise RunError(f"the losses do not agree within {AGREE:.0%}: {one.losses} and {other.losses}")
    return round(largest, 4)


def _sum(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the runs, the ratios of their medians, and the least and the largest ratio of a round."""

    def all_of(name: tuple[str, str], key: str) -> list[float]:
        return [float(asdict(run)[key]) for run in runs if (run.system, run.setting) == name]

    ratios, spread = {}, {}
    for key, label in (("tokens_per_s", "tokens_per_s"), ("peak_mb", "peak_memory"), ("first_step_s", "first_step")):
        ours = all_of(OURS, key)
        for peer, called in ((DEFAULT, "default"), (FP32, "fp32"), (BEST, "best")):
            theirs, name = all_of(peer, key), f"{label}_vs_trl_{called}"
            each = [one / other for one, other in zip(ours, theirs, strict=True)]
            ratios[name] = round(statistics.median(ours) / statistics.median(theirs), 3)
            spread[name] = [round(min(each), 3), round(max(each), 3)]
    return {"runs": [asdict(run) for run in runs], "ratios": ratios, "spread": spread}


def _line(run: Run) -> str:
    losses = " ".join(f"{loss:.4f}" for loss in run.losses[:6])
    return (
        f"{run.system:<9}  {run.setting:<30}  {run.tokens_per_s:7.1f} tokens/s  {run.peak_mb:6.0f} MiB  "
        f"{run.first_step_s:5.1f} s to the first step  losses {losses}"
    )
