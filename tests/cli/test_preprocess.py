"""`tunesmith preprocess`: what it prints, and one clear message with an exit code for every bad input."""

import io
import os
import subprocess
import sys

import pytest

from tunesmith.cli.main import main


@pytest.fixture
def call(capsys):
    """`call(*arguments)` runs the command and returns exit code, standard output and standard error."""

    def run(*arguments):
        code = main(["preprocess", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def alpaca(tmp_path, write_config):
    """`alpaca(bytes or text of the data, **keys)` writes a config of one alpaca dataset."""

    def make(content, **keys):
        file = tmp_path / "a.jsonl"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return write_config(tmp_path, datasets=[{"path": str(file), "type": "alpaca"}], **keys)

    return make


GOOD = '{"instruction": "Say a.", "output": "a"}\n'


def test_it_says_what_became_of_every_row(call, tmp_path, write_config):
    code, out, err = call(write_config(tmp_path, val_set_size=0.25))
    assert (code, err) == (0, "")
    first, prepared, split = out.splitlines()
    assert first.startswith(f"{tmp_path}/rows.jsonl: 8 rows -> 8 samples, ")
    assert prepared.startswith(f"prepared data: {tmp_path}/prepared/")
    assert split == "training on 6 samples, holding out 2"


def test_debug_shows_every_token_as_text_label_and_id(call, alpaca):
    code, out, _ = call(alpaca(GOOD), "--debug")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith("a.jsonl:1")
    assert lines[1].startswith("Below(-100, 19798)  is(-100, 314)  an(-100, 354)  instruction(-100, 5785) ")
    assert lines[1].endswith(":(-100, 42) \\n(-100, 198) a(81, 81) <|im_end|>(2, 2)")
    assert lines[2].startswith("total tokens: ")
    assert lines[2].endswith(", trained: 2")


def test_debug_asks_for_more_samples_than_there_are(call, alpaca):
    code, out, _ = call(alpaca(GOOD), "--debug", "--debug-num-examples", 5)
    assert code == 0
    assert out.count("total tokens") == 1


def test_debug_row_shows_the_row_of_that_line(call, tmp_path, write_config):
    file = write_config(tmp_path)
    for wanted in ("3", "rows.jsonl:3"):
        code, out, _ = call(file, "--debug-row", wanted, "--debug-text-only")
        assert code == 0
        assert "What is 2 + 2?" in out
        assert out.count("total tokens") == 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [("99", "no sample of the training set comes from that row"), ("x", "expected a line number, or FILE:LINE")],
)
def test_a_debug_row_that_is_not_there_is_refused(call, tmp_path, write_config, row, expected):
    code, _, err = call(write_config(tmp_path), "--debug-row", row)
    assert (code, err) == (2, f"error: --debug-row {row}: {expected}\n")


def test_an_override_takes_the_place_of_the_files_value(call, tmp_path, write_config):
    code, out, _ = call(write_config(tmp_path), "--datasets.0.shards", "2", "--val-set-size=1e-3")
    assert code == 0
    assert "4 rows -> 4 samples" in out
    assert "training on 3 samples, holding out 1" in out
    code, _, err = call(write_config(tmp_path), "--sequence-len", "x")
    assert (code, err) == (2, "error: --sequence_len: `sequence_len` expects a whole number, found 'x'\n")


def test_a_config_from_standard_input(call, tmp_path, write_config, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(write_config(tmp_path).read_text()))
    code, out, _ = call("-")
    assert code == 0
    assert "8 rows -> 8 samples" in out


def test_notes_go_to_standard_error(call, tmp_path, write_config):
    code, _, err = call(write_config(tmp_path, pad_to_sequence_len=True))
    assert code == 0
    assert err.startswith("note: `pad_to_sequence_len`: ignored: ")


def test_no_file_is_an_error_of_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["preprocess"])
    assert caught.value.code == 2
    assert "the following arguments are required: FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "a.yml is empty; start from a file in examples/"),
        ("base_model: x\n\tdatasets: y\n", "a.yml:2:1: a tab; YAML is indented with spaces"),
        ("- a\n", "a.yml: expected `key: value` lines, found a list"),
    ],
)
def test_a_file_that_is_no_config(call, tmp_path, content, expected):
    (tmp_path / "a.yml").write_text(content)
    assert call(tmp_path / "a.yml") == (2, "", f"error: {tmp_path}/{expected}\n")


