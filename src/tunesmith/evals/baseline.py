"""An earlier report as a baseline: the current assertions judge its answers again, together with the new ones."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError, DataError
from tunesmith.evals.items import REPORTS, find_report

REPORT = Path(REPORTS[0])
"""The report of a run in its folder."""


class Baseline(NamedTuple):
    """The answers of one variant in an earlier report.

    Attributes:
        file: the report.
        losses: its loss, perplexity and tokens; empty for a served model.
        rows: question and answer of each row.
    """

    file: Path
    losses: dict[str, float]
    rows: list[tuple[str, str]]

    def answers(self, questions: Sequence[str]) -> list[str]:
        """Return the earlier answer to each question. Rows with equal questions are matched in their order.

        Raises:
            DataError: the report has other rows.
        """
        remaining = defaultdict(list)
        for question, text in reversed(self.rows):
            remaining[question].append(text)
        answers = [remaining[question].pop() for question in questions if remaining[question]]
        if len(answers) < len(questions) or len(answers) < len(self.rows):
            raise DataError(
                f"{self.file} has other rows: {len(answers)} of its {len(self.rows)} rows are among the "
                f"{len(questions)} of this evaluation. Set the same eval rows and `evaluation.max_rows`, "
                "or evaluate the baseline again on these"
            )
        return answers


def read_baseline(name: str) -> Baseline:
    """Return the tuned variant, or else the last one, of a report or of the report in a run's folder.

    Raises:
        ConfigError: there is no report, or the file is not a report.
    """
    is_run = Path(name).is_dir()
    file = Path(find_report(name)) if is_run else Path(name)
    if not file.is_file():
        fix = f"`tunesmith evaluate {name}` writes it" if is_run else "name a report of `tunesmith evaluate`, or a run"
        raise ConfigError(f"--baseline {name}: there is no {file}; {fix}")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        variant = "tuned" if "tuned" in content["summary"] else list(content["summary"])[-1]
        summary = content["summary"][variant]
        losses = {key: summary[key] for key in ("loss", "perplexity", "tokens") if key in summary}
        rows = [(row["question"], row["answers"][variant]["text"]) for row in content["rows"]]
    except (ValueError, KeyError, TypeError, IndexError):
        raise ConfigError(f"--baseline {name}: {file} is no report of `tunesmith evaluate`") from None
    return Baseline(file, losses, rows)
