"""Runs on this disk: found by their records, summed up, compared, and shown on a page. Nothing here needs torch."""

import math
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

from tunesmith.config.metrics import best_evaluation, logged_name
from tunesmith.config.yaml_source import Loader
from tunesmith.files import write_text
from tunesmith.pages.page import standalone
from tunesmith.training.record.run_record import RunRecord

DEPTH = 4
"""Runs lie at most so many folders below the one that is named."""
POINTS = 1000
"""Points of a curve on the page."""
OWN = {"output_dir", "dataset_prepared_path", "resume_from_checkpoint", "auto_resume_from_checkpoints"}
"""Keys that differ from run to run without saying anything about it."""


class Run(NamedTuple):
    """What the record of a run says.

    Attributes:
        name: its folder, as seen from the one that was named.
        folder: its output folder.
        summary: status, start, steps, losses and speed; what is not known is None.
        metrics: step and number, of each metric.
        config: the resolved config.
    """

    name: str
    folder: Path
    summary: dict[str, Any]
    metrics: dict[str, list[tuple[int, float]]]
    config: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"name": self.name, "folder": str(self.folder), **self.summary, "config": self.config}


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Return the runs in folders and in those below, in the order in which they began."""
    runs: dict[Path, Run] = {}
    for folder in folders:
        for depth in range(DEPTH):
            for file in sorted(folder.glob("*/" * depth + "run/run.json")):
                output = file.parent.parent
                name = str(output.relative_to(folder)) if depth else output.resolve().name
                runs.setdefault(output.resolve(), read_run(output, name))
    return sorted(runs.values(), key=lambda run: str(run.summary["started"]))


def read_run(output: Path, name: str) -> Run:
    """Return the run whose record is in an output folder."""
    record = RunRecord(output / "run")
    about = record.about()
    entries = record.metrics()
    metrics: dict[str, list[tuple[int, float]]] = {}
    for entry in entries:
        for key, value in entry.items():
            if isinstance(value, int | float) and math.isfinite(value) and key != "step":
                metrics.setdefault(key, []).append((entry["step"], value))
    numbers = {key: [value for _, value in points] for key, points in metrics.items()}
    last = max((points[-1][0] for points in metrics.values()), default=None)
    speeds = numbers.get("tokens_per_second", [])
    config = yaml.load(record.config_file.read_text(), Loader) if record.config_file.exists() else {}
    summary = {
        "status": _status(about),
        "started": about.get("started"),
        "step": about.get("step", last),
        "steps": about.get("steps"),
        "loss": numbers.get("loss", [None])[-1],
        **_best(entries, config),
        "tokens_per_second": round(statistics.median(speeds), 1) if speeds else None,
    }
    return Run(name, output, summary, metrics, config)


def _best(entries: list[dict[str, Any]], config: dict[str, Any]) -> dict[str, Any]:
    """Return the metric that chooses the best checkpoint, its best value, and the eval loss there."""
    metric = logged_name(config.get("metric_for_best_model") or "eval_loss")
    evaluations = [entry for entry in entries if math.isfinite(entry.get("eval_loss") or math.nan)]
    best = best_evaluation(evaluations, metric, config.get("greater_is_better")) or {}
    return {"eval_loss": best.get("eval_loss"), "metric": metric, "best": best.get(metric)}


def _status(about: dict[str, Any]) -> str:
    """The status that a record has; a run that was killed could not write down that it ended."""
    status = str(about.get("status", "unknown"))
    if status != "running" or about.get("host") != platform.node():
        return status
    started = time.mktime(time.strptime(about["started"][:19], "%Y-%m-%dT%H:%M:%S"))
    try:
        return "running" if psutil.Process(about["process"]).create_time() < started + 1 else "killed"
    except psutil.NoSuchProcess:
        return "killed"


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return the keys whose values are not the same in all runs, with the value of each run."""
    flat = [_flat(run.config) for run in runs]
    keys = dict.fromkeys(key for values in flat for key in values if key.split(".")[0] not in OWN)
    rows = {key: [values.get(key) for values in flat] for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values under their paths, such as datasets.0.path."""
    if not isinstance(values, dict | list) or not values:
        return {prefix.rstrip("."): values}
    items = values.items() if isinstance(values, dict) else enumerate(values)
    return {path: item for key, value in items for path, item in _flat(value, f"{prefix}{key}.").items()}


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write a page that stands alone: the curves of runs over one another, their figures, and how they differ."""
    content = {
        "runs": [
            {
                **run.as_dict(),
                "metrics": {key: _thin(points) for key, points in run.metrics.items()},
                "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
            }
            for run in runs
        ],
        "differences": differences(runs),
    }
    write_text(path, standalone("tunesmith.training.record", "runs", "Runs", content))


def _thin(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return so many of the points as a page can show, the last one among them."""
    return points[:: -math.ceil(len(points) / POINTS)][::-1]
