"""Rows that are not worth training on are found with the right reason, all others stay, and any rule can be undone."""

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tunesmith.checks.doctor import run_checks
from tunesmith.cli.curate import format_summary, main
from tunesmith.config.load import load
from tunesmith.curation import semantic
from tunesmith.curation.curate import curate
from tunesmith.curation.manifest import DUPLICATE, LENGTH, Entry, Exclusion, decide
from tunesmith.data.splits import prepare_splits
from tunesmith.errors import ConfigError
from tunesmith.sections import Curate

WORDS = [f"word{number}" for number in range(3000)]


def words(seed, count):
    return random.Random(seed).choices(WORDS, k=count)


def row(seed, *, asked=None, answer=None):
    return {"question": asked or " ".join(words(seed, 30)), "answer": answer or " ".join(words(seed + 10_000, 20))}


def changed(text, place=4):
    parts = text.split()
    return " ".join([*parts[:place], "changed", *parts[place + 1 :]])


GOOD = [row(seed) for seed in range(40)]
PLANTED = {
    "equal": (GOOD[3], "duplicate:prompt+answer", "the same as {rows}:4"),
    "case": (
        {key: value.upper() + " " for key, value in GOOD[5].items()},
        "duplicate:prompt+answer",
        "the same, except for case and whitespace, as {rows}:6",
    ),
    "near": (
        row(0, asked=changed(GOOD[7]["question"]), answer=GOOD[7]["answer"]),
        "near-duplicate",
        "a near-duplicate (similarity 0.80) of {rows}:8",
    ),
    "leaked": (row(50), "leak", "its prompt is the same as the prompt of the eval row {tests}:1"),
    "leaked but for case": (
        row(51, asked=row(51)["question"].title()),
        "leak",
        "its prompt is the same, except for case and whitespace, as the prompt of the eval row {tests}:2",
    ),
    "nearly leaked": (
        row(52, asked=changed(row(52)["question"], 29)),
        "leak",
        "its prompt is a near-duplicate (similarity 0.93) of the prompt of the eval row {tests}:3",
    ),
    "long": (row(53, answer="long " * 200), "length", "1,260 characters, `max_chars` is 800"),
    "short": (row(54, asked="Why?", answer="So."), "length", "8 characters, `min_chars` is 20"),
    "wrong": (row(55, answer="I can not help with that, I am sorry."), "assertion:test_answers", "it apologises"),
}
TESTS = [row(seed, answer="another answer") for seed in (50, 51, 52)]
LIMITS = ["--curate.max-chars", "800", "--curate.min-chars", "20"]


