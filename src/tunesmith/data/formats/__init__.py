"""The dataset types: a record of each, in the file of its family. The one place that knows columns and prompt layouts.

A new type is a record in a file, and one line in `FORMATS`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.data.formats.chat import CHAT
from tunesmith.data.formats.dialogue import DIALOGUE
from tunesmith.data.formats.format import Document, Format, FormatSpec
from tunesmith.data.formats.history import HISTORY_FORMATS
from tunesmith.data.formats.instruct import INSTRUCT
from tunesmith.data.formats.prompt_completion import PROMPT_COMPLETION
from tunesmith.data.formats.raw import RAW
from tunesmith.data.formats.sharegpt import SHAREGPT
from tunesmith.data.messages import WireMessage
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import ConfigError, did_you_mean
from tunesmith.references import resolve

FORMATS: dict[str, Format] = {
    **CHAT,
    **HISTORY_FORMATS,
    **PROMPT_COMPLETION,
    **INSTRUCT,
    **RAW,
    **DIALOGUE,
    **SHAREGPT,
}
"""Value of `type` -> its record."""


def is_custom(name: str) -> bool:
    """Whether a value of `type` names a function of the user's."""
    return ".py:" in name


def find_format(name: str, source: str) -> Format:
    """Return the record of a dataset type: one of `FORMATS`, or `file.py:function` beside the config `source`.

    Raises:
        ConfigError: there is none.
    """
    if name in FORMATS:
        return FORMATS[name]
    if is_custom(name):
        return _custom_format(name, resolve(name, source))
    raise ConfigError(unknown_type(name))


def unknown_type(name: str) -> str:
    """Return that there is no such type, and which there are."""
    families = dict.fromkeys(re.split("[:.]", known)[0] for known in FORMATS)
    near = did_you_mean(name, FORMATS)
    return f"`datasets.type: {name}` is none of {', '.join(families)}, and no path/to/file.py:function{near}"


def _custom_format(name: str, function: Callable[[dict[str, Any], FormatSpec], list[tuple[str, bool]]]) -> Format:
    """Return a user's `(row, spec) -> [(text, train), ...]` as a record; BOS and end token are added."""

    def read(values: dict[str, Any], spec: FormatSpec) -> Document:
        segments = [Segment(*segment) for segment in function(values, spec)]
        last = [segment._replace(eos_count=1) for segment in segments[-1:]]
        return Document((Rendered((*segments[:-1], *last), bos="own"),))

    def ask(messages: Sequence[WireMessage], spec: FormatSpec) -> Rendered:
        row = {spec.dataset.field_instruction: messages[-1]["content"], spec.dataset.field_output: "(the answer)"}
        sample = read(row, spec).samples[0]
        assert isinstance(sample, Rendered)
        return sample.prompt(last=True)

    return Format(name, read, ask=ask, keys=None)
