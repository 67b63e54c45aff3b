"""The files of a report: JSON with every row, Markdown for reading, and a self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path

from tunesmith.evals.comparison import Comparison
from tunesmith.evals.report import Report
from tunesmith.evals.text import render_markdown
from tunesmith.files import write_json, write_text
from tunesmith.pages.page import standalone


def write_report(report: Report, compared: Sequence[Comparison], file: Path, title: str) -> list[Path]:
    """Write the JSON report to `file`, with Markdown and page next to it under the same name; return the paths.

    The JSON is written last and atomically, so that an existing one is complete.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    content = report.as_dict() | {"comparisons": [item.as_dict() for item in compared], "title": title}
    page, text = file.with_suffix(".html"), file.with_suffix(".md")
    write_text(page, standalone("tunesmith.evals", "report", "Evaluation", content))
    write_text(text, render_markdown(report, compared, title))
    write_json(file, content)
    return [file, text, page]
