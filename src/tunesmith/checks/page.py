"""The report of the data doctor as one HTML page that needs no network: `page.html` with its style, script and data."""

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

from tunesmith.checks.report import CheckReport


def write_page(report: CheckReport, path: Path) -> None:
    """Write the report to `path` as a page that stands alone."""
    # Lengths are counted, so that the page does not grow with the data.
    figures = [{**vars(item), "lengths": sorted(Counter(item.lengths).items())} for item in report.figures]
    data = json.dumps({**vars(report), "figures": figures}, default=vars, separators=(",", ":"))
    for character in "<>&":  # a row may hold `</script>` or `<!--`, which would end the script that holds the data
        data = data.replace(character, f"\\u{ord(character):04x}")
    folder = files("tunesmith.checks")
    page, style, script = (
        folder.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    page = page.replace("{{style}}", style, 1).replace("{{script}}", script, 1).replace("{{data}}", data, 1)
    path.write_text(page, encoding="utf-8")
