"""Does the judge judge as a person does? Figures with intervals, the answers where they differ, and advice in words."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.errors import DataError
from tunesmith.evals.items import Item
from tunesmith.evals.judge import NO_VERDICT, OUTCOMES, Critic, Judgement
from tunesmith.evals.labels import Key, Label
from tunesmith.evals.statistics import Interval, kappa, wilson
from tunesmith.log import aligned

ENOUGH = 100
"""Labels, about half of them bad, after which the intervals are narrow enough to decide on."""
RATE = 0.9
"""Share of the bad answers, and of the good ones, that a judge to be trusted must find."""
KAPPA = 0.6
"""What kappa must at least be, at the lower end of its interval."""
NOT_YET = "It is not to be trusted yet:"


class Labelled(NamedTuple):
    """Labels to measure with: the answers, their labels, and how many were left out as examples of the critic."""

    items: list[Item]
    labels: list[Label]
    left_out: int


class Compared(NamedTuple):
    """A label and the verdict on the same answer."""

    label: Label
    said: Judgement


def labelled_items(labels: dict[Key, Label], critic: Critic, answers: Sequence[Item], file: str) -> Labelled:
    """Return the labelled answers without those that the critic has as examples: it would know what to say.

    Args:
        labels: of `read_labels`.
        critic: whose examples are left out.
        answers: where labels that name an answer by its id find it.
        file: of the labels, for messages.

    Raises:
        DataError: a label names an answer that is not there, or none is left.
    """
    shown = {(shot.question, shot.answer) for shot, _ in critic.shots}
    by_id = {item.id: item for item in answers}
    found: list[tuple[Item, Label]] = []
    given = [label for label in labels.values() if label.label]
    for label in given:
        item = Item(label.id, "labelled", label.question, label.answer) if len(label.key) == 2 else by_id.get(label.id)
        if item is None:
            raise DataError(f"{file}: no answer has the id {label.id!r}; name the file of the answers with --answers")
        if (item.question, item.answer) not in shown:
            found.append((item, label))
    if not found:
        raise DataError(f"{file} has no label to measure with; `tunesmith label` makes some")
    return Labelled([item for item, _ in found], [label for _, label in found], len(given) - len(found))


def compare(labelled: Labelled, judgements: Sequence[Judgement]) -> list[Compared]:
    """Return the labels whose answers are judged, each with its verdict."""
    said = {(item.question, item.answer): item for item in judgements}
    pairs = zip(labelled.items, labelled.labels, strict=True)
    return [
        Compared(label, said[item.question, item.answer])
        for item, label in pairs
        if (item.question, item.answer) in said
    ]


def counts(pairs: Sequence[Compared]) -> dict[tuple[str, str], int]:
    """Return how often each label met each verdict."""
    met = [(pair.label.label, pair.said.outcome) for pair in pairs]
    return {(label, said): met.count((label, said)) for label in OUTCOMES for said in (*OUTCOMES, NO_VERDICT)}


def report(pairs: Sequence[Compared]) -> str:
    """Return how labels and verdicts go together, and the figures of the agreement with their 95% intervals."""
    n = counts(pairs)
    crossed = [["", *(f"judged {said}" for said in OUTCOMES), NO_VERDICT]]
    crossed += [[f"labelled {label}", *(str(n[label, said]) for said in (*OUTCOMES, NO_VERDICT))] for label in OUTCOMES]
    right = n["good", "good"] + n["bad", "bad"]
    lines = [["of those with a verdict", "", "", "95% interval"]]
    lines.append(["accuracy", *_figure(right, sum(n[a, b] for a in OUTCOMES for b in OUTCOMES))])
    for word, other in (("bad", "good"), ("good", "bad")):
        lines.append([f"precision of {word}", *_figure(n[word, word], n[word, word] + n[other, word])])
        lines.append([f"recall of {word}", *_figure(n[word, word], n[word, word] + n[word, other])])
    value, low, high = _kappa(pairs)
    figures = ["-", ""] if math.isnan(value) else [f"{value:.2f}", f"{low:.2f} to {high:.2f}"]
    lines.append(["Cohen's kappa", "", *figures])
    return f"{aligned(crossed)}\n\n{aligned(lines)}"


def _kappa(pairs: Sequence[Compared]) -> Interval:
    both = [pair for pair in pairs if pair.said.outcome in OUTCOMES]
    return kappa([pair.label.label for pair in both], [pair.said.outcome for pair in both])


def _figure(part: int, whole: int) -> list[str]:
    share, low, high = wilson(part, whole)
    return [f"{part} of {whole}", *([f"{share:.0%}", f"{low:.0%} to {high:.0%}"] if whole else ["-", ""])]


def advice(pairs: Sequence[Compared]) -> str:
    """Return in plain words whether the judge can be trusted, and what to do if it cannot."""
    n = counts(pairs)
    lacks = [*_too_few(n), *_too_often_wrong(n, _kappa(pairs))]
    head = "It can be trusted on answers like these. Read what it says now and then, and label anew when they change."
    return "\n- ".join([NOT_YET if lacks else head, *lacks, *_never_wrong(n)])


def _too_few(n: dict[tuple[str, str], int]) -> list[str]:
    total, bad = sum(n.values()), sum(n["bad", said] for said in (*OUTCOMES, NO_VERDICT))
    found = []
    if total < 0.9 * ENOUGH:
        found.append(f"{total} labels say too little: about {ENOUGH} are wanted; tunesmith label makes more")
    if not 0.3 <= bad / total <= 0.7:
        found.append(f"{bad} of {total} labels are bad: about half is wanted, to see both kinds of error")
    return found


def _too_often_wrong(n: dict[tuple[str, str], int], agreement: Interval) -> list[str]:
    found = []
    for word, other in (("bad", "good"), ("good", "bad")):
        whole = n[word, word] + n[word, other]
        if whole and n[word, word] / whole <= RATE:
            found.append(
                f"it finds {n[word, word]} of {whole} {word} answers; more than {RATE:.0%} is wanted: read where you "
                "differ, then make the rubric say it, or put such cases into `judge.examples`"
            )
    if not agreement.low >= KAPPA:
        words = "cannot be computed" if math.isnan(agreement.low) else f"may be as low as {agreement.low:.2f}"
        found.append(f"kappa {words}; at least {KAPPA} at the lower end is wanted")
    silent = n["good", NO_VERDICT] + n["bad", NO_VERDICT]
    if silent > 0.05 * sum(n.values()):
        found.append(f"{silent} of {sum(n.values())} answers got no verdict; the reasons are in the file")
    return found


def _never_wrong(n: dict[tuple[str, str], int]) -> list[str]:
    """No failure seen is not no failure: with 95% confidence there are at most 3 in as many as were looked at."""
    found = []
    for word, other in (("bad", "good"), ("good", "bad")):
        whole = n[word, word] + n[word, other]
        if whole and not n[word, other]:
            most = min(1.0, 3 / whole)
            found.append(f"none of {whole} {word} answers was called {other}: of all, it may still be up to {most:.0%}")
    return found


def disagreements(pairs: Sequence[Compared], count: int) -> str:
    """Return the first answers on which person and critic differ, with the reason of each, for reading."""
    differ = [pair for pair in pairs if pair.label.label != pair.said.outcome]
    blocks = []
    for label, said in differ[:count]:
        verdict = f"judged {said.outcome}" if said.outcome in OUTCOMES else said.outcome
        blocks.append(
            f"{said.id or 'answer'}: labelled {label.label}, {verdict}\n"
            f"  question  {_short(said.question)}\n"
            f"  answer    {_short(said.answer)}\n"
            f"  label     {_short(label.why) or '(no reason given)'}\n"
            f"  critic    {_short(said.critique)}"
        )
    if len(differ) > count:
        blocks.append(f"{len(differ) - count} more; --show {len(differ)} shows all")
    return "\n\n".join(blocks)


def _short(text: str, limit: int = 400) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[:limit]} ..."
