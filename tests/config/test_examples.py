"""Every YAML in examples/ loads, without a note."""

from pathlib import Path

import pytest

from tunesmith.config.load import load

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/**/*.y*ml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_an_example_loads_as_it_stands(file):
    assert load(str(file)).notes == ()


def test_there_are_examples():
    assert EXAMPLES
