"""The loop of the honeycomb example: the lessons of its writer are good rows, and rows of a model go through it."""

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from stand_in import Says, StandIn
from tunesmith import encode
from tunesmith.cli.filter import main as filter_rows
from tunesmith.cli.generate import main as generate_rows
from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.references import load_file
from tunesmith.synth.prompts import Prompts

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "honeycomb"
agreement, assertions, rows = (load_file(FOLDER / f"{name}.py") for name in ("agreement", "assertions", "rows"))


@pytest.fixture(scope="module")
def bees(tmp_path_factory):
    """A copy of the example with its data: 200 seeds, and 100 lessons."""
    folder = tmp_path_factory.mktemp("loop") / "bees"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
    for command in (["generate.py", "--train", "300", "--eval", "5"], ["rows.py"]):
        subprocess.run([sys.executable, *command], cwd=folder, check=True, capture_output=True)
    return folder


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def lessons(bees):
    return lines(bees / "data/writer.jsonl")


def faults(module, row):
    """Return what the assertions of a module say against a row in short form."""
    found = []
    for name, check in vars(module).items():
        if name.startswith("test_"):
            try:
                check(row, row["answer"]) if module is assertions else check(row["question"], row["answer"])
            except AssertionError as error:
                found.append(str(error))
    return found


def test_the_writer_learns_good_rows_by_the_prompt_that_generate_sends(bees, lessons):
    from jsonschema import validate

    section = load(str(bees / "loop.yml")).synthesis.generate
    prompts = Prompts(section, str(bees / "loop.yml"))
    seeds = {line["question"] for line in lines(bees / "data/seeds.jsonl")}
    assert (len(seeds), len(lessons)) == (rows.SEEDS, 100)
    asked = [lesson["messages"][0]["content"].splitlines() for lesson in lessons]
    sent = [prompts.render(number).splitlines() for number in range(1, 40)]
    assert {text[0] for text in (*asked, *sent)} == {asked[0][0]}
    assert {len(text) for text in asked} == {1 + rows.COLUMNS}
    for lesson, text in zip(lessons, asked, strict=True):
        row = json.loads(lesson["messages"][1]["content"])
        validate(row, prompts.schema)
        assert row["columns"] == text[1:]
        assert not faults(assertions, row)
        assert not faults(agreement, row)
        assert row["question"] not in seeds


def test_a_question_with_the_query_of_another_is_found(lessons):
    made = [json.loads(lesson["messages"][1]["content"]) for lesson in lessons]
    mixed = [row | {"answer": other["answer"]} for row, other in pairwise(made)]
    assert sum(not faults(agreement, row) for row in mixed) < 10
    row = {"question": "How many errors by service in the last 2 hours?"}
    for query, fault in (
        ({"breakdowns": ["service.name"], "time_range": 7200}, ""),
        ({"breakdowns": ["cache.region"]}, "cache.region"),
        ({"filters": [{"column": "error", "op": "=", "value": 500}]}, "500"),
        ({"limit": 10}, "10"),
        ({"time_range": 3600}, "time_range is 3600 seconds"),
    ):
        found = faults(agreement, row | {"answer": json.dumps(query)})
        assert (len(found), fault in "".join(found)) == (bool(fault), True), query
    assert len(faults(agreement, row | {"answer": "a word"})) == 3


def test_a_short_row_has_the_tokens_of_a_chat(bees, tokenizer):
    for values in lines(bees / "data/train.jsonl")[:20]:
        _, asked, answer = (turn["content"] for turn in values["messages"])
        short = {"columns": values["columns"], "question": asked.split("\n\n")[1], "answer": answer}
        (chat,) = encode(values, dataset={"type": "chat_template"}, tokenizer=tokenizer)
        (made,) = encode(short, dataset={"type": f"{FOLDER}/rows.py:chat"}, tokenizer=tokenizer)
        end = len(made.input_ids)
        assert (chat.input_ids[:end], chat.labels[:end]) == (made.input_ids, made.labels)
        assert set(chat.labels[end:]) <= {-100}


def test_a_server_takes_the_place_of_the_writer_by_its_address(bees, lessons, tokenizer, tmp_path, monkeypatch, capsys):
    good = [lesson["messages"][1]["content"] for lesson in lessons]
    server = StandIn()

    def script(body, number):
        row = json.loads(good[body["seed"] % 100])
        if body["seed"] % 4 == 0 and len(body["messages"]) == 1:  # mended when it is told what is wrong
            row["answer"] = row["answer"].replace('"op"', '"operation"')
        if body["seed"] % 4 == 1:  # valid, but of another question
            row["question"] = "How many?"
        return Says(json.dumps(row))

    server.script = script
    monkeypatch.chdir(tmp_path)
    file = str(bees / "loop.yml")
    endpoint = {"base-url": server.url, "cache": "replies", "concurrency": "4"}
    sent = [text for key, value in endpoint.items() for text in (f"--generate.endpoint.{key}", value)]
    assert generate_rows([file, *sent, "--generate.rows", "40", "--generate.seeds-per-prompt", "3"]) == 0
    assert server.asked[0]["messages"][0]["content"].startswith('{"columns": ['), "the third seed is an example"
    server.close()
    assert "test_" in capsys.readouterr().out
    made = lines(tmp_path / "outputs/honeycomb-made.jsonl")
    assert {row["_provenance"]["tries"] for row in made} == {1, 2}
    assert filter_rows([file, "--output", "made.kept.jsonl"]) == 0
    kept, dropped = (lines(tmp_path / f"made.{name}.jsonl") for name in ("kept", "dropped"))
    assert (len(kept) + len(dropped), {row["question"] for row in dropped}) == (40, {"How many?"})
    assert prepare_splits(load(file), tokenizer).train.num_rows == rows.SEEDS + len(kept)
