"""`tunesmith init`: what it writes passes `check` and becomes tokens, whatever the rows are; and it asks well."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.cli import init as command
from tunesmith.cli.main import main
from tunesmith.config.load import load

MODEL = "builtin/smollm2-135m-instruct"


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """`call(*arguments)` runs the command in an empty folder, without a terminal; code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    def run(*arguments):
        code = main(["init", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


def said(role, text, **more):
    return {"role": role, "content": text, **more}


def asked(number):
    return f"What is {number} and {number % 7}?"


SHAPES = {
    "alpaca": lambda n: {"instruction": asked(n), "input": "", "output": f"It is {n + n % 7}."},
    "alpaca_w_system": lambda n: {"system": "You add.", "instruction": asked(n), "output": f"It is {n + n % 7}."},
    "messages": lambda n: {"messages": [said("user", asked(n)), said("assistant", f"It is {n + n % 7}.")]},
    "sharegpt": lambda n: {
        "conversations": [{"from": "human", "value": asked(n)}, {"from": "gpt", "value": f"It is {n + n % 7}."}]
    },
    "text": lambda n: {"text": f"{n} and {n % 7} make {n + n % 7}, as everybody who counts slowly will find."},
    "input_output": lambda n: {"input": asked(n), "output": f"It is {n + n % 7}."},
    "prompt_response": lambda n: {"prompt": asked(n), "response": f"It is {n + n % 7}."},
    "question_answer": lambda n: {"question": asked(n), "answer": f"It is {n + n % 7}."},
    "prompt_completion": lambda n: {"prompt": asked(n), "completion": f" It is {n + n % 7}."},
    "chat_completion": lambda n: {
        "prompt": [said("user", asked(n))],
        "completion": [said("assistant", f"It is {n + n % 7}.")],
    },
    "segments": lambda n: {
        "segments": [{"label": False, "text": asked(n)}, {"label": True, "text": f" It is {n + n % 7}.<|im_end|>"}]
    },
}
PREFERENCES = {
    "dpo": lambda n: {"prompt": asked(n), "chosen": f"It is {n + n % 7}.", "rejected": f"Perhaps {n}?"},
    "dpo_chat": lambda n: {
        "prompt": [said("user", asked(n))],
        "chosen": [said("assistant", f"It is {n + n % 7}.")],
        "rejected": [said("assistant", f"Perhaps {n}?")],
    },
    "dpo_whole": lambda n: {
        name: [said("user", asked(n)), said("assistant", text)]
        for name, text in (("chosen", f"It is {n + n % 7}."), ("rejected", f"Perhaps {n}?"))
    },
    "dpo_messages": lambda n: {
        "messages": [said("user", asked(n))],
        "chosen": said("assistant", f"It is {n + n % 7}."),
        "rejected": said("assistant", f"Perhaps {n}?"),
    },
    "dpo_ultra": lambda n: {
        "prompt": asked(n),
        "chosen": [said("user", asked(n)), said("assistant", f"It is {n + n % 7}.")],
        "rejected": [said("user", asked(n)), said("assistant", f"Perhaps {n}?")],
    },
    "dpo_texts": lambda n: {
        "chosen": f"Human: {asked(n)} Assistant: It is {n + n % 7}.",
        "rejected": f"Human: {asked(n)} Assistant: Perhaps {n}?",
    },
    "dpo_question": lambda n: {"question": asked(n), "chosen": f"It is {n + n % 7}.", "rejected": f"Perhaps {n}?"},
    "kto": lambda n: {"prompt": asked(n), "completion": f"It is {n + n % 7}.", "label": n % 2 == 0},
}


@pytest.mark.parametrize("shape", SHAPES | PREFERENCES)
def test_what_it_writes_is_without_errors_and_becomes_tokens(call, tmp_path, write_jsonl, capsys, shape):
    rows = map((SHAPES | PREFERENCES)[shape], range(30))
    write_jsonl(tmp_path / "rows.jsonl", rows)
    code, out, err = call("--data", "rows.jsonl", "--hardware", "laptop")
    assert (code, err) == (0, "")
    assert "rows.jsonl: 30 rows, columns " in out
    config = load("finetune.yml")
    assert config.notes == ()
    assert config.data.rl == (shape[:3] if shape in PREFERENCES else None)
    if shape in SHAPES:
        main(["check", "finetune.yml", "--json", "found.json"])
        found = json.loads(Path("found.json").read_text())["findings"]
        assert [item["code"] for item in found if item["severity"] == "error"] == []
    capsys.readouterr()
    assert main(["preprocess", "finetune.yml"]) == 0
    assert "30 rows -> 30 samples" in capsys.readouterr().out


def test_it_says_what_it_saw_and_what_to_type_next(call, tmp_path, write_jsonl):
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["alpaca"], range(1700)))
    code, out, _ = call("bees.yml", "--data", "rows.jsonl", "--hardware", "laptop")
    assert code == 0
    assert out.splitlines() == [
        "rows.jsonl: 1,700 rows, columns instruction, input, output: type alpaca",
        "sequence_len 256: the longest row has 49 tokens",
        "written: bees.yml, and tunesmith.schema.json next to it for your editor",
        "first:",
        "  tunesmith check bees.yml  # what is wrong with the data",
        "next:",
        "  tunesmith preprocess bees.yml --debug  # shows the tokens in the loss",
        "  tunesmith train bees.yml",
    ]
    lines = Path("bees.yml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=tunesmith.schema.json"
    assert json.loads(Path("tunesmith.schema.json").read_text())["type"] == "object"
    keys = [line for line in lines if re.match(r"[ -]*\w+: ", line)]
    assert [line for line in keys if "  # " not in line] == []  # each key has its why


def test_a_file_in_another_folder_finds_its_data_from_anywhere(call, tmp_path, write_jsonl, monkeypatch):
    (tmp_path / "data").mkdir()
    write_jsonl(tmp_path / "data/rows.jsonl", map(SHAPES["text"], range(30)))
    assert call("configs/a.yml", "--data", "data/rows.jsonl", "--hardware", "laptop")[0] == 0
    assert load("configs/a.yml").data.datasets[0].path == "../data/rows.jsonl"
    assert main(["preprocess", "configs/a.yml"]) == 0
    monkeypatch.chdir(tmp_path / "data")
    assert main(["preprocess", str(tmp_path / "configs/a.yml")]) == 0


def test_a_hub_model_needs_no_network(call, tmp_path, write_jsonl):
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["messages"], range(30)))
    options = ["--data", "rows.jsonl", "--model", "some/model-7b", "--hardware", "multi-gpu", "--adapter", "none"]
    code, out, _ = call("--output", "far.yml", *options)
    assert code == 0
    assert "sequence_len 2048: not measured, the tokenizer is not on this machine" in out
    assert "  torchrun --nproc_per_node gpu -m tunesmith.cli.train far.yml" in out
    assert load("far.yml").distribution.sharded
    assert "# chat_template: chatml" in Path("far.yml").read_text()


