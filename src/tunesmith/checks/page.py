"""The report of the data doctor as one HTML page that needs no network: `page.html` with its style, script and data."""

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

from tunesmith.checks.report import CheckReport


def write_page(report: CheckReport, path: Path) -> None:
    """Write the report to `path` as a page that stands alone."""
    # Lengths are counted, so that the page does not grow with the data.
    figures = [{**vars(item), "lengths": sorted(Counter(item.lengths).items())} for item in report.figures]
    page = standalone("tunesmith.checks", "page", {**vars(report), "figures": figures})
    path.write_text(page, encoding="utf-8")


def standalone(package: str, name: str, content: dict[str, Any]) -> str:
    """Return an HTML file of a package with its script, what it shows, and the style of all pages written into it."""
    data = json.dumps(content, default=vars, separators=(",", ":"))
    for character in "<>&":  # a row may hold `</script>` or `<!--`, which would end the script that holds the data
        data = data.replace(character, f"\\u{ord(character):04x}")
    style = files("tunesmith.checks").joinpath("page.css").read_text(encoding="utf-8")
    page, script = (files(package).joinpath(f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "js"))
    return page.replace("{{style}}", style, 1).replace("{{script}}", script, 1).replace("{{data}}", data, 1)
