"""The learning curve: quality against number of training rows, and whether more rows would help."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.config.trials import Setting, Trial, make_trials
from tunesmith.evals.baseline import REPORT
from tunesmith.evals.comparison import compare_all
from tunesmith.evals.evaluate import evaluate
from tunesmith.evals.files import write_report
from tunesmith.evals.statistics import (
    SIGNIFICANT,
    Interval,
    mcnemar,
    min_detectable_effect,
    paired_difference,
    wilson,
)
from tunesmith.files import write_json, write_text
from tunesmith.log import note
from tunesmith.pages.plot import drawn
from tunesmith.references import code_file
from tunesmith.sections import Config
from tunesmith.sections.locations import KeyPath
from tunesmith.training.record.run_record import RunRecord
from tunesmith.training.sweep import table

FOLDER = "learning-curve"
"""In `output_dir`: a trial for each subset, and the curve."""
FLAT = 0.05
"""A curve is flat if its last step gains less than this fraction of the rows, with 95% confidence."""
LOSS_HELPS, LOSS_FLAT = 0.02, 0.005
"""Without assertions: the relative decrease of the eval loss in the last step from which more rows would help, and up
to which the curve is flat."""


class Point(NamedTuple):
    """A model of the curve.

    Attributes:
        rows: training rows; 0 for the base model.
        steps: training steps.
        loss: on the eval rows.
        passes: whether the answer to each eval row is good.
    """

    rows: int
    steps: int
    loss: float
    passes: list[bool]

    @property
    def rate(self) -> Interval:
        """The fraction of good answers."""
        return wilson(sum(self.passes), len(self.passes))


def make_curve_trials(
    file: str, config: Config, fractions: Sequence[float], overrides: dict[KeyPath, Any]
) -> list[Trial]:
    """Return a trial for each subset, the smallest first, with the same number of epochs also if `max_steps` is set."""
    combinations = []
    for fraction in sorted(set(fractions)):
        settings = [Setting("train_share", fraction, "--shares")]
        if config.training.max_steps:
            steps = max(1, round(config.training.max_steps * fraction))
            settings.append(Setting("max_steps", steps, "--shares"))
        combinations.append(settings)
    output = str(Path(config.training.output_dir) / FOLDER)
    return make_trials(file, combinations, {**overrides, ("output_dir",): output}, "--shares")


def measure(trials: Sequence[Trial]) -> tuple[list[Point], str]:
    """Return a point for the base model and for each trial, and the criterion of a good answer.

    A trial with an up-to-date report is not evaluated again.
    """
    points: list[Point] = []
    criterion = ""
    for number, trial in enumerate(trials):
        file = trial.output / REPORT
        if not _is_fresh(file, trial):
            note(f"evaluating {trial.name}")
            report = evaluate(trial.config, base=number == 0)
            write_report(report, compare_all(report), file, f"Evaluation of {trial.output}")
        content = json.loads(file.read_text(encoding="utf-8"))
        criterion = content["criterion"]
        about = RunRecord(trial.output / "run").about()
        if number == 0:
            points.append(_point(content, "base", 0, 0))
        points.append(_point(content, "tuned", about["rows"], about["step"]))
    return points, criterion


def _is_fresh(report: Path, trial: Trial) -> bool:
    assertions = trial.config.evaluation.evaluation.assertions
    sources = [trial.output / "run/run.json"]
    sources += [code_file(assertions, trial.config.source)[0]] if assertions else []
    return report.exists() and all(report.stat().st_mtime >= source.stat().st_mtime for source in sources)


def _point(content: dict[str, Any], variant: str, rows: int, steps: int) -> Point:
    has_assertions = content["criterion"] != "exact match"
    answers = [row["answers"][variant] for row in content["rows"]]
    passes = [not answer["failed"] if has_assertions else answer["exact"] for answer in answers]
    return Point(rows, steps, content["summary"][variant]["loss"], passes)


def advise(points: Sequence[Point], criterion: str) -> str:
    """Return a sentence on whether more data would help, from the last step of the curve."""
    before, after = points[-2:]
    step = f"from {before.rows:,} to {after.rows:,} rows"
    if criterion == "exact match" or not after.passes:
        decrease = 1 - after.loss / before.loss
        evidence = f"{step} the eval loss changed by {-100 * decrease:+.1f}%, and there are no assertions"
        return _advise(decrease >= LOSS_HELPS, decrease <= LOSS_FLAT, evidence)
    pairs = list(zip(before.passes, after.passes, strict=True))
    fixed, broken, rows = pairs.count((False, True)), pairs.count((True, False)), len(pairs)
    difference = paired_difference(fixed, broken, pairs.count((True, True)), pairs.count((False, False)))
    value, low, high = (100 * number for number in difference)
    p = mcnemar(fixed, broken)
    evidence = (
        f"{step} {value:+.1f} points pass, 95% interval {low:+.1f} to {high:+.1f}, p = {p:.2g} on {rows} eval rows"
    )
    helps = p < SIGNIFICANT and value > 0
    flat = difference.high < FLAT and after.rate.value > 0
    if not helps and not flat:
        effect = min_detectable_effect(rows, (fixed + broken) / rows)
        evidence += f"; so many show a difference of {100 * effect:.0f} points or more"
    return _advise(helps, flat, evidence)


def _advise(helps: bool, flat: bool, evidence: str) -> str:
    if helps:
        return f"more data would probably help: {evidence}"
    return f"flat, more data of this kind is unlikely to help: {evidence}" if flat else f"cannot tell: {evidence}"


def write_curve(points: Sequence[Point], criterion: str, folder: Path) -> str:
    """Write curve.json, curve.md and curve.png, and return the text of the second."""
    rows = []
    for point in points:
        value, low, high = (100 * number for number in point.rate)
        rate = {criterion: f"{value:.0f}% ({low:.0f}-{high:.0f})"} if point.passes else {}
        rows.append({"rows": point.rows or "0 (base)", "steps": point.steps, "eval loss": point.loss, **rate})
    text = f"{table(rows)}\n\n{advise(points, criterion)}\n"
    content = [point._asdict() | {"pass_rate": point.rate._asdict() if point.passes else None} for point in points]
    write_json(folder / "curve.json", {"advice": advise(points, criterion), "points": content}, indent=None)
    write_text(folder / "curve.md", text)
    _plot(points, criterion, folder / "curve.png")
    return text


def _plot(points: Sequence[Point], criterion: str, file: Path) -> None:
    rows = [point.rows for point in points]
    with drawn(file, 9, 3.6) as figure:
        left, right = figure.subplots(1, 2)
        if points[-1].passes:
            rates = [point.rate for point in points]
            spans = [[rate.value - rate.low for rate in rates], [rate.high - rate.value for rate in rates]]
            left.errorbar(rows, [rate.value for rate in rates], yerr=spans, fmt="o-", capsize=4)
        left.set(
            xlabel="training rows", ylabel=criterion, ylim=(-0.02, 1.02), title="answers to eval rows, 95% intervals"
        )
        left.yaxis.set_major_formatter("{x:.0%}")
        right.plot(rows, [point.loss for point in points], "o-", color="C1")
        right.set(xlabel="training rows", ylabel="loss per token", ylim=(0, None), title="eval loss")