def test_a_model_without_a_chat_template_gets_one(call, tmp_path, write_jsonl, model_folder):
    shutil.copytree(model_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.jinja", "*.safetensors"))
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["messages"], range(30)))
    settings = json.loads((tmp_path / "bare/tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (tmp_path / "bare/tokenizer_config.json").write_text(json.dumps(settings))
    assert call("--data", "rows.jsonl", "--model", "bare", "--hardware", "laptop")[0] == 0
    assert load("finetune.yml").model.chat_template == "chatml"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_it_asks_five_questions_and_asks_again(call, tmp_path, write_jsonl, monkeypatch):
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["text"], range(30)))
    (tmp_path / "there.yml").write_text("mine")
    replies = ["builtin/x", "", "none.jsonl", "", "tpu", "laptop", "", "there.yml", "new.yml"]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(replies) + "\n"))
    code, _, err = call()
    assert code == 0
    assert [part.split(":")[0] for part in re.findall(r"(?:^|\]: )([a-z][\w ]+)[:\[]", err)]
    assert f"model: built-in, Hub repository or folder [{MODEL}]: " in err
    assert "`base_model: builtin/x` is no built-in model" in err
    assert "data: file, folder or Hub dataset [rows.jsonl]: " in err
    assert "`datasets.path: none.jsonl`: no such file" in err
    assert "--hardware tpu: expected laptop, gpu, multi-gpu" in err
    assert "there.yml exists already" in err
    assert load("new.yml").model.base_model == MODEL
    assert (tmp_path / "there.yml").read_text() == "mine"


