"""How time and memory grow: preparation with rows, a training step with tokens and with the documents of a row."""

import json
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.bench.measure import OURS, Work, make_work, own_run
from tunesmith.bench.preparation import preprocess
from tunesmith.hardware import detect
from tunesmith.log import note
from tunesmith.pages.plot import drawn
from tunesmith.sections import Config

ROWS = (1_000, 10_000, 100_000)
TOKENS = (512, 1024, 2048, 4096, 8192)
DOCUMENTS = (1, 2, 4, 8, 16, 32)
IN_ROW = 4096
"""Tokens of the row that is cut into documents."""
STEPS = 4


class Point(NamedTuple):
    """One measurement.

    Attributes:
        stage: what was measured.
        grows: what it grows with.
        size: how much of that.
        seconds: of preparation as a whole, or of one step.
        peak_mb: the most memory that the process held, in MiB.
    """

    stage: str
    grows: str
    size: int
    seconds: float
    peak_mb: float


def grow(config: Config) -> list[Point]:
    """Return measurements of all stages at all sizes; some minutes on two cores."""
    found = []
    with tempfile.TemporaryDirectory(prefix="tunesmith-growth-") as place:
        for point in chain(_prepared(Path(place)), _steps(config, Path(place))):
            note(
                f"{point.stage:<10} {point.size:>7,} {point.grows:<10} {point.seconds:8.2f} s {point.peak_mb:7.0f} MiB"
            )
            found.append(point)
    return found


def _prepared(folder: Path) -> Iterator[Point]:
    for count in ROWS:
        seconds, peak = preprocess(folder, count)
        yield Point("preprocess", "rows", count, seconds, peak)


def _steps(config: Config, folder: Path) -> Iterator[Point]:
    work = make_work(config, folder, rows=1, mean=TOKENS[-1], batch=1, epochs=1, hardware=detect())
    row = json.loads(Path(work.rows).read_text())
    for tokens in TOKENS:
        yield _step(folder, work, row, [tokens], "tokens", tokens)
    for documents in DOCUMENTS:
        yield _step(folder, work, row, [IN_ROW // documents] * documents, "documents", documents)


def _step(folder: Path, work: Work, row: dict[str, Any], sizes: list[int], grows: str, size: int) -> Point:
    """Measure steps, each on one batch of documents of these sizes; the first of them does not count."""
    place = folder / f"{grows}-{size}"
    place.mkdir()
    cut = [{key: (row[key] * 20)[:length] for key in row} for length in sizes]
    lines = "".join(f"{json.dumps(document)}\n" for document in cut * STEPS)
    (place / "rows.jsonl").write_text(lines)
    settings = work.settings | {"micro_batch_size": len(sizes), "sequence_len": max(sizes)}
    run = own_run(place, Work(str(place / "rows.jsonl"), sum(sizes), settings), OURS, {})
    return Point("step", grows, size, sum(sizes) / run.tokens_per_s, run.peak_mb)


def table(points: list[Point]) -> str:
    """Return the measurements as a Markdown table, each with the factor of time to the size before it."""
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
    """Draw seconds and memory against size, in logarithms: a straight line of slope one is linear growth."""
    from matplotlib.ticker import LogLocator

    kinds = list(dict.fromkeys(point[:2] for point in points))
    with drawn(file, 4 * len(kinds), 3.4) as figure:
        for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
            own = [point for point in points if point[:2] == kind]
            sizes = [point.size for point in own]
            axes.loglog(sizes, [point.seconds for point in own], marker="o", label="seconds")
            axes.loglog(sizes, [point.peak_mb / 1024 for point in own], marker="s", label="GiB")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.set(title=f"{kind[0]}, by {kind[1]}", xlabel=kind[1])
            axes.legend()
