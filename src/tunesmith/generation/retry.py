"""Retry with feedback: generate again where an answer fails an assertion, and show the failure to the model."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tunesmith.assertions import AssertionRunner, Case, Verdict
from tunesmith.data.question import Turn

Generate = Callable[[Sequence[tuple[int, list[Turn]]]], Iterable[str]]
"""Answers prompts: the number of each, and the turns after its prompt (a failed answer and its feedback, in turn)."""


class RetryResult(NamedTuple):
    """The last answer to a prompt.

    Attributes:
        answer: the text.
        tries: how often it was generated.
        failed: verdicts of the assertions that it fails; empty if it passes.
    """

    answer: str
    tries: int
    failed: list[Verdict]


def retry_with_feedback(
    generate: Generate, cases: Sequence[Case], runner: AssertionRunner, retries: int
) -> list[RetryResult]:
    """Return for each case an answer that passes all assertions, or the last of `1 + retries` that fail.

    Args:
        generate: gives an answer to each prompt that it gets, in their order.
        cases: the rows of the prompts; their own `answer` is not used.
        runner: the assertions.
        retries: how often a failed answer is generated again.

    Raises:
        ConfigError: an assertion is at fault.
    """
    turns: list[list[Turn]] = [[] for _ in cases]
    results: dict[int, RetryResult] = {}
    pending = list(range(len(cases)))
    for tries in range(1, retries + 2):
        if not pending:
            break
        answers = list(generate([(index, turns[index]) for index in pending]))
        answered = [cases[index]._replace(answer=text) for index, text in zip(pending, answers, strict=True)]
        for index, text, verdicts in zip(pending, answers, runner(answered), strict=True):
            results[index] = RetryResult(text, tries, [verdict for verdict in verdicts if not verdict.ok])
            feedback = build_feedback(results[index].failed)
            turns[index] = [*turns[index], {"role": "assistant", "content": text}, feedback]
        pending = [index for index in pending if results[index].failed]
    return [results[index] for index in range(len(cases))]


def build_feedback(failed: Sequence[Verdict]) -> Turn:
    """Return the user message that lists why an answer fails, each reason once."""
    reasons = "\n".join(f"- {reason}" for reason in dict.fromkeys(verdict.reason for verdict in failed))
    text = f"That answer does not pass these checks:\n{reasons}\nGive the whole answer again, corrected."
    return {"role": "user", "content": text}
