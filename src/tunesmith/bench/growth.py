"""Growth of time and memory: of preparation with rows, of a training step with tokens and with documents a sequence."""

import json
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.bench.measure import TUNESMITH, Work, make_work, tunesmith_run
from tunesmith.bench.preparation import preprocess
from tunesmith.hardware import detect
from tunesmith.log import note
from tunesmith.pages.plot import drawn
from tunesmith.sections import Config

ROWS = (1_000, 10_000, 100_000)
TOKENS = (512, 1024, 2048, 4096, 8192)
DOCUMENTS = (1, 2, 4, 8, 16, 32)
SEQUENCE_TOKENS = 4096
"""Tokens of the sequence that is split into documents."""
STEPS = 4


class Point(NamedTuple):
    """One measurement.

    Attributes:
        stage: the measured stage.
        grows: the varied quantity.
        size: its value.
        seconds: of the complete preparation, or of one step.
        peak_mb: peak memory of the process, in MiB.
    """

    stage: str
    grows: str
    size: int
    seconds: float
    peak_mb: float


def measure_growth(config: Config) -> list[Point]:
    """Measure all stages at all sizes; takes some minutes on two cores."""
    points = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-growth-") as folder:
        for point in chain(_measure_preparation(Path(folder)), _measure_steps(config, Path(folder))):
            note(
                f"{point.stage:<10} {point.size:>7,} {point.grows:<10} {point.seconds:8.2f} s {point.peak_mb:7.0f} MiB"
            )
            points.append(point)
    return points


def _measure_preparation(folder: Path) -> Iterator[Point]:
    for count in ROWS:
        seconds, peak = preprocess(folder, count)
        yield Point("preprocess", "rows", count, seconds, peak)


def _measure_steps(config: Config, folder: Path) -> Iterator[Point]:
    work = make_work(config, folder, rows=1, mean=TOKENS[-1], batch=1, epochs=1, hardware=detect())
    row = json.loads(Path(work.rows).read_text())
    for tokens in TOKENS:
        yield _measure_step(folder, work, row, [tokens], "tokens", tokens)
    for documents in DOCUMENTS:
        yield _measure_step(folder, work, row, [SEQUENCE_TOKENS // documents] * documents, "documents", documents)


def _measure_step(folder: Path, work: Work, row: dict[str, Any], sizes: list[int], grows: str, size: int) -> Point:
    """Measure steps, each on one batch of documents of these sizes."""
    run_folder = folder / f"{grows}-{size}"
    run_folder.mkdir()
    documents = [{key: (row[key] * 20)[:length] for key in row} for length in sizes]
    lines = "".join(f"{json.dumps(document)}\n" for document in documents * STEPS)
    (run_folder / "rows.jsonl").write_text(lines)
    settings = work.settings | {"micro_batch_size": len(sizes), "sequence_len": max(sizes)}
    run = tunesmith_run(run_folder, Work(str(run_folder / "rows.jsonl"), sum(sizes), settings), TUNESMITH, {})
    return Point("step", grows, size, sum(sizes) / run.tokens_per_s, run.peak_mb)


def format_table(points: list[Point]) -> str:
    """Return a Markdown table of the measurements, with the growth of time from size to size."""
    lines = ["| stage | size | seconds | times the one before | MiB |", "|---|---|---|---|---|"]
    before: dict[tuple[str, str], Point] = {}
    for point in points:
        last = before.get(point[:2])
        factor = f"{point.seconds / last.seconds:.1f} for {point.size / last.size:g} times as many" if last else ""
        lines.append(
            f"| {point.stage} | {point.size:,} {point.grows} | {point.seconds:.2f} | {factor} | {point.peak_mb:.0f} |"
        )
        before[point[:2]] = point
    return "\n".join(lines)


def plot(points: list[Point], file: Path) -> None:
    """Plot seconds and memory against size on log scales, where slope 1 is linear growth."""
    from matplotlib.ticker import LogLocator

    series = list(dict.fromkeys(point[:2] for point in points))
    with drawn(file, 4 * len(series), 3.4) as figure:
        for axes, name in zip(figure.subplots(1, len(series), squeeze=False)[0], series, strict=True):
            selected = [point for point in points if point[:2] == name]
            sizes = [point.size for point in selected]
            axes.loglog(sizes, [point.seconds for point in selected], marker="o", label="seconds")
            axes.loglog(sizes, [point.peak_mb / 1024 for point in selected], marker="s", label="GiB")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set(title=f"{name[0]}, by {name[1]}", xlabel=name[1])
            axes.legend()
