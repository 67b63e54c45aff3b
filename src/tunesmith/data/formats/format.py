"""The record of a dataset type, the settings that it reads a row with, and how it reads a column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tunesmith.data.messages import Conversation, WireMessage
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.data.types import Example, Rendered
from tunesmith.errors import DataError
from tunesmith.sections import Dataset, ModelSection

Mask = Literal["served", "axolotl"]


class Preferences(NamedTuple):
    """What rows of preference data need.

    Attributes:
        rl: kind of preference data: dpo, ipo, simpo, orpo or kto.
        model: names the chat template.
        ends: texts that end an answer.
    """

    rl: str
    model: ModelSection
    ends: tuple[str, ...]


@dataclass(frozen=True)
class FormatSpec:
    """The settings of one dataset.

    Attributes:
        dataset: its section.
        train_on_inputs: train prompts too.
        template: the chat template where its type uses one.
        mask: whose labels: what a server's model must emit, or Axolotl's, faults included.
        sequence_len: longest sample in tokens; only `mask: axolotl` cuts single parts of a row to it.
        eot_tokens: texts that end a turn besides the end token.
        default_system_message: system text of `sharegpt` layouts without one.
        tokenizer: the model's; only layouts whose labels hang on tokens use it.
        preferences: of preference data, what its rows need besides.
        source: the config's file, beside which relative paths are looked for.
    """

    dataset: Dataset
    train_on_inputs: bool = False
    template: ChatTemplate | None = None
    mask: Mask = "served"
    sequence_len: int = 512
    eot_tokens: tuple[str, ...] | None = None
    default_system_message: str | None = None
    tokenizer: Tokenizer | None = None
    preferences: Preferences | None = None
    source: str = ""


class Columns(NamedTuple):
    """Columns that tell a dataset type.

    Attributes:
        order: where a row has the columns of several types, the lowest wins.
        names: the columns.
        keys: further keys of the dataset that the type needs for them.
        text: they hold text, not messages.
    """

    order: int
    names: tuple[str, ...]
    keys: Mapping[str, Any] = MappingProxyType({})
    text: bool = False


class Document(NamedTuple):
    """A row that is no conversation: its samples as they stand."""

    samples: tuple[Rendered | Example, ...]


Content = Conversation | Document
Samples = Sequence[Rendered | Example]


INSTRUCT_KEYS = frozenset({"field_instruction", "field_input", "field_output", "field_system"})
"""Keys of a dataset that name the columns of an instruction row."""


def samples_of(document: Document, spec: FormatSpec) -> Samples:
    """Return the samples of a row that is no conversation."""
    return document.samples


@dataclass(frozen=True)
class Format:
    """A dataset type: everything that the rest of Tunesmith asks about it.

    Attributes:
        name: value of `type`.
        read: row -> what it holds.
        render: what a row holds -> its samples, mostly one.
        prompt: a conversation before an answer -> what the model is fed. By default the render with a stand-in for the
            answer, up to it.
        ask: messages that a person typed -> what the model is fed; None if a model is not asked in words.
        samples: row -> its samples, where they are not rendered from what `read` returns.
        texts: row -> prompt and completion as text, of types that have them.
        columns: sets of columns that tell the type.
        keys: keys that not every type reads and this one does, of an entry of `datasets` and `default_system_message`;
            None if it may read all.
        templated: a chat template renders its rows.
        turns: a chat in this type continues from earlier turns.
        roles: its rows hold messages with roles, as `field_messages` finds them.
        trained_whole: its rows have no prompt to mask, or say themselves what is trained.
        writes_ends: its rows write BOS and end tokens themselves.
        layout_text: dataset -> what its layout itself writes, where marks in it are fitted to the tokenizer.
        splits: long texts are split into chunks, so that nothing is dropped.
        encode: samples -> ids and labels.
    """

    name: str
    read: Callable[[dict[str, Any], FormatSpec], Any]
    render: Callable[[Any, FormatSpec], Samples] = samples_of
    prompt: Callable[[Conversation, FormatSpec], Rendered] | None = None
    ask: Callable[[Sequence[WireMessage], FormatSpec], Rendered] | None = None
    samples: Callable[[dict[str, Any], FormatSpec], Samples] | None = None
    texts: Callable[[dict[str, Any], FormatSpec], tuple[str, str]] | None = None
    columns: tuple[Columns, ...] = ()
    keys: frozenset[str] | None = frozenset()
    templated: bool = False
    turns: bool = False
    roles: bool = False
    trained_whole: bool = False
    writes_ends: bool = False
    splits: bool = False
    layout_text: Callable[[Dataset], str] | None = None
    encode: Callable[..., list[list[Example] | DataError]] = encode

    def __call__(self, values: dict[str, Any], spec: FormatSpec) -> Samples:
        """Return the samples of a row.

        Raises:
            DataError: the row does not fit the type.
        """
        return self.samples(values, spec) if self.samples else self.render(self.read(values, spec), spec)


def tokenizer_of(spec: FormatSpec) -> Tokenizer:
    """Return the tokenizer, for types whose text or labels depend on it."""
    assert spec.tokenizer is not None, "the spec of such a type is made with its tokenizer"
    return spec.tokenizer


def template_of(spec: FormatSpec) -> ChatTemplate:
    """Return the chat template of a dataset that has one."""
    assert spec.template is not None, "the spec of a chat dataset is made with its template"
    return spec.template


def text_column(values: dict[str, Any], column: str, key: str | None, dataset: Dataset) -> str:
    """Return the text in `column`; numbers are written out.

    Args:
        values: the row.
        column: name of the column.
        key: the config key that names the column, for the message.
        dataset: the dataset's section, for the message.

    Raises:
        DataError: the column is missing or holds no text.
    """
    if column not in values or values[column] is None:
        raise missing_column(values, column, key, dataset)
    value = values[column]
    if isinstance(value, (dict, list)):
        raise DataError(f"column {column} should hold text, found {type(value).__name__}")
    return str(value)


def missing_column(values: dict[str, Any], column: str, key: str | None, dataset: Dataset) -> DataError:
    """Return the error for a row that lacks `column`, with the setting that would point to another one."""
    filled = [name for name, value in values.items() if value is not None]
    free = [name for name in filled if name not in (dataset.field_instruction, dataset.field_input)]
    cure = f". Set {key}: {free[-1]}" if key and free else ""  # the last column is most often the answer
    missing = f"type {dataset.type} needs column {column}" if dataset.type else f"column {column} is missing"
    return DataError(f"{missing}; found {', '.join(filled) or 'no columns'}{cure}")
