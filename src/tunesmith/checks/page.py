"""The report of the data doctor as an HTML page."""

from collections import Counter
from pathlib import Path

from tunesmith.checks.report import CheckReport
from tunesmith.files import write_text
from tunesmith.pages.page import standalone


def write_page(report: CheckReport, path: Path) -> None:
    """Write the report to `path` as a page that stands alone."""
    # Lengths are counted, so that the page does not grow with the data.
    figures = [{**vars(item), "lengths": sorted(Counter(item.lengths).items())} for item in report.figures]
    page = standalone("tunesmith.checks", "page", "Data check", {**vars(report), "figures": figures})
    write_text(path, page)
