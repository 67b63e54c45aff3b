"""`tunesmith.encode`: one row to tokens and labels, as training would see them."""

from collections.abc import Mapping
from typing import Any

from tunesmith.config.load import load_values
from tunesmith.data.formats.detect import detected
from tunesmith.data.formats.format import FormatSpec, Preferences
from tunesmith.data.formats.specs import format_spec
from tunesmith.data.masks import format_of
from tunesmith.data.plain import plain_row
from tunesmith.data.row_access import TrackedRow
from tunesmith.data.tokenizer import Tokenizer, load_tokenizer, vocabulary_changes
from tunesmith.data.types import BadRow, Example, Row
from tunesmith.data.unread import read_row, unread_names
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Config, Dataset

PLACE = "config.yml"
"""Where relative files in the settings are looked for: the working folder."""


def encode(
    row: Mapping[str, Any],
    *,
    dataset: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    tokenizer: Tokenizer | str | None = None,
) -> list[Example]:
    """Return the examples that one row of data becomes: one mostly, several where a text is cut or a chat unrolled.

    Args:
        row: the columns of the row; it is not changed.
        dataset: keys of one entry of `datasets`, such as {"type": "alpaca"}; without `type` the columns decide.
        config: top-level keys, such as {"sequence_len": 2048, "mask": "axolotl", "rl": "dpo"}.
        tokenizer: a fast tokenizer of transformers, or its folder or Hub name; preference rows of plain text need none.

    Returns:
        Examples. `input_ids` and `labels` are lists of the same length, shape (tokens,); a label is the token or -100.
        `text` is what the tokens say. With `rl` there are no tokens: `prompt`, `chosen` and `rejected` (dpo, orpo), or
        `prompt`, `completion` and `label` (kto) are texts.

    Raises:
        ConfigError: a key or its value is at fault.
        DataError: the row does not fit the type, or nothing in it would be trained.
    """
    row = _plain_values(row)
    keys, options = dict(config or {}), dict(dataset or {})
    dataset_keys = {key: value for key, value in options.items() if value is not None}
    streams = keys.pop("pretraining_dataset", None)
    if streams:
        dataset_keys |= {"text_column": streams[0].get("text_column") or "text"}
    defaults = {"base_model": "none", "learning_rate": 1.0, "micro_batch_size": 2}
    checked = load_values({**defaults, **keys, "datasets": [{"path": "row", **dataset_keys}]}, "config", {})
    section = checked.data.datasets[0]
    if options.get("train_on_eos", "turn") is None:  # a null that is meant, in Axolotl's older way of masking
        section = section.model_copy(update={"train_on_eos": None})
    if isinstance(tokenizer, str):
        tokenizer = load_tokenizer(tokenizer, **vocabulary_changes(checked.model))
    if checked.data.rl:
        preferences = Preferences(checked.data.rl, checked.model, ())
        mask = section.mask or checked.data.mask
        spec = FormatSpec(section, mask=mask, tokenizer=tokenizer, preferences=preferences, source=PLACE)
        tracked = TrackedRow(row)
        example = format_of(spec).read(tracked, spec)
        unread_names(tracked, [example], spec)
        return [example]
    if section.type is None:
        section = section.model_copy(update=detected(row, section.model_fields_set - {"type"}))
    return _encode(row, section, checked, tokenizer)


def _plain_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns as those of a data file: a row of pandas has NaN for null."""
    plain = plain_row(Row(PLACE, 1, dict(row)))
    if isinstance(plain, BadRow):
        raise DataError(plain.reason)
    return plain.values


def _encode(row: dict[str, Any], section: Dataset, checked: Config, tokenizer: Tokenizer | None) -> list[Example]:
    if tokenizer is None:
        raise ConfigError(f"type {section.kind} needs a tokenizer: encode(row, tokenizer=...)")
    spec = format_spec(section, checked.data, checked.model, tokenizer, PLACE)
    record = format_of(spec)
    samples: list[Example] = []
    for examples in record.encode(read_row(record, row, spec)[0], tokenizer, sequence_len=spec.sequence_len):
        if isinstance(examples, DataError):
            raise examples
        samples += examples
    if record.texts:
        prompt, completion = record.texts(row, spec)
        return [example._replace(prompt=prompt, completion=completion) for example in samples]
    return samples
