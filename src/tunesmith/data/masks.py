"""The key `mask`: the one place that chooses between what a server needs and what Axolotl does."""

from dataclasses import replace

from tunesmith.data.axolotl import FORMATS as AXOLOTL
from tunesmith.data.axolotl.preference import PREFERENCES as AXOLOTL_PREFERENCES
from tunesmith.data.axolotl.tokens import encode as axolotl_encode
from tunesmith.data.formats import find_format
from tunesmith.data.formats.answers import PREFERENCES, find_preference_format, unknown_preference_type
from tunesmith.data.formats.format import Format, FormatSpec
from tunesmith.data.formats.marks import replaced_marks
from tunesmith.data.formats.preference import layout_text
from tunesmith.errors import ConfigError


def format_of(spec: FormatSpec) -> Format:
    """Return the record of a dataset's type.

    Raises:
        ConfigError: its type is unknown.
    """
    is_axolotl = spec.mask == "axolotl"
    if spec.preferences:
        formats = AXOLOTL_PREFERENCES if is_axolotl else PREFERENCES
        kind, rl = spec.dataset.kind, spec.preferences.rl
        record = find_preference_format(kind, rl, formats)
        if record is None:
            raise ConfigError(unknown_preference_type(kind, rl))
        return record
    if is_axolotl and spec.dataset.kind in AXOLOTL:
        return AXOLOTL[spec.dataset.kind]
    record = find_format(spec.dataset.kind, spec.source)
    return replace(record, encode=axolotl_encode) if is_axolotl else record


def describe_marks(spec: FormatSpec) -> str:
    """Return what replaces the marks of a layout that are not tokens, such as "`</s>` by `<|im_end|>`", or nothing."""
    if spec.mask == "axolotl" or spec.tokenizer is None:
        return ""
    kind = spec.dataset.kind
    if spec.preferences:
        text = layout_text(kind)
    else:
        write = find_format(kind, spec.source).layout_text
        text = write(spec.dataset) if write else ""
    replaced = replaced_marks(text, spec.tokenizer)
    return ", ".join(f"`{mark}` by {f'`{own}`' if own else 'nothing'}" for mark, own in replaced.items())
