"""A dataset by its name on the Hub, against a stand-in of the Hub on this machine."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from tunesmith.sections import Dataset
from tunesmith.data.source import digest, read_rows
from tunesmith.errors import DataError

dataset = Dataset(path=sys.argv[1], type=sys.argv[3], split=sys.argv[2])
try:
    for row in read_rows(dataset, "config.yml"):
        print(row.file, row.number, row.values["text"])
    print(len(digest(dataset, "config.yml")))
except DataError as error:
    print("error:", error)
"""


@pytest.fixture
def ask(tmp_path):
    """`ask(name, split, hub)` prints the rows of a dataset in a process with an empty cache of its own."""

    def call(name, split="train", kind="completion", *, hub):
        surroundings = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", CODE, name, split, kind]
        result = subprocess.run(command, env=surroundings, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    return call


def test_rows_come_from_the_hub_by_name_and_split(ask, local_hub):
    rows = ["bees/honey 1 Bees dance.", "bees/honey 2 Honey keeps."]
    assert ask("bees/honey", hub=local_hub) == [*rows, "32"]
    assert ask("bees/honey", "train[:50%]", hub=local_hub) == [rows[0], "32"]


def test_a_stream_is_read_without_downloading_it(ask, local_hub, tmp_path):
    assert ask("bees/honey", kind="pretrain", hub=local_hub) == [
        "bees/honey 1 Bees dance.",
        "bees/honey 2 Honey keeps.",
        "32",
    ]
    assert not list(tmp_path.glob("datasets/bees___honey/**/*.arrow"))


def test_a_name_that_the_hub_does_not_know_is_an_error(ask, local_hub):
    (missing,) = ask("bees/wasps", hub=local_hub)
    assert missing.startswith("error: `datasets.path: bees/wasps` is no file or folder here, and ")
    assert "doesn't exist on the Hub" in missing


def test_without_the_hub_there_is_one_clear_error(ask):
    (line,) = ask("bees/honey", hub="http://127.0.0.1:9")
    assert line == (
        "error: `datasets.path: bees/honey` is no file or folder here, nor in the cache of the Hub, "
        "and the Hub cannot be reached"
    )
