"""Two models on the same rows: what the second fixed, what it broke, and whether that is more than chance."""

from typing import Any, NamedTuple

from tunesmith.evals.report import Report
from tunesmith.evals.statistics import SIGNIFICANT, Interval, bootstrap, detectable, mcnemar, rows_for


class Comparison(NamedTuple):
    """The paired comparison of two variants.

    Attributes:
        before: the variant that is compared with.
        after: the variant that is judged.
        fixed: places of the rows that only `after` answers well, the worst answers of `before` first.
        broken: places of the rows that only `before` answers well, the worst answers of `after` first.
        good: rows that both answer well.
        bad: rows that neither answers well.
        difference: of the shares of good answers, with its paired bootstrap interval.
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
        """How many rows are compared."""
        return len(self.fixed) + len(self.broken) + self.good + self.bad

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `cannot tell`."""
        if self.p >= SIGNIFICANT:
            return "cannot tell"
        return "better" if self.difference.value > 0 else "worse"

    def sentence(self) -> str:
        """Return what the numbers say, so that noise is not called a win."""
        value, low, high = (100 * number for number in self.difference)
        measured = f"{value:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}, p = {self.p:.2g}"
        if self.verdict != "cannot tell":
            return f"{self.verdict}: {self.after} against {self.before}, {measured} on {self.rows} rows"
        changed = (len(self.fixed) + len(self.broken)) / max(self.rows, 1)
        text = (
            f"cannot tell from {self.rows} rows: {self.after} against {self.before}, {measured}. "
            f"So many rows show a difference of {100 * detectable(self.rows, changed):.0f} points or more"
        )
        needed = rows_for(self.difference.value, changed)
        return text + (f"; one of {abs(value):.1f} needs about {_round(needed):,} rows" if needed else "")

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, with counts and places of rows."""
        counts = {"fixed": len(self.fixed), "broken": len(self.broken), "good": self.good, "bad": self.bad}
        said = {"verdict": self.verdict, "sentence": self.sentence(), "difference": self.difference._asdict()}
        places = {"fixed_rows": self.fixed, "broken_rows": self.broken}
        return {"before": self.before, "after": self.after, **counts, "p": self.p, **said, **places}


def compare(report: Report, before: str, after: str) -> Comparison:
    """Return the comparison of two variants of a report."""
    pairs = list(zip(report.passes(before), report.passes(after), strict=True))
    fixed = [place for place, pair in enumerate(pairs) if pair == (False, True)]
    broken = [place for place, pair in enumerate(pairs) if pair == (True, False)]
    return Comparison(
        before,
        after,
        report.worst_first(fixed, before),
        report.worst_first(broken, after),
        pairs.count((True, True)),
        pairs.count((False, False)),
        bootstrap([float(second) - float(first) for first, second in pairs]),
        mcnemar(len(fixed), len(broken)),
    )


def comparisons(report: Report) -> list[Comparison]:
    """Return the last variant of a report compared with each of the others; none without answers."""
    variants = list(report.rows[0].answers) if report.rows else []
    return [compare(report, variant, variants[-1]) for variant in variants[:-1]]


def _round(count: int) -> int:
    """Two digits of a number that is an estimate."""
    unit: int = max(1, 10 ** (len(str(count)) - 2))
    return -(-count // unit) * unit
