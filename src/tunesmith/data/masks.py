"""The key `mask`: the one place that chooses between what a server needs and what Axolotl does."""

from dataclasses import replace

from tunesmith.data.axolotl import FORMATS as AXOLOTL
from tunesmith.data.axolotl.preference import PREFERENCES as AXOLOTL_PREFERENCES
from tunesmith.data.axolotl.tokens import encode as axolotl_encode
from tunesmith.data.formats import find_format
from tunesmith.data.formats.answers import PREFERENCES, find_preference_format
from tunesmith.data.formats.format import Format, FormatSpec


def format_of(spec: FormatSpec, source: str) -> Format:
    """Return the record of a dataset's type.

    Raises:
        ConfigError: its type is unknown.
    """
    is_axolotl = spec.mask == "axolotl"
    if spec.preferences:
        formats = AXOLOTL_PREFERENCES if is_axolotl else PREFERENCES
        return find_preference_format(formats, spec.dataset, spec.preferences.rl)
    if is_axolotl and spec.dataset.kind in AXOLOTL:
        return AXOLOTL[spec.dataset.kind]
    record = find_format(spec.dataset.kind, source)
    return replace(record, encode=axolotl_encode) if is_axolotl else record