@pytest.fixture
def files(tmp_path, write_jsonl):
    """The planted rows, the rows to evaluate on, and assertions."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [*GOOD, *(item for item, _, _ in PLANTED.values())])
    rows.write_text(rows.read_text() + '{"question": "cut o\n')
    (tmp_path / "checks.py").write_text(
        'def test_answers(answer):\n    """It answers."""\n    assert "sorry" not in answer, "it apologises"\n'
    )
    return rows, write_jsonl(tmp_path / "tests.jsonl", TESTS)


@pytest.fixture
def run(files, tmp_path):
    """`run(*options)` curates the planted rows and returns the lines of the manifest and the rows that stay."""

    def curated(*options):
        rows, tests = files
        given = ["--against", str(tests), *LIMITS, "--curate.assertions", str(tmp_path / "checks.py")]
        assert main([str(rows), "--output", str(tmp_path / "out"), *given, *options]) == 0
        lines = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
        return lines, [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]

    return curated


def test_planted_rows_are_caught_with_the_right_reason_and_all_others_stay(run, files, capsys):
    before = [file.read_bytes() for file in files]
    lines, stay = run()
    assert stay == GOOD
    names = {"rows": files[0], "tests": files[1]}
    wanted = [(rule, reason.format(**names)) for _, rule, reason in PLANTED.values()]
    found = [(line.get("rule"), line.get("reason")) for line in lines[len(GOOD) :]]
    assert found[:-1] == wanted
    assert found[-1] == ("unreadable", "not JSON: Invalid control character at column 20")
    assert [(line["file"], line["row"]) for line in lines] == [(str(files[0]), n + 1) for n in range(len(lines))]
    assert [file.read_bytes() for file in files] == before
    printed = capsys.readouterr()
    assert "duplicate:prompt+answer           2    4.0%" in printed.out
    assert "stay                             40   80.0%" in printed.out
    assert "out/manifest.jsonl" in printed.err


def test_a_rule_is_undone_and_a_bound_moved_without_a_second_look(run, capsys):
    lines, stay = run()
    again, more = run("--keep", "leak", "--undo", "duplicate")
    assert "used again" in capsys.readouterr().err
    assert more == [
        *GOOD,
        *(PLANTED[name][0] for name in list(PLANTED)[:2]),
        *(PLANTED[n][0] for n in list(PLANTED)[3:6]),
    ]
    assert run("--curate.max-chars", "2000")[1] == [*GOOD, PLANTED["long"][0]]
    assert "used again" in capsys.readouterr().err
    assert run() == (lines, stay)
    assert [line["kept"] for line in again] != [line["kept"] for line in lines]
    capsys.readouterr()
    run("--curate.near-duplicates", "0.9")
    assert "used again" not in capsys.readouterr().err


def test_a_duplicate_is_kept_when_the_first_row_is_excluded():
    duplicate = Exclusion(DUPLICATE, "the same as", 0)
    entries = [
        Entry("a", 1, 900),
        Entry("a", 2, 9, found=(duplicate,)),
        Entry("b", 1, 9, found=(duplicate,)),
        Entry("b", 2, 9),
    ]
    decisions = [item.exclusion for item in decide(entries, Curate(max_chars=100))]
    assert decisions == [
        Exclusion(LENGTH, "900 characters, `max_chars` is 100"),
        None,
        Exclusion(DUPLICATE, "the same as a:1; kept: a:2", 0),
        None,
    ]
    assert [item.exclusion is None for item in decide(entries, Curate(keep=["duplicate"]))] == [True] * 4


def test_a_duplicate_of_an_excluded_near_duplicate_is_excluded():
    """The first is nearly the same as an earlier row, so its exact duplicate is one too."""
    near, equal = Exclusion("near-duplicate", "like", 0), Exclusion("duplicate:x", "the same as", 1)
    entries = [Entry("a", 1), Entry("a", 2, found=(near,)), Entry("a", 3, found=(equal,))]
    assert [item.exclusion is None for item in decide(entries, Curate())] == [True, False, False]


@pytest.fixture
def curate_rows(tmp_path, write_jsonl):
    """`curate_rows(rows, **settings)` returns the numbers of the rows left out, by rule."""

    def numbers(rows, entry=None, **settings):
        file = write_jsonl(tmp_path / "some.jsonl", rows)
        config = tmp_path / "c.yml"
        keys = {"base_model": "builtin/smollm2-135m-instruct", "learning_rate": 1e-4}
        keys |= {"datasets": [{"path": str(file), **(entry or {})}]}
        config.write_text(json.dumps({**keys, "curate": {"output": str(tmp_path / "c"), **settings}}))
        found = {}
        curate(load(str(config)), None)
        for line in (tmp_path / "c/manifest.jsonl").read_text().splitlines():
            values = json.loads(line)
            if not values["kept"]:
                found.setdefault(values["rule"], []).append(values["row"])
        return found

    return numbers


def test_pairs_of_columns(curate_rows):
    rows = [{"q": "a", "c": "x", "a": "1"}, {"q": "a", "c": "y", "a": "1"}, {"q": "a", "c": "x", "a": "2"}]
    assert curate_rows(rows, dedup_keys=[["q", "c"], ["q", "a"]]) == {"duplicate:q+c": [3], "duplicate:q+a": [2]}
    assert curate_rows(rows, dedup_keys=[["q", "c", "a"]]) == {}
    assert curate_rows(rows, dedup_keys=[["prompt"]]) == {}
    assert curate_rows([{"text": "x", "_id": 1}, {"text": "x", "_id": 2}]) == {"duplicate:prompt+answer": [2]}


def test_columns_that_count(curate_rows):
    rows = [{"question": "why?", "answer": "so", "note": "x" * 50}, {"question": "why not?" * 9, "answer": "so"}]
    assert curate_rows(rows, max_chars=40, columns=["question", "answer"]) == {"length": [2]}
    assert curate_rows(rows, max_chars=40, columns=["note"]) == {"length": [1]}
    assert curate_rows(rows, max_chars=40) == {"length": [1, 2]}
    assert curate_rows([*rows, rows[1]], leak_columns=[], dedup_keys=[], near_duplicates=0) == {}


def test_a_chat_is_compared_by_what_is_said(curate_rows):
    def chat(system, user, assistant):
        turns = {"system": system, "human": user, "gpt": assistant}
        return {"conversations": [{"from": role, "value": text} for role, text in turns.items()]}

    rows = [chat("Be kind.", "Why?", "So."), chat("Be short.", "Why?", "So."), chat("Be kind.", "Why?", "No.")]
    assert curate_rows(rows) == {}
    assert curate_rows([*rows, rows[1]]) == {"duplicate:prompt+answer": [4]}
    assert curate_rows(rows, dedup_keys=[["prompt"]]) == {"duplicate:prompt": [3]}
    assert curate_rows(rows, dedup_keys=[["answer"]]) == {"duplicate:answer": [2]}
    assert curate_rows(rows, dedup_keys=[["conversations"]]) == {}


def test_a_file_of_which_no_row_stays_is_empty_and_not_the_earlier_one(run, tmp_path, capsys):
    run()
    assert run("--curate.min-chars", "700")[1] == []
    assert f"{tmp_path / 'out/rows.jsonl'}  0 rows" in capsys.readouterr().out


def test_the_limit_on_an_assertion_is_that_of_the_config(files, tmp_path, capsys):
    (tmp_path / "checks.py").write_text("def test_hangs(answer):\n    while True: pass\n")
    given = [str(files[0]), "--output", str(tmp_path / "out"), "--curate.assertions", str(tmp_path / "checks.py")]
    assert main([*given, "--evaluation.assertion-seconds", "0.2"]) == 2
    assert "took over 0.2 s" in capsys.readouterr().err


MEANT = [
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Name the capital city of France.", "Paris is the capital of France."),
    ("How do I boil an egg?", "Put it in boiling water for eight minutes."),
    ("Write a function that adds two numbers in Python.", "def add(a, b): return a + b"),
    ("How can I boil an egg", "Put it into boiling water for 8 minutes"),
    ("", ""),
    ("", " "),
]


def test_rows_that_mean_the_same_are_out_and_the_rule_is_undone(tmp_path, write_jsonl, capsys):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"question": one, "answer": other} for one, other in MEANT])
    model = ["--curate.embedding-model", "builtin/smollm2-135m-instruct"]
    given = [str(rows), "--output", f"{tmp_path}/c", *model, "--curate.embedding-likeness", "0.8"]
    assert main(given) == 0
    lines = [json.loads(line) for line in (tmp_path / "c/manifest.jsonl").read_text().splitlines()]
    assert [line.get("rule") for line in lines] == [None, "same-meaning", None, None, "same-meaning", None, None]
    assert re.fullmatch(rf"a semantic duplicate \(cosine similarity 0\.90\d\) of {rows}:3", lines[4]["reason"])
    assert main([*given, "--keep", "same-meaning"]) == 0
    assert "the manifest is used again" in capsys.readouterr().err
    assert len((tmp_path / "c/rows.jsonl").read_text().splitlines()) == len(MEANT)


def test_vectors_are_the_same_in_any_batch_and_the_duplicates_are_those_of_all_pairs(monkeypatch):
    texts = [" ".join(words(seed % 9, 2 + 3 * (seed % 4))) for seed in range(40)] + ["", "word"]
    found = []
    for size, block in ((7, 4), (42, 16)):
        monkeypatch.setattr(semantic, "BLOCK", block)
        index = semantic.SemanticIndex("builtin/smollm2-135m-instruct", 0.7)
        for start in range(0, len(texts), size):
            index.add(texts[start : start + size])
        found.append(index.near_duplicates(without=[3]))
    vectors = np.memmap(index._file, np.float32, "r").reshape(len(texts), -1)
    assert not vectors[40].any()
    some = [number for number in range(len(texts)) if number != 40]
    centred = vectors - vectors[some].mean(axis=0)
    likeness = centred @ centred.T
    likeness /= np.outer(np.linalg.norm(centred, axis=1), np.linalg.norm(centred, axis=1))
    some.remove(3)
    wanted = {}
    for later in some:
        near = [n for n in some if n < later and n not in wanted and likeness[n, later] >= 0.7]
        if near:
            wanted[later] = near[0]
    assert 10 < len(wanted) < 30
    assert [{later: match.earlier for later, match in matches.items()} for matches in found] == [wanted, wanted]
    assert found[0][36].similarity == pytest.approx(found[1][36].similarity, abs=1e-3)


def test_complexity_is_the_number_of_different_words_or_a_function(curate_rows, tmp_path):
    rows = [{"text": "one two two two"}, {"text": "one two three four"}]
    assert curate_rows(rows, min_complexity=3) == {"complexity": [1]}
    assert curate_rows(rows, max_complexity=3) == {"complexity": [2]}
    (tmp_path / "own.py").write_text(
        "def length(row):\n    return len(row['text'])\n\ndef bad(row):\n    return row['x']\n"
    )
    assert curate_rows(rows, complexity=f"{tmp_path}/own.py:length", min_complexity=16) == {"complexity": [1]}
    with pytest.raises(ConfigError, match=r"bad` fails on .*some.jsonl:1: KeyError: 'x'"):
        curate_rows(rows, complexity=f"{tmp_path}/own.py:bad")


def test_bounds_in_tokens_are_those_of_the_model(tmp_path, write_jsonl, tokenizer):
    texts = ["one two three", "one two three four"]
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    assert [len(tokenizer(text)["input_ids"]) for text in texts] == [3, 4]
    assert main([str(rows), "--output", f"{tmp_path}/c", "--curate.max-tokens", "3"]) == 0
    assert json.loads((tmp_path / "c/rows.jsonl").read_text()) == {"text": texts[0]}
    assert main([str(rows), "--output", f"{tmp_path}/d", "--curate.min-tokens", "4"]) == 0
    assert json.loads((tmp_path / "d/rows.jsonl").read_text()) == {"text": texts[1]}


def test_rows_that_val_set_size_holds_out_are_those_of_training(
    tmp_path, write_config, write_jsonl, chat_rows, tokenizer
):
    rows = chat_rows(20)
    twice = [*rows, *({"messages": [*row["messages"][:2], {"role": "assistant", "content": "?"}]} for row in rows)]
    file = write_jsonl(tmp_path / "rows.jsonl", twice)
    keys = {"val_set_size": 6, "datasets": [{"path": str(file), "type": "chat_template"}]}
    config = load(str(write_config(tmp_path, **keys, curate={"output": str(tmp_path / "c")})))
    held_out = set(prepare_splits(config, tokenizer).held_out["row"])
    summary = curate(config, tokenizer)
    assert summary.held_out == 6
    kept = [json.loads(line) for line in (tmp_path / "c/rows.jsonl").read_text().splitlines()]
    aside = [json.loads(line) for line in (tmp_path / "c/rows.held_out.jsonl").read_text().splitlines()]
    assert aside == [twice[number - 1] for number in sorted(held_out)]
    asked = {item["messages"][1]["content"] for item in aside}
    assert summary.counts["leak"] == sum(item["messages"][1]["content"] in asked for item in twice) - 6
    assert not asked & {item["messages"][1]["content"] for item in kept}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--curate.columns", "[questoin]"], "no row has a column `questoin`; did you mean `question`?"),
        (["--keep", "near-dup"], "no rule `near-dup`; did you mean `near-duplicate`?"),
        (["--keep", "unreadable"], "an unreadable row cannot be kept"),
        (["--curate.near-duplicates", "0.1"], "takes a similarity from 0.5 to 1, or 0 for off, found 0.1"),
        (["--curate.min-chars", "9", "--curate.max-chars", "3"], "`min_chars: 9` must not be above `max_chars: 3`"),
        (["--output", "."], "`curate.output: .` has"),
        (["--against", "nothing.jsonl"], "no such file"),
        (["--curate.complexity", "own.py:f"], "own.py: no such file"),
    ],
)
def test_a_mistake_is_one_clear_error(options, message, tmp_path, write_jsonl, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", GOOD)
    assert main(["rows.jsonl", *options]) in (2, 3)
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not list(Path().glob("curated/*.part"))


def test_rows_that_change_meanwhile_are_an_error(run, files, tmp_path, monkeypatch, capsys):
    run()
    record = json.loads((tmp_path / "out/curate.json").read_text())
    assert record["counts"]["leak"] == 3
    shutil.copy(files[1], files[0])
    run()
    assert "used again" not in capsys.readouterr().err


def test_curate_and_check_call_the_same_rows_duplicates_and_show_the_twin(
    tmp_path, write_config, write_jsonl, tokenizer
):
    long = " ".join(words(1, 60))
    rows = [
        *({"id": n, "instruction": "Say whether the number is even", "input": n, "output": 2 * n} for n in range(5)),
        *({"id": n, "instruction": "Say whether the number is even", "input": n, "output": 2 * n} for n in (7, 1, 2)),
        *(
            {"id": n, "instruction": text, "output": "Yes."}
            for n, text in enumerate([long, changed(long), f"{long} 5"])
        ),
        {"id": 9, "instruction": long, "output": "No."},
    ]
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    keys = {"datasets": [{"path": str(file), "type": "alpaca"}], "curate": {"output": str(tmp_path / "c")}}
    config = load(str(write_config(tmp_path, **keys)))
    summary = curate(config, None)
    lines = [json.loads(line) for line in (tmp_path / "c/manifest.jsonl").read_text().splitlines()]
    findings = {item.code: item.hits for item in run_checks(config, tokenizer).findings}
    assert [line["row"] for line in lines if not line["kept"]] == [7, 8, 10]
    assert [hit.row for hit in findings["duplicate-row"]] == [7, 8]
    assert [(hit.row, hit.detail) for hit in findings["near-duplicate"]] == [
        (10, f"nearly as {file}:9 (not compared: id)")
    ]
    assert summary.not_compared == {"id": 12}
    (example,) = summary.examples["near-duplicate"]
    first, twin = summary.texts[example]
    assert "changed" in first
    assert first[:20] == twin[:20]
    shown = format_summary(summary, 3)
    assert f"        {first}\n        {twin}\n" in shown
    assert "dataset type does not read: id (12 rows)" in shown


def test_a_note_says_that_bookkeeping_is_compared_if_the_type_is_unknown(curate_rows, capsys):
    rows = [{"q": "why?", "a": "so", "uuid": number} for number in range(2)]
    assert curate_rows(rows) == {}
    assert "so all are compared, also uuid; set `type`" in capsys.readouterr().err
    assert curate_rows(rows, dedup_keys=[["q", "a"]]) == {"duplicate:q+a": [2]}
