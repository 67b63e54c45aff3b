"""The files of a report: JSON with every row, Markdown for reading, and a self-contained HTML page."""

import json
from collections.abc import Sequence
from pathlib import Path

from tunesmith.evals.comparison import Comparison
from tunesmith.evals.report import Report
from tunesmith.evals.text import render_markdown
from tunesmith.pages.page import standalone


def write_report(report: Report, compared: Sequence[Comparison], file: Path, title: str) -> list[Path]:
    """Write the JSON report to `file`, with Markdown and page next to it under the same name; return the paths.

    The JSON is written last and atomically, so that an existing one is complete.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    content = report.as_dict() | {"comparisons": [item.as_dict() for item in compared], "title": title}
    page, text = file.with_suffix(".html"), file.with_suffix(".md")
    page.write_text(standalone("tunesmith.evals", "report", "Evaluation", content), encoding="utf-8")
    text.write_text(render_markdown(report, compared, title), encoding="utf-8")
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    unfinished.replace(file)
    return [file, text, page]
