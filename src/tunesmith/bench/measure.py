"""Runs both systems at the same work, in turns, and compares the measurements."""

import json
import math
import os
import random
import signal
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

from tunesmith.bench.preparation import measure_rows_per_second
from tunesmith.data.splits import prepare_splits
from tunesmith.errors import ConfigError, RunError
from tunesmith.hardware import Hardware, detect
from tunesmith.log import note
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config

DEFAULT, FP32, BEST = ("trl", "default"), ("trl", "fp32"), ("trl", "bf16, packed, no checkpointing")
TUNESMITH = ("tunesmith", "default")
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
"""System and setting -> changes of TRL's defaults. The last was the fastest of many settings; a packed sequence has
about as many tokens as a step of the others, if `sequence_len` is long enough."""
TUNESMITH_RUNS: dict[tuple[str, str], dict[str, Any]] = {
    TUNESMITH: {},
    ("tunesmith", "fused_layers: false"): {"fused_layers": False},
}
"""System and setting -> keys in addition to those of the config."""
WARMUP_STEPS = 2
"""Steps that are not measured."""
MAX_LOSS_DIFFERENCE = 0.03
"""Relative difference of a step's loss from TRL's; another order of operations in bf16 gives less."""


@dataclass(frozen=True)
class Run:
    """The measurements of one run of one system.

    Attributes:
        system: `tunesmith` or `trl`.
        setting: its setting.
        tokens_per_s: tokens without padding, after the warmup steps.
        peak_mb: peak memory of the process, in MiB.
        first_step_s: seconds from process start to the end of the first step.
        losses: of each step.
        tokens: total at the end of each step.
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
    """The work of all runs: tokenized rows, and the common settings."""

    rows: str
    tokens: int
    settings: dict[str, Any]


def make_work(
    config: Config, folder: Path, *, rows: int, mean: int, batch: int, epochs: int, hardware: Hardware
) -> Work:
    """Write `rows` tokenized rows of a config's data, and return the work.

    Args:
        config: has the data, the model and the adapter.
        folder: for the file of rows.
        rows: their number.
        mean: mean tokens of a row; samples are concatenated to lognormal lengths, like those of chats. 0 keeps the
            samples as they are.
        batch: rows a step.
        epochs: passes over the rows.
        hardware: the machine.

    Raises:
        ConfigError: the config has no LoRA adapter on all linear layers.
    """
    adapter = config.adapter
    if adapter.adapter != "lora" or not adapter.lora_target_linear:
        raise ConfigError(
            "the benchmark compares LoRA on all linear layers: `adapter: lora`, `lora_target_linear: true`"
        )
    train = prepare_splits(config, model_tokenizer(config.model)).train
    samples = list(_concatenate(train, rows, mean, config.data.sequence_len))
    if (steps := math.ceil(len(samples) / batch) * epochs) <= WARMUP_STEPS:
        raise ConfigError(
            f"{len(samples)} rows, {batch} a step, {epochs} epochs: {steps} steps, and the first {WARMUP_STEPS} are "
            "not measured. Raise --rows or --epochs, or lower --micro-batch-size"
        )
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


def _concatenate(train: Any, rows: int, mean: int, longest: int) -> Iterator[dict[str, list[int]]]:
    """Yield rows of one or more samples with about the drawn lengths."""
    rng, index = random.Random(0), 0
    for _ in range(rows):
        length = min(longest, round(mean * rng.lognormvariate(-0.125, 0.5)))  # -0.125 makes `mean` the mean
        row: dict[str, list[int]] = {"input_ids": [], "labels": []}
        while not row["input_ids"] or len(row["input_ids"]) < length:
            sample = train[index % len(train)]
            index += 1
            row = {key: (row[key] + sample[key])[:longest] for key in row}
        yield row


def measure(config: Config, *, rows: int, mean: int, batch: int, epochs: int, rounds: int) -> dict[str, Any]:
    """Return the machine, each run, and the ratios of the runs' medians, as plain data.

    Raises:
        ConfigError: see `make_work`.
        RunError: a run failed, or did other work.
    """
    hardware = detect()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as temporary:
        work = make_work(config, Path(temporary), rows=rows, mean=mean, batch=batch, epochs=epochs, hardware=hardware)
        note(f"{rows} rows, {work.tokens:,} tokens, {batch} rows a step, {epochs} epochs, {rounds} rounds, in turns")
        for index in range(rounds):
            for number, (name, keys) in enumerate([*TUNESMITH_RUNS.items(), *PEERS.items()]):
                folder = Path(temporary) / f"{index}-{number}"
                folder.mkdir()
                runs.append((tunesmith_run if name in TUNESMITH_RUNS else trl_run)(folder, work, name, keys))
                note(_format_run(runs[-1]))
        prepared = measure_rows_per_second(Path(temporary))
        note(f"tokenized rows per second: {prepared}")
    summary = {"loss_difference": compare_losses(runs), **_summarize(runs)}
    summary["ratios"]["preprocess_rows_per_s_vs_trl"] = round(prepared["tunesmith"] / prepared["trl"], 3)
    work_facts = {"rows": rows, "tokens": work.tokens, "rows_a_step": batch}
    return {"machine": str(hardware), "work": work_facts, **summary, "preprocess_rows_per_s": prepared}


def tunesmith_run(folder: Path, work: Work, name: tuple[str, str], keys: dict[str, Any]) -> Run:
    """Run `tunesmith train` on the work with additional `keys`, and return the measurements."""
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


def trl_run(folder: Path, work: Work, name: tuple[str, str], keys: dict[str, Any]) -> Run:
    """Run TRL on the work with additional `keys`, and return the measurements."""
    (folder / "work.json").write_text(json.dumps(work.settings | {"settings": keys}))
    return _run([sys.executable, "-m", "tunesmith.bench.peer", str(folder)], folder, folder / "metrics.jsonl", name)


def _run(command: Sequence[str], folder: Path, metrics: Path, name: tuple[str, str]) -> Run:
    """Run a command, and measure from outside when each step's line is written, and the peak memory."""
    with (folder / "log").open("w+") as log:
        start = time.monotonic()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        lines, times = [], []
        for line in _lines_as_written(metrics, process):
            lines.append(json.loads(line))
            times.append(time.monotonic() - start)
        _, status, usage = os.wait4(process.pid, 0)
        if status or len(times) <= WARMUP_STEPS:
            log.seek(0)
            raise RunError(_failure(" ".join(name), os.waitstatus_to_exitcode(status), len(times), log.read()))
    tokens = [line["tokens"] for line in lines]
    losses = [line["loss"] for line in lines]
    return Run(
        *name,
        round(compute_speed(tokens, times), 1),
        round(usage.ru_maxrss / 1024),
        round(times[0], 1),
        losses,
        tokens,
    )


