"""The evaluation of one or two models as data, as a table, and side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.assertions import Verdict


@dataclass(frozen=True)
class Answer:
    """An answer of one voice and what the assertions say of it."""

    text: str
    exact: bool
    failed: list[Verdict]


@dataclass(frozen=True)
class Judged:
    """A held-out row with the answer of each voice.

    Attributes:
        file: where the row stands.
        row: its line.
        question: what was asked, for reading.
        reference: the row's own answer.
        answers: voice -> answer.
    """

    file: str
    row: int
    question: str
    reference: str
    answers: dict[str, Answer]


@dataclass
class Report:
    """All that was measured.

    Attributes:
        losses: voice -> loss per trained token, perplexity and tokens.
        rows: the judged rows; empty if no answers were generated.
        assertions: names of the assertions.
    """

    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[Judged] = field(default_factory=list)
    assertions: list[str] = field(default_factory=list)

    def passed(self, voice: str) -> int:
        """Return how many answers pass every assertion."""
        return sum(not row.answers[voice].failed for row in self.rows)

    def exact(self, voice: str) -> int:
        """Return how many answers equal the row's own."""
        return sum(row.answers[voice].exact for row in self.rows)

    def failures(self, voice: str) -> dict[str, int]:
        """Return how often each assertion failed."""
        counts = dict.fromkeys(self.assertions, 0)
        for row in self.rows:
            for verdict in row.answers[voice].failed:
                counts[verdict.name] += 1
        return counts

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data for a JSON file."""
        summary = {
            voice: {
                **losses,
                **(
                    {
                        "rows": len(self.rows),
                        "exact_match": self.exact(voice),
                        **({"passed": self.passed(voice), "failures": self.failures(voice)} if self.assertions else {}),
                    }
                    if self.rows
                    else {}
                ),
            }
            for voice, losses in self.losses.items()
        }
        return {"summary": summary, "rows": [_row(row) for row in self.rows]}


def _row(row: Judged) -> dict[str, Any]:
    """Return a judged row as plain data, with failures as name -> reason."""
    answers = {
        voice: {"text": answer.text, "exact": answer.exact, "failed": {v.name: v.reason for v in answer.failed}}
        for voice, answer in row.answers.items()
    }
    return asdict(row) | {"answers": answers}


def table(report: Report) -> str:
    """Return the summary as an aligned table, a column a voice."""
    voices = list(report.losses)
    lines = [
        ["held-out loss", *(f"{report.losses[voice]['loss']:.4f}" for voice in voices)],
        ["perplexity", *(f"{report.losses[voice]['perplexity']:.3f}" for voice in voices)],
    ]
    for key in next(iter(report.losses.values()), {}):  # of each evaluation set, where there are several
        if key.endswith("_loss"):
            lines.append([f"loss of {key.removesuffix('_loss')}", *(f"{report.losses[v][key]:.4f}" for v in voices)])
    count = len(report.rows)
    if count and report.assertions:
        lines.append([f"pass all assertions, of {count}", *(_share(report.passed(voice), count) for voice in voices)])
    if count:
        lines.append([f"exact match, of {count}", *(_share(report.exact(voice), count) for voice in voices)])
    failures = {voice: report.failures(voice) for voice in voices}
    for name in report.assertions:
        if any(failures[voice][name] for voice in voices):
            lines.append([f"  fail {name}", *(str(failures[voice][name]) for voice in voices)])
    return _aligned([["", *voices], *lines])


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f}%)"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )


def side_by_side(report: Report, count: int) -> str:
    """Return the first rows with every voice's answer and the reason why it fails, for reading."""
    blocks = []
    for row in report.rows[:count]:
        lines = [f"{row.file}:{row.row}", f"  question   {_last_line(row.question)}", f"  reference  {row.reference}"]
        for voice, answer in row.answers.items():
            verdict = "exact" if answer.exact else "valid" if not answer.failed else f"fails: {answer.failed[0].reason}"
            lines += [
                f"  {voice:<9}  {_short(answer.text)}",
                f"  {'':<9}  ^ {verdict if report.assertions or answer.exact else ''}",
            ]
        blocks.append("\n".join(line.rstrip(" ^") if line.endswith("^ ") else line for line in lines))
    return "\n\n".join(blocks)


def _last_line(text: str) -> str:
    """What is asked stands at the end, after what is given."""
    return (text.strip().splitlines() or [""])[-1]


def _short(text: str, limit: int = 300) -> str:
    """One line of a long answer."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[:limit] + " ..."
