"""The layouts of rows: `(values, spec) -> [Rendered]`. The one place that knows columns and prompt layouts.

A new layout is a function in a file of its family, and one line in `FORMATS`.
"""

import re
from collections.abc import Callable
from typing import Any

from tunesmith.data.formats.chat import chat
from tunesmith.data.formats.dialogue import DIALOGUE
from tunesmith.data.formats.instruct import INSTRUCT
from tunesmith.data.formats.prompt_completion import prompt_completion
from tunesmith.data.formats.raw import RAW
from tunesmith.data.formats.sharegpt import SHAREGPT
from tunesmith.data.formats.spec import Format, FormatSpec
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.references import resolve

FORMATS: dict[str, Format] = {
    "chat_template": chat,
    "prompt_completion": prompt_completion,
    **INSTRUCT,
    **RAW,
    **DIALOGUE,
    **SHAREGPT,
}
"""Value of `type` -> its function."""


def find_format(name: str, source: str) -> Format:
    """Return the format that `type` names: one of `FORMATS`, or `file.py:function` beside the config `source`.

    Raises:
        ConfigError: there is none.
    """
    if name in FORMATS:
        return FORMATS[name]
    if ".py:" in name:
        return _users_own(resolve(name, source))
    families = dict.fromkeys(re.split("[:.]", known)[0] for known in FORMATS)
    raise ConfigError(
        f"`datasets.type: {name}` is none of {', '.join(families)}, and no path/to/file.py:function"
        f"{did_you_mean(name, FORMATS)}"
    )


def _users_own(function: Callable[[dict[str, Any], FormatSpec], list[tuple[str, bool]]]) -> Format:
    """Return a user's `(row, spec) -> [(text, train), ...]` as a format; begin and end tokens are put on."""

    def render(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
        spans = [Span(*span) for span in function(values, spec)]
        return [Rendered((*spans[:-1], *(span._replace(ends=1) for span in spans[-1:])), bos="own")]

    return render
