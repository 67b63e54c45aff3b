"""Two model variants on the same rows: what the second fixed, what it broke, and whether that is significant."""

from typing import Any, NamedTuple

from tunesmith.evals.report import Report
from tunesmith.evals.statistics import (
    SIGNIFICANT,
    Interval,
    mcnemar,
    min_detectable_effect,
    paired_difference,
    required_rows,
)


class Comparison(NamedTuple):
    """The paired comparison of two variants.

    Attributes:
        before: the reference variant.
        after: the compared variant.
        fixed: indexes of the rows that only `after` answers well, the worst answers of `before` first.
        broken: indexes of the rows that only `before` answers well, the worst answers of `after` first.
        good: rows that both answer well.
        bad: rows that neither answers well.
        difference: of the pass rates, with its paired interval.
        p: of McNemar's exact test.
    """

    before: str
    after: str
    fixed: list[int]
    broken: list[int]
    good: int
    bad: int
    difference: Interval
    p: float

    @property
    def rows(self) -> int:
        """The number of compared rows."""
        return len(self.fixed) + len(self.broken) + self.good + self.bad

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `cannot tell`."""
        if self.p >= SIGNIFICANT:
            return "cannot tell"
        return "better" if self.difference.value > 0 else "worse"

    def sentence(self) -> str:
        """Return the result in words; a difference that is not significant is not called better or worse."""
        value, low, high = (100 * number for number in self.difference)
        measured = f"{value:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}, p = {self.p:.2g}"
        if self.verdict != "cannot tell":
            return f"{self.verdict}: {self.after} against {self.before}, {measured} on {self.rows} rows"
        changed = (len(self.fixed) + len(self.broken)) / max(self.rows, 1)
        text = (
            f"cannot tell from {self.rows} rows: {self.after} against {self.before}, {measured}. "
            f"So many rows show a difference of {100 * min_detectable_effect(self.rows, changed):.0f} points or more"
        )
        needed = required_rows(self.difference.value, changed)
        return text + (f"; one of {abs(value):.1f} needs about {_round_up(needed):,} rows" if needed else "")

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data for a JSON file."""
        return {
            "before": self.before,
            "after": self.after,
            "fixed": len(self.fixed),
            "broken": len(self.broken),
            "good": self.good,
            "bad": self.bad,
            "p": self.p,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "difference": self.difference._asdict(),
            "fixed_rows": self.fixed,
            "broken_rows": self.broken,
        }


def compare(report: Report, before: str, after: str) -> Comparison:
    """Return the comparison of two variants of a report."""
    pairs = list(zip(report.passes(before), report.passes(after), strict=True))
    fixed = [index for index, pair in enumerate(pairs) if pair == (False, True)]
    broken = [index for index, pair in enumerate(pairs) if pair == (True, False)]
    good, bad = pairs.count((True, True)), pairs.count((False, False))
    return Comparison(
        before,
        after,
        fixed=report.worst_first(fixed, before),
        broken=report.worst_first(broken, after),
        good=good,
        bad=bad,
        difference=paired_difference(len(fixed), len(broken), good, bad),
        p=mcnemar(len(fixed), len(broken)),
    )


def compare_all(report: Report) -> list[Comparison]:
    """Return the last variant of a report compared with each of the others; none without answers."""
    variants = list(report.rows[0].answers) if report.rows else []
    return [compare(report, variant, variants[-1]) for variant in variants[:-1]]


def _round_up(count: int) -> int:
    """Round an estimate up to two digits."""
    unit: int = max(1, 10 ** (len(str(count)) - 2))
    return -(-count // unit) * unit
