"""What each instruction type writes for a row, in `instruct_layouts.txt` for a person to review in a diff.

`TUNESMITH_WRITE_GOLDEN=1 pytest tests/data/formats/test_layouts.py` writes it anew. That the texts are Axolotl's to the
token is tested in tests/data/test_oracle.py.
"""

import os
from pathlib import Path

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.layouts import LAYOUTS
from tunesmith.sections import Dataset

FILE = Path(__file__).parent / "instruct_layouts.txt"


def written(kind, row):
    prompt, answer = FORMATS[kind](row, FormatSpec(Dataset(path="x", type=kind)))[0].segments
    assert (prompt.train, answer.train, answer.eos_count) == (False, True, 3 if kind.startswith("metharme") else 1)
    return f"{prompt.text}[[{answer.text}]]"


def test_each_type_writes_what_the_dump_says(row_of):
    names = {}  # type -> those that write the same
    for kind in LAYOUTS:
        text = written(kind, row_of(kind))
        if "input" in row_of(kind):
            text += f"\n{'-' * 40} without input\n{written(kind, row_of(kind, input=''))}"
        names.setdefault(text, []).append(kind)
    found = "".join(f"{'=' * 80} {', '.join(kinds)}\n{text}\n" for text, kinds in names.items())
    if os.environ.get("TUNESMITH_WRITE_GOLDEN"):
        FILE.write_text(found, encoding="utf-8")
    assert found == FILE.read_text(encoding="utf-8")


def test_a_type_with_load_is_the_type():
    for kind, layout in LAYOUTS.items():
        if kind.endswith(".load"):
            assert layout == LAYOUTS[kind.removesuffix(".load")]
