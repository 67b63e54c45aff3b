"""Agreement of the LLM judge with human labels: figures with intervals, the disagreements, and advice."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.errors import DataError
from tunesmith.evals.items import Item
from tunesmith.evals.judge import NO_VERDICT, OUTCOMES, Judgment, LLMJudge
from tunesmith.evals.labels import Key, Label
from tunesmith.evals.statistics import Interval, kappa, wilson
from tunesmith.log import aligned, shortened

ENOUGH_LABELS = 100
"""With so many labels, about half of them bad, the intervals are narrow enough for a decision."""
MIN_RECALL = 0.9
"""Fraction of the bad answers, and of the good ones, that a judge must recognize to be trusted."""
MIN_KAPPA = 0.6
"""Least value of the lower end of kappa's interval."""
NOT_YET = "It is not to be trusted yet:"
TRUSTED = "It can be trusted on answers like these. Read what it says now and then, and label anew when they change."
_ALL_OUTCOMES = (*OUTCOMES, NO_VERDICT)
BOTH_WAYS = (("bad", "good"), ("good", "bad"))

Counts = dict[tuple[str, str], int]
"""(label, outcome) -> answers."""


class Labelled(NamedTuple):
    """The answers to measure with, their labels, and how many labels were excluded as few-shot examples."""

    items: list[Item]
    labels: list[Label]
    num_examples: int


class Compared(NamedTuple):
    """A label and the judgment of the same answer."""

    label: Label
    judgment: Judgment


def select_labelled(labels: dict[Key, Label], judge: LLMJudge, answers: Sequence[Item], file: str) -> Labelled:
    """Return the labelled answers without the judge's few-shot examples, whose outcome it has seen.

    Args:
        labels: from `read_labels`.
        judge: its examples are excluded.
        answers: the answers that labels name by id.
        file: of the labels, for messages.

    Raises:
        DataError: a label names an unknown answer, or no label is left.
    """
    examples = {(example.question, example.answer) for example, _ in judge.examples}
    by_id = {item.id: item for item in answers}
    pairs: list[tuple[Item, Label]] = []
    labels_set = [label for label in labels.values() if label.label]
    for label in labels_set:
        item = Item(label.id, "labelled", label.question, label.answer) if len(label.key) == 2 else by_id.get(label.id)
        if item is None:
            raise DataError(f"{file}: no answer has the id {label.id!r}; name the file of the answers with --answers")
        if (item.question, item.answer) not in examples:
            pairs.append((item, label))
    if not pairs:
        raise DataError(f"{file} has no label to measure with; `tunesmith label` makes some")
    return Labelled([item for item, _ in pairs], [label for _, label in pairs], len(labels_set) - len(pairs))


def compare(labelled: Labelled, judgments: Sequence[Judgment]) -> list[Compared]:
    """Return the labels whose answers are judged, each with its judgment."""
    by_text = {(judgment.question, judgment.answer): judgment for judgment in judgments}
    return [
        Compared(label, by_text[item.question, item.answer])
        for item, label in zip(labelled.items, labelled.labels, strict=True)
        if (item.question, item.answer) in by_text
    ]


def count_outcomes(pairs: Sequence[Compared]) -> Counts:
    """Return how often each label met each outcome."""
    outcomes = [(pair.label.label, pair.judgment.outcome) for pair in pairs]
    return {(label, outcome): outcomes.count((label, outcome)) for label in OUTCOMES for outcome in _ALL_OUTCOMES}


def format_agreement(pairs: Sequence[Compared]) -> str:
    """Return the confusion matrix of labels and outcomes, and the agreement with 95% intervals."""
    n = count_outcomes(pairs)
    matrix = [["", *(f"judged {outcome}" for outcome in OUTCOMES), NO_VERDICT]]
    for label in OUTCOMES:
        matrix.append([f"labelled {label}", *(str(n[label, outcome]) for outcome in _ALL_OUTCOMES)])
    num_agreed = n["good", "good"] + n["bad", "bad"]
    lines = [["of those with a verdict", "", "", "95% interval"]]
    lines.append(["accuracy", *_format_rate(num_agreed, sum(n[a, b] for a in OUTCOMES for b in OUTCOMES))])
    for outcome, other in BOTH_WAYS:
        agreed = n[outcome, outcome]
        lines.append([f"precision of {outcome}", *_format_rate(agreed, agreed + n[other, outcome])])
        lines.append([f"recall of {outcome}", *_format_rate(agreed, agreed + n[outcome, other])])
    value, low, high = _kappa(pairs)
    figures = ["-", ""] if math.isnan(value) else [f"{value:.2f}", f"{low:.2f} to {high:.2f}"]
    lines.append(["Cohen's kappa", "", *figures])
    return f"{aligned(matrix)}\n\n{aligned(lines)}"


