"""`tunesmith examples`: each one is complete, copied with its data, loads, and those for a laptop run as they stand."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tunesmith.cli.examples import SCHEMA, every_example
from tunesmith.cli.main import main
from tunesmith.config.load import load

ROOT = Path(__file__).parents[2]
LAPTOP = [item.name for item in every_example() if item.hardware == "a laptop" and "honeycomb" not in item.name]
WANTED = {
    *("honeycomb/lora", "honeycomb/qlora", "honeycomb/full", "alpaca/lora", "alpaca/llama-1b", "mistral-7b/qlora"),
    *("full/full", "completion/lora", "chat-tools/lora", "pretraining/pretrain", "fsdp/full"),
    *("deepspeed/zero2", "deepspeed/zero3", "dpo/dpo", "honeycomb/loop", "honeycomb/writer"),
}


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """`call(*arguments)` runs the command in an empty folder and returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main(["examples", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


def test_the_list_says_what_each_shows_and_needs(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert set(re.findall(r"^  (\S+/\S+)  ", out, re.MULTILINE)) == WANTED
    assert re.findall(r"^needs (.*)$", out, re.MULTILINE) == ["a laptop", "one GPU", "several GPUs"]
    assert "mistralai/Mistral-7B-v0.1, 24 GB" in out
    assert out.index("alpaca/lora ") < out.index("honeycomb/lora ") < out.index("honeycomb/full ")
    assert call("list")[1] == out


@pytest.mark.parametrize("item", every_example(), ids=lambda item: item.name)
def test_every_example_is_commented_and_its_files_are_beside_it(item):
    text = item.file.read_text()
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA}\n# ")
    assert item.needs.startswith(("a laptop", "one GPU", "several GPUs"))
    assert len(item.shows) <= 90
    config = load(str(item.file))
    assert config.notes == ()
    named = [entry.path for entry in config.data.datasets] + [config.distribution.deepspeed]
    for path in [path for path in named if path and path.endswith((".jsonl", ".json"))]:
        assert (item.file.parent / path).exists() or path.startswith(("data/", "outputs/")), path  # these are made
    is_local = config.model.base_model.startswith("builtin/")
    assert is_local == (item.hardware == "a laptop")
    assert item.model == config.model.base_model


def test_a_copy_is_complete_and_says_what_to_type_next(call, tmp_path):
    code, out, _ = call("copy", "alpaca")
    assert code == 0
    files = {item.name for item in (tmp_path / "alpaca").iterdir()}
    assert files == {"commits.jsonl", "llama-1b.yml", "lora.yml", SCHEMA}
    assert out.splitlines()[-2:] == [
        "  tunesmith preprocess alpaca/lora.yml --debug  # shows the tokens in the loss",
        "  tunesmith train alpaca/lora.yml",
    ]
    assert main(["preprocess", "alpaca/lora.yml"]) == 0


def test_the_next_command_is_that_of_the_file_that_was_named(call):
    assert call("copy", "alpaca/llama-1b", "a")[1].splitlines()[-1] == "  tunesmith train a/llama-1b.yml"
    assert (
        "torchrun --nproc_per_node gpu -m tunesmith.cli.train deep/er/zero3.yml"
        in call("copy", "deepspeed/zero3.yml", "deep/er")[1]
    )
    assert "\n  python honeycomb/generate.py" in call("copy", "honeycomb")[1]


def test_a_copied_honeycomb_makes_its_data(call, tmp_path):
    call("copy", "honeycomb", "bees")
    subprocess.run([sys.executable, "bees/generate.py", "--train", "30", "--eval", "5"], cwd=tmp_path, check=True)
    assert main(["preprocess", "bees/lora.yml"]) == 0


def test_nothing_is_overwritten_unless_asked(call, tmp_path):
    (tmp_path / "dpo").mkdir()
    (tmp_path / "dpo/dpo.yml").write_text("mine")
    code, _, err = call("copy", "dpo")
    assert code == 5
    assert err == "error: dpo has dpo.yml already; name another folder, or replace files with --overwrite\n"
    assert [item.name for item in (tmp_path / "dpo").iterdir()] == ["dpo.yml"]
    assert call("copy", "dpo", "--overwrite")[0] == 0
    assert (tmp_path / "dpo/dpo.yml").read_text().startswith("# yaml")
    (tmp_path / "file").write_text("")
    assert call("copy", "dpo", "file")[::2] == (5, "error: file is a file; name a folder\n")


def test_show_prints_the_file_alone(call):
    code, out, err = call("show", "honeycomb")
    assert (code, err) == (0, "")
    assert out == (ROOT / "examples/honeycomb/lora.yml").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("copy", "honeycom"), "no example `honeycom`; did you mean `honeycomb`?"),
        (("show", "xyz"), "no example `xyz`; there are alpaca/lora, "),
        (("show",), "examples show: name one of alpaca/lora, "),
        (("alpaca",), "examples alpaca: expected list, show NAME or copy NAME"),
    ],
)
def test_what_is_not_there_is_one_line(call, arguments, expected):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {expected}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", LAPTOP)
def test_a_laptop_example_becomes_tokens_without_a_bad_row(call, name, capsys):
    file = ROOT / f"examples/{name}.yml"
    assert main(["preprocess", str(file)]) == 0
    out = capsys.readouterr().out
    rows, samples = re.search(r": ([\d,]+) rows -> ([\d,]+) samples", out).groups()
    assert rows == samples
    assert "bad" not in out


@pytest.mark.parametrize(("name", "steps"), [("pretraining/pretrain", 4), ("chat-tools/lora", 1)])
def test_a_laptop_example_trains(call, name, steps, tmp_path, capsys):
    options = ["--max-steps", str(steps), "--logging-steps", "1", "--output-dir", "out"]
    small = ["--val-set-size", "0"] if name.startswith("chat") else []
    assert main(["train", str(ROOT / f"examples/{name}.yml"), *options, *small]) == 0
    assert f"step {steps}/{steps}" in capsys.readouterr().out
    assert list((tmp_path / "out").glob("*.safetensors"))


def test_the_wheel_holds_the_examples_and_no_generated_data(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("src", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    (tmp_path / "examples/honeycomb/data").mkdir(exist_ok=True)
    (tmp_path / "examples/honeycomb/data/train.jsonl").write_text("{}\n")
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", "wheels"]
    subprocess.run(build, cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        sizes = {item.filename: item.file_size for item in archive.infolist()}
    shipped = {name for name in sizes if name.startswith("tunesmith/examples/")}
    tracked = {file for file in (ROOT / "examples").glob("*/*.*") if file.name != SCHEMA}
    assert shipped == {f"tunesmith/examples/{file.relative_to(ROOT / 'examples')}" for file in tracked}
    assert max(sizes[name] for name in shipped) < 500_000
    assert {"tunesmith/planning/config.jinja", "tunesmith/config/key_status.tsv"} <= set(sizes)
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    code = "import tunesmith, sys; print(tunesmith.__file__); from tunesmith.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "examples", "copy", "fsdp"]
    result = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"{tmp_path}/installed/")
    assert (tmp_path / "fsdp/full.yml").exists()
