"""Runs the trials of a sweep one after the other, goes on where it was stopped, and tells which was best.

Each trial has a process of its own, although starting one takes some seconds: all memory is freed, also after a
failure, the random state is that of a run by itself, and a trial that is killed does not take the sweep with it.
"""

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import yaml

from tunesmith.config.metrics import best_evaluation, greater_is_better, logged_name
from tunesmith.config.trials import Trial
from tunesmith.errors import INTERRUPTED, RunError, UserError
from tunesmith.files import write_json_lines, write_text
from tunesmith.log import note, padded
from tunesmith.sections import Config
from tunesmith.sections.tracking import without_secrets
from tunesmith.signals import handle_stop_signals
from tunesmith.training.record.checkpoints import whole_checkpoints
from tunesmith.training.record.output import changed_settings, only_writer
from tunesmith.training.record.run_record import RunRecord
from tunesmith.world import detect_world

FINISHED, RESUME, AGAIN, NEW = "finished", "goes on", "starts again", "new"
"""What a trial has come to, and so what is left to do."""

TrainOne = Callable[..., bool]
"""Trains a config, with `resume` and `overwrite`, and returns whether it came to its end."""


def standings(trials: list[Trial]) -> list[str]:
    """Return what each trial has come to: finished, goes on from its checkpoint, starts again, or new.

    Raises:
        RunError: the folder of a trial holds a run with other settings.
    """
    standing, problems = [], []
    for trial in trials:
        record = RunRecord(trial.output / "run")
        if not (about := record.about()):
            standing.append(AGAIN if record.folder.exists() else NEW)
            continue
        before = yaml.safe_load(record.config_file.read_text())
        if changes := changed_settings(before, without_secrets(trial.config.values)):
            problems.append(f"{trial.output} holds a trial with other settings: {', '.join(changes)}")
        unfinished = RESUME if whole_checkpoints(trial.output) else AGAIN
        standing.append(FINISHED if about["status"] == FINISHED else unfinished)
    if problems:
        raise RunError("\n".join([*problems, "undo the change, or set another --output-dir"]))
    return standing


def run_sweep(trials: list[Trial], train_one: TrainOne) -> int:
    """Train what is left of the trials, write and print the table, and return the exit code.

    Raises:
        RunError: another process trains this sweep, or a trial failed.
    """
    world = detect_world()
    if world.size > 1:
        raise RunError("a sweep starts one process for each trial; start it without torchrun or accelerate")
    output = trials[0].output.parent
    with only_writer(output, "the sweep", world):
        return _run_all(trials, train_one, output)


def _run_all(trials: list[Trial], train_one: TrainOne, output: Path) -> int:
    reasons: dict[str, str] = {}
    text = ""
    for number, (trial, standing) in enumerate(zip(trials, standings(trials), strict=True), 1):
        note(f"\ntrial {number}/{len(trials)}: {trial.name} ({standing})")
        if standing != FINISHED:
            outcome = _in_a_process(trial, train_one, resume=standing == RESUME, overwrite=standing == AGAIN)
            if isinstance(outcome, int):
                if outcome != INTERRUPTED:
                    reasons[trial.name] = "failed: a fault of Tunesmith; its traceback was printed"
                write_table(trials, reasons, output)
                note("the sweep is stopped; the same command goes on with it")
                return outcome
            if outcome != FINISHED:
                reasons[trial.name] = f"failed: {outcome}"
                note(f"trial {number}/{len(trials)} failed: {outcome}")
        text = write_table(trials, reasons, output)
    print(f"\n{text}\nalso in {output / 'sweep.md'} and sweep.jsonl")
    if reasons:
        raise RunError(f"{len(reasons)} of {len(trials)} trials failed; the same command tries them again")
    return 0


