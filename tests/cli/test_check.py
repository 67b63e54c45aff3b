"""`tunesmith check`: what it prints and writes, and its exit codes."""

import json

import pytest

from tunesmith.cli.main import main
from tunesmith.errors import DataError

KEY = "ghp_" + "a1B2c3" * 6


@pytest.fixture
def call(capsys):
    """`call(*arguments)` runs the command and returns exit code, standard output and standard error."""

    def run(*arguments):
        code = main(["check", *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run


@pytest.fixture
def config_of(tmp_path, write_config, write_jsonl):
    def make(rows, **keys):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        return write_config(tmp_path, datasets=[{"path": str(file), "type": "chat_template"}], **keys)

    return make


def test_a_clean_set(call, config_of, chat_rows, tmp_path):
    code, out, err = call(config_of(chat_rows(8)))
    assert (code, err) == (0, "")
    assert out.startswith("info     pad-equals-eos\n  the PAD token is the EOS token: <|im_end|>\n")
    assert "  8 rows (0 with nothing trained), 8 samples\n" in out
    assert "\x1b" not in out
    assert out.splitlines()[-1] == f"0 errors, 0 warnings, 1 info; page: {tmp_path}/prepared/check.html"
    assert (tmp_path / "prepared/check.html").read_text(encoding="utf-8")


def faulty(chat_rows):
    rows = chat_rows(8)
    rows[2]["messages"][2]["content"] = "One.<|im_end|> Two."
    rows[4]["messages"][1]["content"] += f" My key is {KEY} and my address maja@hive.io"
    return rows


def test_an_error_is_shown_with_its_row_and_its_cure_and_ends_with_the_code_of_a_data_error(
    call, config_of, chat_rows, tmp_path
):
    code, out, _ = call(config_of(faulty(chat_rows)))
    assert code == DataError.exit_code == 3
    assert out.startswith(
        f"""error    end-in-answer  1 row
  an answer contains the text of an EOS token: the model learns to stop there
    {tmp_path}/rows.jsonl:3: turn 3, assistant holds <|im_end|> after 'One.'
  fix: remove it from the rows, or write it differently
warning  secret  1 row
"""
    )
    assert out.splitlines()[-1].startswith("1 error, 1 warning, 2 infos; page: ")


def test_secrets_are_nowhere_whole(call, config_of, chat_rows, tmp_path):
    _, out, err = call(config_of(faulty(chat_rows)), "--json", tmp_path / "report.json", "--html", tmp_path / "a.html")
    for text in (out, err, (tmp_path / "report.json").read_text(), (tmp_path / "a.html").read_text(encoding="utf-8")):
        assert KEY not in text
        assert KEY[6:] not in text
        assert "maja@hive.io" not in text
    assert "GitHub token ghp_..., 40 characters" in out


def test_a_row_that_cannot_be_read_does_not_show_its_secret_either(call, config_of, chat_rows):
    rows = [*chat_rows(30), {"messages": f"My key is {KEY}"}, {"messages": [{"role": "user", "content": [KEY]}]}]
    code, out, _ = call(config_of(rows))
    assert code == 0
    assert out.count("bad-row") == 2
    assert KEY[6:20] not in out


def test_the_report_as_json(call, config_of, chat_rows, tmp_path):
    code, _, _ = call(config_of(faulty(chat_rows)), "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert code == 3
    assert [item["code"] for item in report["findings"]][:2] == ["end-in-answer", "secret"]
    assert report["findings"][0]["hits"] == [
        [str(tmp_path / "rows.jsonl"), 3, "turn 3, assistant holds <|im_end|> after 'One.'"]
    ]
    assert report["figures"][0]["rows"] == 8


def test_only_the_first_rows(call, config_of, chat_rows):
    code, out, _ = call(config_of(faulty(chat_rows)), "--rows", 2)
    assert code == 0
    assert "  2 rows (0 with nothing trained), 2 samples" in out
    assert call(config_of(chat_rows(2)), "--rows", 0)[::2] == (2, "error: --rows 0: expected a number above 0\n")


def test_an_override(call, config_of, chat_rows):
    _, out, _ = call(config_of(chat_rows(4)), "--sequence-len", "20")
    assert "error    over-length  4 rows" in out


def test_a_dataset_that_is_not_there(call, write_config, tmp_path):
    code, _, err = call(write_config(tmp_path, datasets=[{"path": "none.jsonl", "type": "alpaca"}]))
    assert (code, err.startswith("error: `datasets.path: none.jsonl`: no such file")) == (3, True)


def test_train_stops_on_an_error_before_it_loads_the_model(config_of, chat_rows, capsys, tmp_path):
    assert main(["train", str(config_of(faulty(chat_rows)))]) == 3
    assert "error: end-in-answer: an answer contains the text of an EOS token" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_server_that_does_not_answer_takes_nothing_from_the_report(tmp_path, write_config, capsys):
    file = write_config(tmp_path)
    assert main(["check", str(file), "--server", "http://127.0.0.1:9"]) == 5
    out, err = capsys.readouterr()
    assert "0 errors" in out
    assert (tmp_path / "prepared/check.html").exists()
    assert "error: http://127.0.0.1:9/v1/models names no model" in err
