"""`tunesmith diff`: what two configs say differently, whatever their form."""

import json

import pytest

from tunesmith.cli.diff import main

BASE = """base_model: some-org/some-model
datasets: [{path: some-org/rows, type: alpaca}]
learning_rate: 1e-4
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """`files(a, b)` writes two files, each the base with further lines."""
    monkeypatch.chdir(tmp_path)

    def write(a, b):
        for name, text in (("a.yml", a), ("b.yml", b)):
            (tmp_path / name).write_text(text if "base_model" in text else BASE + text)
        return ["a.yml", "b.yml"]

    return write


def test_the_same_in_another_form_is_no_difference(files, capsys):
    a = "flash_attention: true\nwarmup_steps:\nnum_epochs: 1\npad_to_sequence_len: true\nseed: 42\n"
    b = "attn_implementation: flash_attention_2\ngptq: false\n"
    assert main(files(a, b)) == 0
    assert capsys.readouterr() == ("", "")


def test_what_differs_is_a_table_with_defaults(files, capsys):
    assert main(files("lora_r: 8\nweight_decay: 0.1\nevaluation: {max_rows: 5}\n", "lora_r: 16\n")) == 1
    assert capsys.readouterr().out.splitlines() == [
        "key                  a.yml  b.yml",
        "lora_r               8      16",
        "weight_decay         0.1    0.0",
        "evaluation.max_rows  5      null",
    ]


def test_entries_of_a_list_are_told_apart(files, capsys):
    more = BASE.replace("type: alpaca}", "type: completion}, {path: some-org/more, type: chatml}")
    main(files("", more.replace("chatml", "chat_template")))
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["datasets[0].type", "alpaca", "completion"],
        ["datasets[1].path", "-", "some-org/more"],
        ["datasets[1].type", "-", "chat_template"],
    ]


def test_as_json(files, capsys):
    more = BASE.replace("type: alpaca}", "type: alpaca}, {path: some-org/more}")
    assert main([*files("seed: 1\n", more), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "seed": {"a": 1, "b": 42},
        "datasets[1].path": {"b": "some-org/more"},
    }
    assert main([*files("seed: 1\n", "seed: 1\n"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}


def test_folders_of_runs_are_compared_by_what_they_began_with(files, capsys, tmp_path):
    files("seed: 1\n", "seed: 2\n")
    (tmp_path / "out/run").mkdir(parents=True)
    (tmp_path / "a.yml").rename(tmp_path / "out/run/config.yml")
    assert main(["out", "b.yml"]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["seed  1    2"]


def test_long_values_are_cut(files, capsys):
    main(files(f"default_system_message: {'x' * 100}\n", ""))
    assert f"{'x' * 57}...  null" in capsys.readouterr().out


def test_a_file_at_fault_is_named(files, capsys):
    assert main([*files("lora_rr: 1\n", "")]) == 2
    assert capsys.readouterr().err == "error: a.yml:4:1: unknown key `lora_rr`; did you mean `lora_r`?\n"
    assert main(["none.yml", "b.yml"]) == 2
    assert capsys.readouterr().err == "error: none.yml: no such file\n"
