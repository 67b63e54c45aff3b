"""The files of a report: JSON with every row, Markdown for reading, and a self-contained HTML page."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from tunesmith.evals.comparison import Comparison
from tunesmith.evals.report import Report
from tunesmith.evals.text import render_markdown
from tunesmith.files import write_json, write_text
from tunesmith.log import note
from tunesmith.pages.page import standalone


def write_report(report: Report, compared: Sequence[Comparison], file: Path, title: str) -> list[Path]:
    """Write the JSON report to `file`, with Markdown and page next to it under the same name; return the paths.

    The JSON is written last and atomically, so that an existing one is complete. An earlier comparison is kept.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if moved := _keep_comparison(file):
        note(f"the earlier comparison is kept: {', '.join(map(str, moved))}")
    content = report.as_dict() | {"comparisons": [item.as_dict() for item in compared], "title": title}
    _, text, page = _files_of(file)
    write_text(page, standalone("tunesmith.evals", "report", "Evaluation", content))
    write_text(text, render_markdown(report, compared, title))
    write_json(file, content)
    return [file, text, page]


def _keep_comparison(file: Path) -> list[Path]:
    """Give the files of a report that compares models another name; return their paths, none if there is no such."""
    try:
        compares = bool(json.loads(file.read_text(encoding="utf-8"))["comparisons"])
    except FileNotFoundError:
        return []
    except (ValueError, LookupError, TypeError):
        compares = True  # no report: what it is, only its owner knows
    if not compares:
        return []
    stems = (f"{file.stem}-{number}" for number in count(1))
    stem = next(stem for stem in stems if not any(path.exists() for path in _files_of(file.with_stem(stem))))
    old = [path for path in _files_of(file) if path.exists()]
    return [path.rename(path.with_stem(stem)) for path in old]


def _files_of(file: Path) -> list[Path]:
    return [file, file.with_suffix(".md"), file.with_suffix(".html")]
