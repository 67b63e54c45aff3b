"""Asks again where an answer fails an assertion, and shows the failure to who answers: any model that a caller has."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tunesmith.assertions import Case, Jury, Verdict
from tunesmith.data.question import Turn

Ask = Callable[[Sequence[tuple[int, list[Turn]]]], Iterable[str]]
"""Answers questions: the number of each, and the turns since its prompt, an answer and its failure by turns."""


class Healed(NamedTuple):
    """The last answer to a question.

    Attributes:
        answer: it.
        tries: how often was asked.
        failed: what the assertions say against it; empty if it passes.
    """

    answer: str
    tries: int
    failed: list[Verdict]


def heal(ask: Ask, cases: Sequence[Case], judge: Jury, retries: int) -> list[Healed]:
    """Return an answer to each case that passes all assertions, or the last of `1 + retries` that do not.

    Args:
        ask: gives an answer to each question that it is given, in their order.
        cases: the rows that are asked about; their own `answer` counts for nothing.
        judge: the assertions.
        retries: how often is asked again at most.

    Raises:
        ConfigError: an assertion is at fault.
    """
    said: list[list[Turn]] = [[] for _ in cases]
    found: dict[int, Healed] = {}
    pending = list(range(len(cases)))
    for tries in range(1, retries + 2):
        if not pending:
            break
        answers = list(ask([(index, said[index]) for index in pending]))
        judged = judge([cases[i]._replace(answer=text) for i, text in zip(pending, answers, strict=True)])
        for index, text, verdicts in zip(pending, answers, judged, strict=True):
            found[index] = Healed(text, tries, [verdict for verdict in verdicts if not verdict.ok])
            said[index] = [*said[index], {"role": "assistant", "content": text}, complaint(found[index].failed)]
        pending = [index for index in pending if found[index].failed]
    return [found[index] for index in range(len(cases))]


def complaint(failed: Sequence[Verdict]) -> Turn:
    """Return the user's turn that says what is wrong with an answer, each reason once."""
    reasons = "\n".join(f"- {reason}" for reason in dict.fromkeys(verdict.reason for verdict in failed))
    text = f"That answer does not pass these checks:\n{reasons}\nGive the whole answer again, corrected."
    return {"role": "user", "content": text}