def test_a_flag_is_not_asked_for(call, tmp_path, write_jsonl, monkeypatch):
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["text"], range(30)))
    monkeypatch.setattr("sys.stdin", Terminal("rows.jsonl\n"))
    code, _, err = call("a.yml", "--model", "some/model", "--hardware", "gpu", "--adapter", "none")
    assert (code, err) == (0, "data: file, folder or Hub dataset [rows.jsonl]: ")
    monkeypatch.setattr("sys.stdin", Terminal("rows.jsonl\n"))
    code, _, err = call("b.yml", "--hardware", "gpu")
    assert code == 2
    assert err.endswith("error: the input ended before the last answer; nothing is written\n")
    assert not (tmp_path / "b.yml").exists()


def test_the_hardware_is_that_of_the_machine(monkeypatch):
    from tunesmith import hardware

    for kind, count, expected in (
        ("cpu", 1, "laptop"),
        ("mps", 1, "laptop"),
        ("cuda", 1, "gpu"),
        ("cuda", 8, "multi-gpu"),
    ):
        found = hardware.Hardware(kind, count, "x", 2**30, True)
        monkeypatch.setattr(hardware, "detect", lambda found=found: found)
        assert command._this_machine() == expected


@pytest.mark.parametrize(
    ("content", "options", "code", "expected"),
    [
        (None, [], 3, "`datasets.path: rows.jsonl`: no such file or folder"),
        ("", [], 3, "rows.jsonl holds no rows"),
        ("{\n", [], 3, "rows.jsonl: no row can be read; rows.jsonl:1: not JSON: "),
        ('{"reply": "a", "ask": "b"}\n', [], 2, "rows.jsonl: no type is known for the columns reply, ask. Known are "),
        (
            '{"instruction": "a", "output": ""}\n',
            [],
            3,
            "no row can be trained on; rows.jsonl:1: column output is blank",
        ),
        ('{"text": "a b"}\n', ["--model", "builtin/x"], 4, "`base_model: builtin/x` is no built-in model; known are "),
        ('{"text": "a b"}\n', ["--model", "./none"], 4, "./none: no such folder, and no name of a Hub repository"),
        (
            '{"text": "a b"}\n',
            ["--hardware", "gpus"],
            2,
            "--hardware gpus: expected laptop, gpu, multi-gpu; did you mean",
        ),
        ('{"text": "a b"}\n', ["--adapter", "ia3"], 2, "--adapter ia3: expected lora, qlora, none"),
        ('{"text": "a b"}\n', ["old.yml"], 5, "old.yml exists already; name another file, or replace it with"),
        ('{"text": "a b"}\n', ["folder"], 5, "folder is a folder; name a file in it, such as folder/finetune.yml"),
        ('{"text": "a b"}\n', ["a.yml", "--output", "b.yml"], 2, "a.yml and --output b.yml: use only one"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(call, tmp_path, content, options, code, expected):
    (tmp_path / "old.yml").write_text("mine")
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / "rows.jsonl").write_text(content)
    found, _, err = call("--data", "rows.jsonl", *options)
    assert found == code
    assert err.startswith(f"error: {expected}")
    assert len(err.splitlines()) == 1
    assert (tmp_path / "old.yml").read_text() == "mine"
    assert not list(tmp_path.glob("[!o]*.yml"))


def test_unknown_columns_are_answered_with_a_mapping_that_works(call, tmp_path, write_jsonl, write_config, capsys):
    rows = [{"ask": asked(n), "reply": f"It is {n + n % 7}."} for n in range(30)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    mapping = re.search(r"`type: (\{.*\})`", call("--data", "rows.jsonl")[2])[1]
    file = tmp_path / "own.yml"
    file.write_text(f"base_model: {MODEL}\nlearning_rate: 1e-4\ndatasets:\n  - path: rows.jsonl\n    type: {mapping}\n")
    assert main(["preprocess", "own.yml"]) == 0
    assert "30 rows -> 30 samples" in capsys.readouterr().out


def test_overwrite_writes_over_a_file(call, tmp_path, write_jsonl):
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["text"], range(30)))
    (tmp_path / "a.yml").write_text("mine")
    assert call("a.yml", "--data", "rows.jsonl", "--hardware", "gpu", "--overwrite")[0] == 0
    assert load("a.yml").training.gradient_checkpointing


def test_without_data_and_terminal_it_says_what_is_missing(call):
    assert call()[::2] == (2, "error: --data is missing: the file to train on; --help shows examples\n")


def test_the_module_runs_as_a_program_too(tmp_path, write_jsonl):
    write_jsonl(tmp_path / "rows.jsonl", map(SHAPES["text"], range(30)))
    program = [sys.executable, "-m", "tunesmith.cli.init", "--data", "rows.jsonl", "--hardware", "laptop"]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "finetune.yml").exists()
