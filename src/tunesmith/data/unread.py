"""What nobody reads of a row: columns, and keys of its messages.

A row is read through a `TrackedRow`, which records the columns that its type asks for, so that no list of what each
type reads can be out of date. What is left is bookkeeping, or repeats what is trained, or it is reported; if its name
says that it would change what is trained, the row is refused.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from tunesmith.data.formats import is_custom
from tunesmith.data.formats.format import Format, FormatSpec, Samples
from tunesmith.data.row_access import TrackedRow, is_empty
from tunesmith.data.shown import leaves, stands
from tunesmith.data.tokenizer import template_properties
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

BOOKKEEPING = frozenset(files("tunesmith.data").joinpath("bookkeeping.txt").read_text(encoding="utf-8").split())
"""Names of columns and of keys of messages, in lower case, that say nothing of what is trained."""


class Meaning(NamedTuple):
    """What columns hold that would change what is trained, by their usual names.

    Attributes:
        what: what they hold, for the message.
        names: in lower case.
        cure: how they are read; `{name}` is the column.
    """

    what: str
    names: frozenset[str]
    cure: str


MEANINGS = (
    Meaning(
        "a system message",
        frozenset({"system", "system_prompt", "system_message", "sys_prompt", "sysprompt", "system_text"}),
        "set `field_system: {name}` with a type that has one, such as chat_template or alpaca_w_system",
    ),
    Meaning(
        "earlier turns",
        frozenset({"history", "chat_history", "conversation_history", "dialog_history", "dialogue_history"}),
        "set `type: chat_template.instruction`, which reads instruction, input, output, system and history",
    ),
    Meaning(
        "a part of the prompt",
        frozenset(
            {"instruction", "instructions", "input", "inputs", "context", "contexts", "question", "query", "prompt"}
            | {"passage", "article", "document", "documents", "options", "choices"}
        ),
        "set `field_input: {name}` with a type like alpaca, or a `type` that is a mapping of columns",
    ),
    Meaning(
        "schemas of tools",
        frozenset({"tools", "functions", "available_tools", "function_schemas", "tool_schemas"}),
        "set `type: chat_template` with `field_tools: {name}`",
    ),
    Meaning(
        "calls of tools",
        frozenset({"tool_calls", "function_call", "function_calls", "tool_call"}),
        "write them as `tool_calls` into a message of the assistant, for `type: chat_template`",
    ),
    Meaning(
        "reasoning",
        frozenset({"reasoning", "reasoning_content", "thinking", "think", "thought", "thoughts", "chain_of_thought"}),
        "write it into a message of the assistant, for `type: chat_template` with `field_thinking: {name}`",
    ),
    Meaning(
        "images, sound or video",
        frozenset({"image", "images", "image_url", "audio", "audios", "video", "videos", "pixel_values"}),
        "remove these rows, since only text is supported",
    ),
    Meaning(
        "labels",
        frozenset({"label", "labels", "label_text"}),
        "to train it as the answer, set `type: {{field_instruction: text, field_output: {name}}}` with your columns",
    ),
    Meaning(
        "a weight or a flag of what is trained",
        frozenset({"weight", "weights", "loss_weight", "sample_weight", "loss_mask", "train", "training", "trainable"}),
        "set `message_field_training: {name}` for a flag of messages, or leave rows out by `filters`",
    ),
)
"""What a column that nothing reads would change, by its name."""

UNITS = (1, 1.0, True)
"""Weights that change nothing."""


def read_row(record: Format, values: Mapping[str, Any], spec: FormatSpec) -> tuple[Samples, list[str]]:
    """Return the samples of a row, and the names of what nothing reads, such as `title` or `messages.emotion`.

    Raises:
        DataError: the row does not fit its type, or something that nothing reads would change what is trained.
    """
    row = TrackedRow(values)
    samples = record(row, spec)
    return samples, unread_names(row, samples, spec)


def unread_names(row: TrackedRow, samples: Samples, spec: FormatSpec) -> list[str]:
    """Return the names of what nothing read of a row, but for bookkeeping and what only repeats the samples.

    Raises:
        DataError: a column or key that is not read would change what is trained.
    """
    if is_custom(spec.dataset.kind):
        return []  # a function of the user's own may read a row in any way
    ignored = ignored_names(spec.dataset)
    unread = {name: value for name, value in _unread(row, spec) if not is_bookkeeping(name, ignored)}
    if unread:
        text = "\n".join(text for sample in samples for text in _texts(sample))
        unread = {name: value for name, value in unread.items() if not _is_repeated(value, text)}
    if spec.mask != "axolotl":
        for name, value in unread.items():
            _require_reader(name, value, has_own_columns=isinstance(spec.dataset.type, dict))
    return list(unread)


def unread_line(counts: Mapping[str, int]) -> str:
    """Return what nothing reads in how many rows, as one line: `history (40 rows), title (12)`."""
    parts = [f"{name} ({count:,}{'' if index else ' rows'})" for index, (name, count) in enumerate(counts.items())]
    return f"nothing reads: {', '.join(parts)}; `ignored_columns` takes names that need no reader"


def _unread(row: TrackedRow, spec: FormatSpec) -> Iterator[tuple[str, Any]]:
    """Yield what was not asked for, with its value."""
    yield from row.unread().items()
    known = template_properties(spec.template.text) if spec.template else frozenset[str]()
    for column, message in row.rest:
        rest = message.unread() if isinstance(message, TrackedRow) else message
        for name, value in rest.items():
            if not is_empty(value) and (isinstance(message, TrackedRow) or name not in known):
                yield f"{column}.{name}", value


def _require_reader(name: str, value: Any, *, has_own_columns: bool) -> None:
    """Raise a DataError if a column or key that nothing reads would change what is trained.

    A `type` that is a mapping has columns of the user's own choice, which may be fewer than the row's.
    """
    key = name.rpartition(".")[2]
    meaning = next((one for one in MEANINGS if key.lower().replace("-", "_") in one.names), None)
    if meaning is None or ("weight" in meaning.names and value in UNITS):
        return
    if "prompt" in meaning.names and has_own_columns:
        return
    cure = meaning.cure.format(name=key)
    raise DataError(
        f"nothing reads {name}, which holds {meaning.what} ({value!r:.60}): {cure}, or set `ignored_columns: [{key}]` "
        "to train without it"
    )


def ignored_names(dataset: Dataset) -> frozenset[str]:
    """Return the names of columns that need no reader, in lower case."""
    return BOOKKEEPING | {name.lower() for name in dataset.ignored_columns}


def is_bookkeeping(name: str, names: frozenset[str]) -> bool:
    """Return whether a column, or a key of a message as `column.key`, is one of `names` or ends as an id does."""
    plain = name.rpartition(".")[2].lower().strip().replace(" ", "_").replace("-", "_")
    endings = ("_id", "_ids", "_idx", "_index", "_hash", "_url", "_count", "_score")
    tells = any(plain in meaning.names for meaning in MEANINGS)
    return name.lower() in names or plain in names or (plain.endswith(endings) and not tells)


def _is_repeated(value: Any, text: str) -> bool:
    """Whether a value only repeats what is rendered: its words stand there, or it is the text of the whole row."""
    words = [leaf for leaf in leaves(value) if isinstance(leaf, str) and leaf.strip()]
    return bool(words) and all(stands(word, [text]) or stands(text, [word]) for word in words)


def _texts(sample: Rendered | Example) -> Iterator[str]:
    """Yield the texts of a sample; a preference row has several."""
    yield sample.text
    if isinstance(sample, Example):
        parts = (sample.prompt, sample.chosen, sample.rejected, sample.completion)
        yield from (part for part in parts if part is not None)
