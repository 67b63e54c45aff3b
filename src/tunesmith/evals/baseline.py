"""An earlier report as a baseline: its answers are judged again beside the new ones, by the assertions of today."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError, DataError
from tunesmith.evals.items import REPORTS, report_of

REPORT = Path(REPORTS[0])
"""Where the report of a run lies in its folder."""


class Baseline(NamedTuple):
    """The answers of one variant of an earlier report.

    Attributes:
        file: the report.
        losses: loss, perplexity and tokens at that time; empty for a model that a server held.
        rows: question and answer of each row.
    """

    file: Path
    losses: dict[str, float]
    rows: list[tuple[str, str]]

    def answers(self, questions: Sequence[str]) -> list[str]:
        """Return the earlier answer to each question; of rows that ask the same, the first has the first answer.

        Raises:
            DataError: the report is not about the same rows.
        """
        left = defaultdict(list)
        for question, text in reversed(self.rows):
            left[question].append(text)
        found = [left[question].pop() if left[question] else None for question in questions]
        answers = [text for text in found if text is not None]
        if len(answers) < len(questions) or len(answers) < len(self.rows):
            raise DataError(
                f"{self.file} is about other rows: {len(answers)} of its {len(self.rows)} rows are among the "
                f"{len(questions)} of this evaluation. Set the same held-out rows and `evaluation.max_rows`, "
                "or evaluate the baseline again on these"
            )
        return answers


def read_baseline(name: str) -> Baseline:
    """Return the baseline in a report, or in the folder of a run: its tuned model, or else its last.

    Raises:
        ConfigError: there is no report, or the file is none.
    """
    is_run = Path(name).is_dir()
    file = Path(report_of(name)) if is_run else Path(name)
    if not file.is_file():
        cure = f"`tunesmith evaluate {name}` writes it" if is_run else "name a report of `tunesmith evaluate`, or a run"
        raise ConfigError(f"--baseline {name}: there is no {file}; {cure}")
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        variant = "tuned" if "tuned" in content["summary"] else list(content["summary"])[-1]
        summary = content["summary"][variant]
        losses = {key: summary[key] for key in ("loss", "perplexity", "tokens") if key in summary}
        rows = [(row["question"], row["answers"][variant]["text"]) for row in content["rows"]]
    except (ValueError, KeyError, TypeError, IndexError):
        raise ConfigError(f"--baseline {name}: {file} is no report of `tunesmith evaluate`") from None
    return Baseline(file, losses, rows)
