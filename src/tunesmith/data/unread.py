"""What nobody reads of a row: columns, and keys of its messages.

A row is read through a `TrackedRow`, which records the columns that its type asks for, so that no list of what each
type reads can be out of date. What is left is bookkeeping, or repeats what is trained, or it is reported; if its name
says that it would change what is trained, the row is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple

from tunesmith.data.formats import is_custom
from tunesmith.data.formats.format import Format, FormatSpec, Samples
from tunesmith.data.row_access import TrackedRow, is_empty
from tunesmith.data.shown import leaves, squeezed, stands
from tunesmith.data.tokenizer import template_properties
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError
from tunesmith.sections import Dataset
from tunesmith.sections.data import ROLES, SERVER_ROLES

BOOKKEEPING = frozenset(files("tunesmith.data").joinpath("bookkeeping.txt").read_text(encoding="utf-8").split())
"""Names of columns and of keys of messages, as snake_case, that say nothing of what is trained."""
ENDINGS = tuple(name for name in BOOKKEEPING if name.startswith("_") and not name.startswith("__"))
"""How such names may end."""


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
        "a conversation",
        frozenset({"messages", "conversation", "conversations", "dialog", "dialogue"}),
        "set `type: chat_template` with `field_messages: {name}`",
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
        "set `type: chat_template` with `field_tools: {name}`, or for an instruction `type: chat_template.instruction`",
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
LABEL_WORDS = 8
"""Words of the longest text that may be a label, a name or a date."""
LONG = 20
"""Characters of a text that does not stand in another one by chance."""


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
    ignored = {name.lower() for name in spec.dataset.ignored_columns}
    unread = [
        (name, value)
        for name, value in _unread(row, spec)
        if not ignored & {name.lower(), own_name(name)} and not _is_harmless(name, value)
    ]
    unread = _without_repetitions(unread, row, samples) if unread else []
    if spec.mask != "axolotl":
        for name, value in unread:
            _require_reader(name, value, has_own_columns=isinstance(spec.dataset.type, dict))
    return list(dict.fromkeys(name for name, _ in unread))


def _without_repetitions(unread: list[tuple[str, Any]], row: TrackedRow, samples: Samples) -> list[tuple[str, Any]]:
    """Return what does not only repeat what is trained."""
    text = "\n".join(text for sample in samples for text in _texts(sample))
    own = [leaf for name, value in unread if name not in row for leaf in leaves(value) if isinstance(leaf, str)]
    read = Counter(part for name in row.read for part in _parts(dict.get(row, name)))
    parts = list(read - Counter(own))  # an unread key of a message is inside a column that is read
    return [(name, value) for name, value in unread if not _is_repeated(value, parts, text)]


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
    key, meaning = name.rpartition(".")[2], _meaning(name)
    if meaning is None or ("weight" in meaning.names and value in UNITS):
        return
    if "prompt" in meaning.names and has_own_columns:
        return
    cure = meaning.cure.format(name=key)
    raise DataError(
        f"nothing reads {name}, which holds {meaning.what} ({value!r:.60}): {cure}, or set `ignored_columns: [{key}]` "
        "to train without it"
    )


def _meaning(name: str) -> Meaning | None:
    """Return what a column or key holds that would change what is trained, by its name."""
    return next((one for one in MEANINGS if _squeezed(name) in map(_squeezed, one.names)), None)


def ignored_names(dataset: Dataset) -> frozenset[str]:
    """Return the names of columns that need no reader, as snake_case."""
    return BOOKKEEPING | {own_name(name) for name in dataset.ignored_columns}


def is_bookkeeping(name: str, names: frozenset[str] = BOOKKEEPING) -> bool:
    """Return whether a column, or a key of a message as `column.key`, is one of `names` or ends as an id does."""
    plain = own_name(name)
    ends_like_one = plain.endswith(ENDINGS) or plain.startswith(("num_", "n_"))
    return plain in names or (ends_like_one and not _meaning(name))  # `image_url` is none


def own_name(name: str) -> str:
    """Return the name of a column, or of the key of a message, as snake_case."""
    key = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name.rpartition(".")[2].strip())
    return re.sub("[ -]", "_", key).lower()


def _squeezed(name: str) -> str:
    return own_name(name).replace("_", "")


def _is_harmless(name: str, value: Any) -> bool:
    """Whether a column says nothing of what is trained, by its name; a text of many words does, whatever its name."""
    texts = (leaf for leaf in leaves(value) if isinstance(leaf, str))
    return is_bookkeeping(name) and all(len(text.split()) <= LABEL_WORDS for text in texts)


def _is_repeated(value: Any, parts: Sequence[str], text: str) -> bool:
    """Whether a value only repeats what is trained.

    Each text in it is one that is read, or a line of what is rendered, or a long part of it: a short part stands there
    by chance. Or it is the row in another layout, in which each text that is read stands on lines of its own.
    """
    words = list(_parts(value))
    known = {squeezed(part) for part in parts}
    whole = known | {squeezed(line) for line in text.splitlines()}
    if words and all(squeezed(word) in whole or (len(word) >= LONG and stands(word, [text])) for word in words):
        return True
    lines = f"\n{value.strip()}\n" if isinstance(value, str) else ""
    return len(known) > 1 and all(f"\n{part.strip()}\n" in lines for part in parts)


def _parts(value: Any) -> Iterator[str]:
    """Yield the texts of a column, without the roles of its messages; text may be the JSON of them."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError):  # a text may begin like JSON
            value = json.loads(value)
    for leaf in leaves(value):
        if isinstance(leaf, str) and leaf.strip() and leaf.lower() not in (*ROLES, *SERVER_ROLES):
            yield leaf


def _texts(sample: Rendered | Example) -> Iterator[str]:
    """Yield the texts of a sample; a preference row has several."""
    yield sample.text
    if isinstance(sample, Example):
        parts = (sample.prompt, sample.chosen, sample.rejected, sample.completion)
        yield from (part for part in parts if part is not None)
