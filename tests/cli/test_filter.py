"""`tunesmith filter`: what passes, and beside it what does not, from a data file or from a config."""

import json

import pytest

from tunesmith.cli.filter import main

RULES = "def test_sum(answer):\n    assert answer.startswith('It is'), f'starts with {answer[:3]!r}'\n"


@pytest.fixture
def folder(tmp_path, monkeypatch, chat_rows, write_jsonl):
    """A folder with ten chats, of which the second is bad and the last no JSON, and the rules."""
    rows = chat_rows(10)
    rows[1]["messages"][-1]["content"] = "Who knows?"
    with write_jsonl(tmp_path / "chats.jsonl", rows).open("a") as stream:
        stream.write("{broken\n")
    (tmp_path / "rules.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_data_file_is_parted_and_the_reasons_are_printed(folder, capsys):
    assert main(["chats.jsonl", "--assertions", "rules.py"]) == 0
    good, bad = lines(folder / "chats.kept.jsonl"), lines(folder / "chats.dropped.jsonl")
    assert good == [row for index, row in enumerate(lines_of_chats(folder)) if index != 1]
    assert bad[0]["reasons"] == {"test_sum": "starts with 'Who'"}
    assert bad[1] == {"place": "chats.jsonl:11", "reasons": {"(cannot be used)": bad[1]["reasons"]["(cannot be used)"]}}
    out = capsys.readouterr().out
    assert "chats.jsonl: 11 rows, 9 kept in chats.kept.jsonl" in out
    assert "test_sum             1   9.1%  chats.jsonl:2   starts with 'Who'" in out
    assert not list(folder.glob(".*.part"))


def lines_of_chats(folder):
    return [json.loads(line) for line in (folder / "chats.jsonl").read_text().splitlines()[:-1]]


def test_a_config_takes_its_filters_and_its_types(folder, write_config, write_jsonl, capsys):
    write_jsonl(folder / "tasks.jsonl", [{"instruction": "Add.", "response": "It is 3."}, {"instruction": "No."}])
    entries = [
        {"path": "chats.jsonl", "type": "chat_template"},
        {"path": "tasks.jsonl", "type": "alpaca", "field_output": "response", "filters": "rules.py"},
    ]
    config = str(write_config(folder, datasets=entries))
    assert main([config, "--output", "good.jsonl"]) == 0
    assert lines(folder / "good.jsonl") == [{"instruction": "Add.", "response": "It is 3."}]
    assert "needs column response" in lines(folder / "good.dropped.jsonl")[0]["reasons"]["(cannot be used)"]
    assert main([config, "--assertions", "rules.py"]) == 0
    assert len(lines(folder / "chats.kept.jsonl")) == 9
    assert len(lines(folder / "tasks.kept.jsonl")) == 1


def test_a_fault_leaves_no_file(folder, capsys):
    (folder / "rules.py").write_text("def test_x(row):\n    row['columns']\n")
    assert main(["chats.jsonl", "--assertions", "rules.py"]) == 2
    assert "rules.py:2: test_x raised KeyError: 'columns'" in capsys.readouterr().err
    assert not list(folder.glob("*.kept.jsonl")) + list(folder.glob(".*.part"))


def test_a_folder_for_the_output_is_made(folder):
    assert main(["chats.jsonl", "--assertions", "rules.py", "--output", "new/good.jsonl"]) == 0
    assert len(lines(folder / "new/good.jsonl")) == 9
    assert len(lines(folder / "new/good.dropped.jsonl")) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["chats.jsonl"], 2, "chats.jsonl is a data file: give --assertions FILE.py"),
        (["none.jsonl", "--assertions", "rules.py"], 3, "no such file"),
        (["chats.jsonl", "--assertions", "none.py"], 2, "none.py: no such file"),
        (["chats.jsonl", "--assertions", "rules.py", "--type", "alpca"], 2, "did you mean `alpaca`"),
        (
            ["chats.jsonl", "--assertions", "rules.py", "--output", "chats.jsonl"],
            2,
            "it would replace the input chats.jsonl",
        ),
        (["chats.jsonl", "--assertions", "rules.py", "--seed", "1"], 2, "--seed: keys can be set for a config"),
        (["config.yml"], 2, "no entry of `datasets` in config.yml has `filters`"),
        (["config.yml", "--type", "alpaca"], 2, "--type is for a data file"),
    ],
)
def test_wrong_input_is_one_clear_error(folder, write_config, capsys, arguments, code, message):
    write_config(folder)
    assert main(arguments) == code
    assert message in capsys.readouterr().err