def _failure(name: str, code: int, steps: int, output: str) -> str:
    """Return why a run gave no measurement, with the end of its output."""
    lines = [line for line in output.splitlines() if line.strip()] or ["it printed nothing"]
    if code < 0:
        memory = ": the machine may be out of memory" if code == -signal.SIGKILL else ""
        reason = f"ended by signal {signal.Signals(-code).name}{memory}"
    elif code:
        reason = f"failed with exit code {code}: {lines[-1].strip()}"
    else:
        reason = f"took {steps} steps, and the first {WARMUP_STEPS} are not measured"
    return f"{name} {reason}; the end of its output:\n" + "\n".join(lines)[-2000:]


def compute_speed(tokens: Sequence[int], times: Sequence[float]) -> float:
    """Return tokens per second from the totals and the seconds at the end of each step."""
    return (tokens[-1] - tokens[WARMUP_STEPS - 1]) / (times[-1] - times[WARMUP_STEPS - 1])


def _lines_as_written(file: Path, process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """Yield the lines of a file soon after they are written, until the process ends."""
    num_read = 0
    while True:
        has_ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        yield from lines[num_read:]
        num_read = len(lines)
        if has_ended:
            return
        time.sleep(0.02)


def compare_losses(runs: Sequence[Run]) -> float:
    """Return the largest relative difference of a Tunesmith loss from that of TRL's default setting.

    Raises:
        RunError: it is too large, or the tokens of a step differ.
    """
    tunesmith, trl = (next(run for run in runs if (run.system, run.setting) == name) for name in (TUNESMITH, DEFAULT))
    if tunesmith.tokens != trl.tokens:
        raise RunError(f"the steps differ: total tokens {tunesmith.tokens} and {trl.tokens}")
    largest = max(abs(loss / trl_loss - 1) for loss, trl_loss in zip(tunesmith.losses, trl.losses, strict=True))
    if largest > MAX_LOSS_DIFFERENCE:
        raise RunError(f"the losses do not agree within {MAX_LOSS_DIFFERENCE:.0%}: {tunesmith.losses} and {trl.losses}")
    return round(largest, 4)


def _summarize(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the runs, the ratios of their medians, and the smallest and largest ratio of a round."""

    def values_of(name: tuple[str, str], key: str) -> list[float]:
        return [float(asdict(run)[key]) for run in runs if (run.system, run.setting) == name]

    ratios, spread = {}, {}
    for key, label in (("tokens_per_s", "tokens_per_s"), ("peak_mb", "peak_memory"), ("first_step_s", "first_step")):
        tunesmith = values_of(TUNESMITH, key)
        for peer, suffix in ((DEFAULT, "default"), (FP32, "fp32"), (BEST, "best")):
            trl, name = values_of(peer, key), f"{label}_vs_trl_{suffix}"
            by_round = [value / trl_value for value, trl_value in zip(tunesmith, trl, strict=True)]
            ratios[name] = round(statistics.median(tunesmith) / statistics.median(trl), 3)
            spread[name] = [round(min(by_round), 3), round(max(by_round), 3)]
    return {"runs": [asdict(run) for run in runs], "ratios": ratios, "spread": spread}


def _format_run(run: Run) -> str:
    losses = " ".join(f"{loss:.4f}" for loss in run.losses[:6])
    return (
        f"{run.system:<9}  {run.setting:<30}  {run.tokens_per_s:7.1f} tokens/s  {run.peak_mb:6.0f} MiB  "
        f"{run.first_step_s:5.1f} s to the first step  losses {losses}"
    )
