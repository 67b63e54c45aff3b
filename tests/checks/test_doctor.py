"""The whole look: leakage between the sides, the quick form before training, flat memory, and no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.checks import doctor
from tunesmith.checks.doctor import QUICK_ROWS, SAMPLES, quick_checks, run_checks
from tunesmith.checks.report import SEVERITIES
from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.errors import ConfigError, DataError

HONEYCOMB = Path(__file__).parents[2] / "examples/honeycomb"


def test_the_honeycomb_example_is_clean(tokenizer, model_folder, write_config, tmp_path):
    sample = {"path": str(HONEYCOMB / "sample.jsonl"), "type": "chat_template"}
    config = load(str(write_config(tmp_path, datasets=[sample], sequence_len=512)))
    report = run_checks(config, tokenizer, model_folder=model_folder)
    assert [item.code for item in report.findings if item.severity != "info"] == []
    assert {item.code for item in report.findings} <= {"pad-equals-eos", "email-address"}


def test_prompts_of_the_test_data_that_are_trained_too(examine, found, chat_rows):
    report = examine(chat_rows(10), test=[*chat_rows(12)[10:], chat_rows(3)[2]])
    (hit,) = found(report)["leaked-prompt"].hits
    assert (hit.file.endswith("test.jsonl"), hit.row, hit.detail.endswith("rows.jsonl:3")) == (True, 3, True)
    assert [figures.name.endswith("(test)") for figures in report.figures] == [False, True]


@pytest.mark.parametrize("shuffled", [True, False])
def test_the_rows_that_val_set_size_holds_out_are_the_ones_that_are_compared(
    shuffled, examine, found, chat_rows, tokenizer, tmp_path
):
    rows = chat_rows(40)
    rows[0] = rows[39]
    keys = {"val_set_size": 0.2, "shuffle_merged_datasets": shuffled}
    leaked = found(examine(rows, **keys)).get("leaked-prompt")
    config = load(str(tmp_path / "config.yml"))
    splits = prepare_splits(config, tokenizer)
    sides = [number in splits.held_out["row"] for number in (1, 40)]
    assert (leaked is not None) == (sides[0] != sides[1])
    if not shuffled:
        assert [hit.row for hit in leaked.hits] == [40]


def test_rows_that_stand_twice_or_nearly(examine, found, chat_rows):
    long = chat_rows(1)[0]
    long["messages"][2]["content"] = " ".join(f"word{number}" for number in range(120))
    near = {
        "messages": [*long["messages"][:2], {"role": "assistant", "content": long["messages"][2]["content"] + " more"}]
    }
    report = found(examine([*chat_rows(5), chat_rows(5)[3], long, near]))
    assert [(hit.row, hit.detail[-1]) for hit in report["duplicate-row"].hits] == [(6, "4")]
    assert [(hit.row, hit.detail[-1]) for hit in report["near-duplicate"].hits] == [(8, "7")]
    assert report["near-duplicate"].severity == "info"


def test_findings_stand_worst_first_and_samples_with_findings_too(examine, chat_rows):
    bad = chat_rows(1)[0]
    bad["messages"][2]["content"] = "a@hive.io <|im_end|> b"
    report = examine([*chat_rows(40), bad])
    assert [item.severity for item in report.findings] == sorted(
        (i.severity for i in report.findings), key=SEVERITIES.index
    )
    assert report.findings[0].code == "end-in-answer"
    assert report.samples[0].row == 41
    assert len(report.samples) <= SAMPLES


def test_only_the_first_rows_are_looked_at(examine, chat_rows):
    assert examine(chat_rows(10), limit=4).figures[0].rows == 4


def test_preference_data_is_refused(examine, chat_rows):
    with pytest.raises(ConfigError, match="`rl: dpo`: preference data is not checked yet"):
        examine(chat_rows(2), rl="dpo")


@pytest.fixture
def quick(tmp_path, write_jsonl, write_config, tokenizer, model_folder):
    def look(rows, **keys):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        config = load(str(write_config(tmp_path, datasets=[{"path": str(file), "type": "chat_template"}], **keys)))
        quick_checks(config, tokenizer, model_folder=model_folder)

    return look


def broken(chat_rows):
    rows = chat_rows(20)
    rows[6]["messages"][2]["content"] = "One.<|im_end|> Two."
    return rows


def test_training_stops_on_an_error(quick, chat_rows, tmp_path):
    with pytest.raises(DataError) as caught:
        quick(broken(chat_rows))
    first, last = str(caught.value).splitlines()
    assert first.startswith("end-in-answer: an answer contains the text of an EOS token")
    assert f"(1 row, first {tmp_path}/rows.jsonl:7: turn 3, assistant holds <|im_end|> after 'One.'" in first
    assert last == "`tunesmith check` shows the rows; `data_checks: warn` trains all the same"


def test_training_goes_on_if_it_is_told_to(quick, chat_rows, capsys):
    quick(broken(chat_rows), data_checks="warn")
    assert capsys.readouterr().err.startswith("error: end-in-answer: ")
    quick(broken(chat_rows), data_checks="off")
    assert capsys.readouterr().err == ""


def test_a_warning_is_said_and_what_is_clean_says_nothing(quick, chat_rows, capsys):
    rows = chat_rows(20)
    quick(rows)
    assert capsys.readouterr().err == ""
    rows[3]["messages"][2]["content"] = "cafÃ©"
    quick(rows)
    assert capsys.readouterr().err.startswith("warning: mojibake: texts were decoded with the wrong encoding")


def test_the_quick_look_leaves_to_prepare_what_prepare_says(quick, chat_rows, capsys):
    quick([*chat_rows(3), {"messages": []}, *chat_rows(3)], sequence_len=20)
    assert capsys.readouterr().err == ""


def test_the_quick_look_reads_a_few_rows_however_long_the_data(quick, chat_rows, monkeypatch):
    read = []
    check_row = doctor.check_row
    monkeypatch.setattr(doctor, "check_row", lambda item, *more: (read.append(item), check_row(item, *more)))
    quick(chat_rows(5 * QUICK_ROWS))
    assert len(read) == QUICK_ROWS


MEMORY = """
import resource, sys
from tunesmith.checks.doctor import run_checks
from tunesmith.config.load import load
from tunesmith.modeling.tokenizer import model_tokenizer

config, peaks = load(sys.argv[1]), []
for limit in (1_000, 4_000):
    report = run_checks(config, model_tokenizer(config.model), limit=limit)
    assert report.figures[0].rows == limit
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(peaks[1] - peaks[0], "torch" in sys.modules)
"""


def test_memory_is_flat_and_torch_is_not_needed(tmp_path, write_config, write_jsonl):
    rows = ({"text": " ".join(f"bee{number * place}" for place in range(50))} for number in range(4_000))
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    config = write_config(tmp_path, datasets=[{"path": str(file), "type": "completion"}], val_set_size=20)
    command = [sys.executable, "-c", MEMORY, str(config)]
    megabytes, has_torch = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(megabytes) < 12  # the three thousand rows more are 30 MB as ids and labels
    assert has_torch == "False"