def test_a_folder_that_is_no_run(call, tmp_path):
    code, _, err = call(tmp_path)
    assert code == 2
    assert (
        err
        == f"error: {tmp_path} has no adapter_config.json and no config.json: it is neither an adapter nor a model\n"
    )


def test_a_folder_of_yaml_files_lists_them(call, tmp_path, write_config):
    write_config(tmp_path).rename(tmp_path / "other.yml")
    write_config(tmp_path)
    assert call(tmp_path) == (2, "", f"error: {tmp_path} is a folder; name one of its files: config.yml, other.yml\n")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"lora_rank": 8}, "unknown key `lora_rank`; did you mean `lora_r`?"),
        ({"micro_batch_size": "two"}, "`micro_batch_size` expects a whole number, found 'two'"),
        ({"chat_template": "chatm"}, "`chat_template: chatm` is none of"),
        ({"datasets": [{"path": "a.jsonl", "type": "alpca"}]}, "`datasets.type: alpca` is none of"),
    ],
)
def test_a_fault_of_the_config(call, tmp_path, write_config, keys, expected):
    code, _, err = call(write_config(tmp_path, **keys))
    assert code == 2
    assert err.startswith("error: ")
    assert expected in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "keys", "expected"),
    [
        ("", {}, "a.jsonl` holds no rows"),
        (
            '{"instruction": "a", "response": "b"}\n',
            {},
            "a.jsonl:1: type alpaca needs column output; found instruction",
        ),
        ('{"instruction": " ", "output": " "}\n', {}, "a.jsonl:1: column output is blank: there is nothing to train"),
        (b'{"instruction": "\xe4"}\n', {}, "a.jsonl:1: byte 18 of the line is not UTF-8"),
        (GOOD, {"sequence_len": 8}, "is left; `sequence_len` is 8:"),
        (GOOD, {"sequence_len": 8, "excess_length_strategy": "raise"}, "a.jsonl:1: 35 tokens, over sequence_len 8"),
        (GOOD, {"val_set_size": 0.5}, "`val_set_size: 0.5` holds out 1 of 1 samples: none is left to train on"),
    ],
)
def test_a_fault_of_the_data(call, alpaca, content, keys, expected):
    code, _, err = call(alpaca(content, **keys))
    assert code == 3
    assert err.startswith("error: ")
    assert expected in err


def test_a_dataset_that_is_not_there(call, tmp_path, write_config):
    code, _, err = call(write_config(tmp_path, datasets=[{"path": "none.jsonl", "type": "alpaca"}]))
    assert code == 3
    assert err.startswith("error: `datasets.path: none.jsonl`: no such file or folder (looked in ")


def test_a_built_in_model_that_is_not_there(call, tmp_path, write_config):
    code, _, err = call(write_config(tmp_path, base_model="builtin/smollm3"))
    assert code == 4
    assert err.startswith("error: `base_model: builtin/smollm3` ")


def test_a_folder_without_a_model(call, tmp_path, write_config):
    code, _, err = call(write_config(tmp_path, base_model=str(tmp_path)))
    assert (code, err) == (4, f"error: {tmp_path} holds no tokenizer (no tokenizer.json); set `tokenizer_config`\n")


def test_the_module_runs_as_a_program_too(tmp_path, write_config):
    command = [sys.executable, "-m", "tunesmith.cli.preprocess", str(write_config(tmp_path))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "8 rows -> 8 samples" in result.stdout


def test_a_base_model_that_is_nowhere(tmp_path, write_config):
    command = [sys.executable, "-m", "tunesmith.cli.preprocess", str(write_config(tmp_path, base_model="bees/honey"))]
    surroundings = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    result = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=60)
    assert result.returncode == 4
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "`bees/honey`" in line
