"""`mask` chooses in one place; formats do not know that there is another one."""

import ast
from pathlib import Path

import pytest

import tunesmith.data.formats
from tunesmith.data import axolotl
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.masks import format_of
from tunesmith.errors import ConfigError
from tunesmith.sections import Dataset

FOLDER = Path(tunesmith.data.formats.__file__).parent


def spec_of(kind, mask):
    return FormatSpec(Dataset(path="x", type=kind), mask=mask)


def test_each_mask_has_its_own_formats_for_the_same_types():
    assert axolotl.FORMATS.keys() <= FORMATS.keys()
    for name, format_function in axolotl.FORMATS.items():
        if name != "user_defined":  # a mapping in a config
            assert format_of(spec_of(name, "served")) is FORMATS[name]
            assert format_of(spec_of(name, "axolotl")) is format_function


def test_an_unknown_type_is_a_fault_with_either_mask():
    for mask in ("served", "axolotl"):
        with pytest.raises(ConfigError, match="none of"):
            format_of(spec_of("alpca", mask))


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_formats_import_nothing_that_knows_the_masks(file):
    modules = [node.module for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in modules if name.startswith(("tunesmith.data.axolotl", "tunesmith.data.masks"))]
