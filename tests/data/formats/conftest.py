"""Rows for the instruction types."""

from string import Formatter

import pytest

from tunesmith.data.formats.layouts import LAYOUTS

VALUES = {
    "choices": ["<choice 1>", "<choice 2>"],
    "scores": {"refusal": 10, "creativity": 7},
    "critiques": {"creativity": {"explanation": "<why>"}},
}


@pytest.fixture(scope="session")
def row_of():
    """`row_of(type, **columns)` makes a row with all columns of a type; texts say their column's name."""
    return make_row


def make_row(kind, **changes):
    layout = LAYOUTS[kind]
    parts = [layout.instruction, layout.input, layout.output, *layout.system]
    names = [name for part in parts for _, name, _, _ in Formatter().parse(part) if name]
    return {name: VALUES.get(name, f"<{name}>") for found in names for name in found.split("|")[:1]} | changes