def _in_a_process(trial: Trial, train_one: TrainOne, **options: bool) -> str | int:
    """Return "finished", why the trial failed, or the exit code with which the sweep must stop too."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(train_one, trial.config, options, sender))
    process.start()
    sender.close()
    stop_signals: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        """Let the trial save its checkpoint. Ctrl-C reaches its process anyway."""
        stop_signals.append(number)
        if number == signal.SIGTERM:
            process.terminate()

    with handle_stop_signals(pass_on):
        try:
            outcome = receiver.recv()
        except EOFError:
            outcome = None
        process.join()
    if stop_signals:
        return INTERRUPTED
    if outcome is None and (process.exitcode or 0) < 0:
        return f"its process was ended by {signal.Signals(-(process.exitcode or 0)).name}; was there no memory left?"
    return 1 if outcome is None else str(outcome)


def _work(train_one: TrainOne, config: Config, options: dict[str, bool], sender: Connection) -> None:
    """Train one trial, in its process, and tell how it ended."""
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send(FINISHED if train_one(config, **options) else INTERRUPTED)
    except UserError as error:
        sender.send(str(error))
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; the next trial may well have room
            raise
        sender.send("the GPU has no memory left; lower `micro_batch_size` or `sequence_len`")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end_with_parent() -> None:
    """A sweep that is killed must leave no trial behind that writes where the next sweep does."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def result(trial: Trial) -> dict[str, Any]:
    """Return what a trial came to, from its record: losses, and the steps, time and speed of its training."""
    record = RunRecord(trial.output / "run")
    metrics, about = record.metrics(), record.about()
    evals = [entry for entry in metrics if "eval_loss" in entry]
    steps = [entry for entry in metrics if "loss" in entry]
    last = steps[-1] if steps else {"loss": None, "step": 0, "tokens": 0}
    # Summed, so that an interruption does not count; nor do loading, evaluating and saving.
    seconds = sum(
        (now["tokens"] - before["tokens"]) / max(now["tokens_per_second"], 0.1)
        for before, now in pairwise([{"tokens": 0}, *steps])
    )
    training = trial.config.training
    metric = logged_name(training.metric_for_best_model)
    kept = evals[-1] if evals else {}
    if training.load_best_model_at_end:
        kept = best_evaluation(evals, metric, training.greater_is_better) or kept
    return {
        "trial": trial.name,
        **trial.values,
        **({} if metric == "eval_loss" else {metric: kept.get(metric)}),
        "eval_loss": kept.get("eval_loss"),
        "loss": last["loss"],
        "steps": about.get("step", last["step"]),
        "seconds": round(seconds, 1),
        "tokens_per_second": round(last["tokens"] / seconds) if seconds else 0,
        "status": about.get("status", NEW),
    }


def write_table(trials: list[Trial], reasons: dict[str, str], output: Path) -> str:
    """Write sweep.jsonl and sweep.md, the best trial first, and return the text of sweep.md."""
    results = [result(trial) | ({"status": reasons[trial.name]} if trial.name in reasons else {}) for trial in trials]
    judge, greater = _judge(trials, results)
    results.sort(key=lambda item: (item["status"] != FINISHED, _rank(item[judge], greater), _rank(item["loss"])))
    write_json_lines(output / "sweep.jsonl", results)
    lines = [table(results)]
    if judge == "loss":
        lines.append("Sorted by training loss: nothing was held out. `val_set_size: 0.05` gives a fairer judge.")
    if len({str(RunRecord(trial.output / "run").about().get("prepared")) for trial in trials} - {"None"}) > 1:
        lines.append("The trials differ in their prepared data: losses on different tokens do not compare.")
    text = "\n\n".join(lines) + "\n"
    write_text(output / "sweep.md", text)
    return text


def _judge(trials: list[Trial], results: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return the metric by which trials are sorted, and whether a higher value of it is better."""
    settings = {
        (trial.config.training.metric_for_best_model, trial.config.training.greater_is_better) for trial in trials
    }
    metric, setting = settings.pop() if len(settings) == 1 else ("eval_loss", None)
    for name in (logged_name(metric), "eval_loss"):
        if any(item.get(name) is not None for item in results):
            return name, greater_is_better(name, setting if name == logged_name(metric) else None)
    return "loss", False


def _rank(value: float | None, greater: bool = False) -> float:
    if value is None or math.isnan(value):
        return math.inf
    return -value if greater else value


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table with aligned columns."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = padded([keys, *([_cell(row.get(key, "")) for key in keys] for row in rows)], left=range(len(keys)))
    cells.insert(1, ["-" * len(cell) for cell in cells[0]])
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(value: object) -> str:
    text = f"{value:.5g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