def _kappa(pairs: Sequence[Compared]) -> Interval:
    with_verdict = [pair for pair in pairs if pair.judgment.outcome in OUTCOMES]
    return kappa([pair.label.label for pair in with_verdict], [pair.judgment.outcome for pair in with_verdict])


def _format_rate(count: int, total: int) -> list[str]:
    rate, low, high = wilson(count, total)
    return [f"{count} of {total}", *([f"{rate:.0%}", f"{low:.0%} to {high:.0%}"] if total else ["-", ""])]


def advise(pairs: Sequence[Compared]) -> str:
    """Return whether the judge can be trusted, and what to do if it cannot."""
    n = count_outcomes(pairs)
    problems = [*_find_label_problems(n), *_find_judge_problems(n, _kappa(pairs))]
    return "\n- ".join([NOT_YET if problems else TRUSTED, *problems, *_bound_unseen_errors(n)])


def _find_label_problems(n: Counts) -> list[str]:
    total, num_bad = sum(n.values()), sum(n["bad", outcome] for outcome in _ALL_OUTCOMES)
    problems = []
    if total < 0.9 * ENOUGH_LABELS:
        problems.append(f"{total} labels say too little: about {ENOUGH_LABELS} are wanted; tunesmith label makes more")
    if not 0.3 <= num_bad / total <= 0.7:
        problems.append(f"{num_bad} of {total} labels are bad: about half is wanted, to see both kinds of error")
    return problems


def _find_judge_problems(n: Counts, agreement: Interval) -> list[str]:
    problems = []
    for outcome, other in BOTH_WAYS:
        total = n[outcome, outcome] + n[outcome, other]
        if total and n[outcome, outcome] / total <= MIN_RECALL:
            problems.append(
                f"it finds {n[outcome, outcome]} of {total} {outcome} answers; more than {MIN_RECALL:.0%} is wanted: "
                "read where you differ, then make the rubric say it, or put such cases into `judge.examples`"
            )
    if not agreement.low >= MIN_KAPPA:  # also if it is not a number
        is_nan = math.isnan(agreement.low)
        words = "cannot be computed" if is_nan else f"may be as low as {agreement.low:.2f}"
        problems.append(f"kappa {words}; at least {MIN_KAPPA} at the lower end is wanted")
    num_without = n["good", NO_VERDICT] + n["bad", NO_VERDICT]
    if num_without > 0.05 * sum(n.values()):
        problems.append(f"{num_without} of {sum(n.values())} answers got no verdict; the reasons are in the file")
    return problems


def _bound_unseen_errors(n: Counts) -> list[str]:
    """Return an upper bound for each kind of error that was not seen: with 95% confidence at most 3 in `total`."""
    lines = []
    for outcome, other in BOTH_WAYS:
        total = n[outcome, outcome] + n[outcome, other]
        if total and not n[outcome, other]:
            bound = min(1.0, 3 / total)
            lines.append(
                f"none of {total} {outcome} answers was called {other}: of all, it may still be up to {bound:.0%}"
            )
    return lines


def format_disagreements(pairs: Sequence[Compared], count: int) -> str:
    """Return the first answers on which label and judgment differ, with the reasons of both."""
    differing = [pair for pair in pairs if pair.label.label != pair.judgment.outcome]
    blocks = []
    for label, judgment in differing[:count]:
        verdict = f"judged {judgment.outcome}" if judgment.outcome in OUTCOMES else judgment.outcome
        blocks.append(
            f"{judgment.id or 'answer'}: labelled {label.label}, {verdict}\n"
            f"  question  {shortened(judgment.question, 400)}\n"
            f"  answer    {shortened(judgment.answer, 400)}\n"
            f"  label     {shortened(label.why, 400) or '(no reason given)'}\n"
            f"  critique  {shortened(judgment.critique, 400)}"
        )
    if len(differing) > count:
        blocks.append(f"{len(differing) - count} more; --show {len(differing)} shows all")
    return "\n\n".join(blocks)
