"""What stands for FILE: a file, a folder of them, standard input."""

import io
import os
import pty
import subprocess
import sys

import pytest

from tunesmith.cli.arguments import read_config
from tunesmith.errors import ConfigError


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def folder(tmp_path, write_config):
    """A folder of two configs with different seeds."""
    write_config(tmp_path, seed=1).rename(tmp_path / "a.yml")
    write_config(tmp_path, seed=2).rename(tmp_path / "b.yaml")
    return tmp_path


@pytest.mark.parametrize(("answer", "seed"), [("1\n", 1), ("2\n", 2), (" b.yaml \n", 2)])
def test_a_folder_lets_one_choose(folder, monkeypatch, capsys, answer, seed):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert read_config(str(folder), []).training.seed == seed
    seen = capsys.readouterr()
    assert "  1  a.yml\n  2  b.yaml\nwhich one, 1 to 2? " in seen.err
    assert seen.out == ""


@pytest.mark.parametrize("answer", ["0\n", "3\n", "x\n", "\n", ""])
def test_another_answer_is_refused(folder, monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    with pytest.raises(ConfigError, match="expected a number from 1 to 2"):
        read_config(str(folder), [])


def test_where_nobody_can_answer_the_files_are_named(folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    with pytest.raises(ConfigError, match=r"is a folder; name one of its files: a\.yml, b\.yaml$"):
        read_config(str(folder), [])
    monkeypatch.setattr("sys.stdin", Terminal("1\n"))
    monkeypatch.setenv("RANK", "0")  # of several processes that torchrun started, none is asked
    with pytest.raises(ConfigError, match="name one of its files"):
        read_config(str(folder), [])


def test_the_only_file_of_a_folder_is_taken(folder, capsys):
    (folder / "b.yaml").unlink()
    assert read_config(str(folder), ["--lora-r", "4"]).adapter.lora_r == 4
    assert capsys.readouterr().err == f"config: {folder}/a.yml\n"


def test_a_choice_at_a_real_terminal(folder):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tunesmith.cli.config", str(folder)], stdin=theirs, stdout=-1, stderr=-1, text=True
    )
    os.write(ours, b"2\n")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "which one" in err) == (0, True)
    assert "seed: 2 " in out
