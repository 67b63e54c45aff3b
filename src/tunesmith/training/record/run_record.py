"""The record of a run, in `run/` of its output folder: config, versions, metrics, and the loss curve."""

import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from tunesmith.files import append_json_line, write_json, write_text
from tunesmith.pages.plot import drawn

PACKAGES = ("tunesmith", "torch", "transformers", "peft", "datasets", "accelerate", "tokenizers", "bitsandbytes")


@dataclass(frozen=True)
class RunRecord:
    """Writes and reads the files in `folder`."""

    folder: Path

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return self.folder / "config.yml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line: each logged step and evaluation."""
        return self.folder / "metrics.jsonl"

    def start(self, values: dict[str, Any], about: dict[str, Any]) -> None:
        """Write the config, and `run.json` with the versions and what is said in `about`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.config_file, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        self.update(
            about
            | {
                "status": "running",
                "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "command": re.sub(r"(api[-_]key[= ])\S+", r"\1***", " ".join(sys.argv)),
                "host": platform.node(),
                "process": os.getpid(),
                "python": platform.python_version(),
                "versions": {name: version for name in PACKAGES if (version := _version(name))},
            }
        )

    def about(self) -> dict[str, Any]:
        """Return what `run.json` says; empty if there is none."""
        file = self.folder / "run.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.about().get("status") == "finished"

    def update(self, changes: dict[str, Any]) -> None:
        """Change entries of `run.json`."""
        write_json(self.folder / "run.json", self.about() | changes)

    @contextmanager
    def failure_noted(self, is_main: bool) -> Iterator[None]:
        """Write down that the run failed if it does, so that nobody takes it for one that goes on."""
        try:
            yield
        except BaseException:
            with suppress(OSError):  # the disk may be what failed
                if is_main:
                    self.update({"status": "failed"})
            raise

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics recorded so far."""
        if not self.metrics_file.exists():
            return []
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines() if line.endswith("}")]

    def add_metrics(self, entry: dict[str, Any]) -> None:
        """Append one line of metrics."""
        append_json_line(self.metrics_file, entry)

    def add_sample(self, entry: dict[str, Any]) -> None:
        """Append what the model answered to a held-out prompt."""
        append_json_line(self.folder / "samples.jsonl", entry)

    def forget_after(self, step: int) -> None:
        """Drop metrics and samples of steps after `step`: a run that resumes from there does them again."""
        for file in (self.metrics_file, self.folder / "samples.jsonl"):
            if file.exists():
                lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.endswith("}")]
                write_text(file, "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step))

    def plot(self) -> Path | None:
        """Draw the losses against the steps; None when there are none yet."""
        entries = self.metrics()
        curves = {
            key: [(entry["step"], entry[key]) for entry in entries if key in entry]
            for key in ("loss", "eval_loss", "eval_pass_rate")
        }
        if not curves["loss"] and not curves["eval_loss"]:
            return None
        file = self.folder / "loss.png"
        with drawn(file, 7, 4) as figure:
            axes = figure.subplots()
            for key, label, style in (("loss", "training", "-"), ("eval_loss", "eval", "o--")):
                if curves[key]:
                    axes.plot(*zip(*curves[key], strict=True), style, label=label)
            axes.set(xlabel="step", ylabel="loss", title=self.folder.parent.name)
            axes.set_ylim(bottom=0)
            axes.legend(loc="lower left")
            if curves["eval_pass_rate"]:
                share = axes.twinx()
                share.plot(*zip(*curves["eval_pass_rate"], strict=True), "s--", color="C2", label="pass rate")
                share.set(ylabel="pass rate", ylim=(-0.02, 1.02))
                share.yaxis.set_major_formatter("{x:.0%}")
                share.legend(loc="upper right")
        return file


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
