"""The evaluation of one or more model variants on the same rows: the data, and figures from it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.assertions import Verdict
from tunesmith.evals.metrics import similarity
from tunesmith.evals.statistics import Interval, bootstrap, wilson


@dataclass(frozen=True)
class Answer:
    """An answer of one variant.

    Attributes:
        text: the answer.
        scores: metric -> a boolean or a number.
        failed: verdicts of the assertions that the answer fails.
    """

    text: str
    scores: dict[str, bool | float]
    failed: list[Verdict]


@dataclass(frozen=True)
class JudgedRow:
    """An eval row with the answer of each variant.

    Attributes:
        file: its file.
        row: its number.
        question: the prompt, for reading.
        reference: the reference answer.
        answers: variant -> answer.
    """

    file: str
    row: int
    question: str
    reference: str
    answers: dict[str, Answer]


@dataclass
class Report:
    """The results of an evaluation.

    Attributes:
        losses: variant -> loss per token in the loss, perplexity and tokens; empty for a served model.
        rows: the judged rows; empty if no answers were generated.
        assertions: names of the assertions.
        metrics: names of the metrics.
    """

    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[JudgedRow] = field(default_factory=list)
    assertions: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=lambda: ["exact"])

    @property
    def criterion(self) -> str:
        """The criterion of a good answer."""
        return "pass all assertions" if self.assertions else "exact match"

    def good(self, answer: Answer) -> bool:
        """Return whether an answer passes every assertion; without assertions, whether it is an exact match."""
        return not answer.failed if self.assertions else bool(answer.scores["exact"])

    def passes(self, variant: str) -> list[bool]:
        """Return for each row whether the answer is good."""
        return [self.good(row.answers[variant]) for row in self.rows]

    def pass_rate(self, variant: str) -> Interval:
        """Return the fraction of good answers."""
        return wilson(sum(self.passes(variant)), len(self.rows))

    def failures(self, variant: str) -> dict[str, int]:
        """Return how often each assertion failed."""
        counts = dict.fromkeys(self.assertions, 0)
        for row in self.rows:
            for verdict in row.answers[variant].failed:
                counts[verdict.name] += 1
        return counts

    def scores(self, variant: str, metric: str) -> list[bool | float]:
        """Return a metric of each answer."""
        return [row.answers[variant].scores[metric] for row in self.rows]

    def worst_first(self, indexes: Sequence[int], variant: str) -> list[int]:
        """Sort row indexes: most failed assertions first, then least similar to the reference answer."""

        def sort_key(index: int) -> tuple[int, float]:
            row = self.rows[index]
            answer = row.answers[variant]
            return -len(answer.failed), similarity(answer.text, row.reference)

        return sorted(indexes, key=sort_key)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data for a JSON file."""
        summary = {
            variant: losses | (self._figures(variant) if self.rows else {}) for variant, losses in self.losses.items()
        }
        return {"criterion": self.criterion, "summary": summary, "rows": [_row(row) for row in self.rows]}

    def _figures(self, variant: str) -> dict[str, Any]:
        count, failures = len(self.rows), self.failures(variant)
        figures: dict[str, Any] = {"rows": count, "exact_match": sum(self.scores(variant, "exact"))}
        if self.assertions:
            rates = {name: wilson(count - failed, count)._asdict() for name, failed in failures.items()}
            figures |= {"passed": sum(self.passes(variant)), "failures": failures, "assertions": rates}
        metrics = {name: summarize_scores(self.scores(variant, name))._asdict() for name in self.metrics}
        return figures | {"pass_rate": self.pass_rate(variant)._asdict(), "metrics": metrics}


def summarize_scores(values: Sequence[bool | float]) -> Interval:
    """Return the fraction of true scores, or the mean of numbers, with its interval."""
    if all(isinstance(value, bool) for value in values):
        return wilson(sum(map(bool, values)), len(values))
    return bootstrap(values)


def _row(row: JudgedRow) -> dict[str, Any]:
    """Return a judged row as plain data, with failures as name -> reason."""
    answers = {
        variant: {
            "text": answer.text,
            "exact": answer.scores["exact"],
            "scores": answer.scores,
            "failed": {verdict.name: verdict.reason for verdict in answer.failed},
        }
        for variant, answer in row.answers.items()
    }
    return asdict(row) | {"answers": answers}
