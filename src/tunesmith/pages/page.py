"""A page as one file that needs no network: the shell that all pages have, and what one of them adds."""

import json
import re
from importlib.resources import files
from typing import Any


def standalone(package: str, name: str, title: str, content: dict[str, Any]) -> str:
    """Return a page with its style, its script and what it shows written into it.

    Args:
        package: the package that holds NAME.html (the body), NAME.css and NAME.js.
        name: the page's name there.
        title: its title until its script gives another one.
        content: what the script draws, as `report`.
    """
    data = json.dumps(content, default=vars, separators=(",", ":"))
    for character in "<>&":  # a row may hold `</script>` or `<!--`, which would end the script that holds the data
        data = data.replace(character, f"\\u{ord(character):04x}")
    parts = {
        "title": title,
        "style": "".join([asset("colours.css"), asset("page.css"), asset(f"{name}.css", package)]),
        "body": asset(f"{name}.html", package),
        "script": asset("page.js") + asset(f"{name}.js", package),
        "data": data,
    }
    return re.sub(r"\{\{(\w+)\}\}\n?", lambda found: parts[found[1]], asset("page.html"))


def asset(name: str, package: str = "tunesmith.pages") -> str:
    """Return the text of a file of a package; of those that all pages share, if none is named."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
