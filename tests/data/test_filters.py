"""`filters` of a dataset: rows are left out before they are tokenised, counted, and kept in a file with the reasons."""

import json

import pytest

from tunesmith.config.load import load
from tunesmith.data.filters import spec_of_file
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.question import question, reference_answer
from tunesmith.data.splits import describe, prepare_splits
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

SHORT = "def test_short(answer):\n    assert len(answer) < 10, f'{len(answer)} characters'\n"


@pytest.fixture
def prepared(tmp_path, tokenizer, write_config, chat_rows, write_jsonl):
    """`prepared(rules, **keys)` prepares eight chats, two of them with long answers, with `rules` as their filter."""

    def call(rules=SHORT, **keys):
        (tmp_path / "rules.py").write_text(rules)
        rows = chat_rows(8)
        for index in (2, 5):
            rows[index]["messages"][-1]["content"] = "It is hard to say."
        write_jsonl(tmp_path / "chats.jsonl", rows)
        entry = {"path": str(tmp_path / "chats.jsonl"), "type": "chat_template", "filters": "rules.py"}
        config = load(str(write_config(tmp_path, datasets=[entry | keys])))
        return prepare_splits(config, tokenizer).parts[0]

    return call


def test_rows_that_fail_are_left_out_counted_and_written_with_their_reasons(prepared, tmp_path):
    part = prepared()
    (report,) = part.reports
    assert (report.rows, report.kept, report.filtered, report.bad, report.dropped) == (8, 6, 2, [], [])
    assert sorted(part.load()["row"]) == [1, 2, 4, 5, 7, 8]
    written = [json.loads(line) for line in (part.folder / "dropped.jsonl").read_text().splitlines()]
    assert [row["reasons"] for row in written] == [{"test_short": "18 characters"}] * 2
    assert written[0]["place"] == f"{tmp_path}/chats.jsonl:3"
    assert written[0]["messages"][-1]["content"] == "It is hard to say."
    lines = "\n".join(describe([part]))
    assert f"2 of 8 rows left out by filters (25.0%), all in {part.folder}/dropped.jsonl:" in lines
    assert f"test_short     2  25.0%  {tmp_path}/chats.jsonl:3  18 characters" in lines


def test_the_report_is_the_same_from_the_cache_and_an_edited_filter_makes_the_data_anew(prepared):
    first, again = prepared(), prepared()
    assert again.cached
    assert again.reports == first.reports
    assert describe([again])[:-1] == describe([first])[:-1]
    assert not prepared(SHORT.replace("10", "99")).cached


def test_a_list_of_files_and_functions_is_one_filter(prepared, tmp_path):
    (tmp_path / "more.py").write_text(
        "def test_first(messages): assert 'What is 0' not in messages[1]['content'], 'nought'"
    )
    part = prepared(SHORT + "def test_never(): assert False\n", filters=["rules.py:test_short", "more.py"])
    assert part.reports[0].filtered == 3


def test_filters_that_leave_nothing_are_an_error_with_the_reasons(prepared):
    with pytest.raises(DataError, match=r"leave out all 8 rows:\n.*\n  test_x +8  100.0%  .*chats.jsonl:1  never"):
        prepared("def test_x():\n    assert False, 'never'\n")


def test_a_filter_at_fault_ends_the_preparation_with_the_row(prepared):
    with pytest.raises(ConfigError, match=r"rules.py:2: test_x raised KeyError: 'columns'.*chats.jsonl:1 and 7 more"):
        prepared("def test_x(row):\n    row['columns']\n")
    with pytest.raises(ConfigError, match=r"none.py: no such file"):
        prepared(filters="none.py")


def test_the_time_limit_of_the_config_holds(tmp_path, tokenizer, write_config):
    (tmp_path / "rules.py").write_text("def test_x():\n    while True: pass\n")
    entry = {"path": str(tmp_path / "rows.jsonl"), "type": "chat_template", "filters": "rules.py"}
    write_config(tmp_path)
    keys = {"datasets": [entry], "evaluation": {"assertion_seconds": 0.2}}
    with pytest.raises(ConfigError, match=r"rules.py:2: test_x took over 0.2 s"):
        prepare_splits(load(str(write_config(tmp_path, **keys))), tokenizer)


ROWS = {
    "chat_template": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    "prompt_completion": {"prompt": "2 + 2 =", "completion": " 4"},
    "alpaca": {"instruction": "Add.", "input": "1 2", "output": "3"},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
    "completion": {"text": "Bees hum."},
    "input_output": {"segments": [{"label": False, "text": "a"}, {"label": True, "text": "b"}]},
}


@pytest.mark.parametrize("kind", ROWS)
def test_the_answer_is_the_one_that_evaluation_would_ask_for_without_a_tokenizer(kind, tokenizer):
    from tunesmith.data.tokenizer import chat_template

    dataset = Dataset(path="x", type=kind)
    spec = FormatSpec(dataset, template=chat_template(tokenizer, None, None, "x"), tokenizer=tokenizer)
    asked = question(ROWS[kind], spec, tokenizer)
    assert reference_answer(ROWS[kind], FormatSpec(dataset)) == (asked.reference if asked else "")


def test_rows_without_an_answer_are_judged_as_rows(tmp_path, write_jsonl, capsys):
    assert reference_answer({"input_ids": [1], "labels": [1]}, FormatSpec(Dataset(path="x", type="pretokenized"))) == ""
    file = write_jsonl(tmp_path / "odd.jsonl", [{"temperature": 3}])
    spec = spec_of_file(str(file), None)
    assert reference_answer({"temperature": 3}, spec) == ""
    assert "its columns tell no layout, so that `answer` is empty" in capsys.readouterr().err
