"""Rows are made after seeds: what is good is taken, what is not is mended or turned down with its reasons."""

import hashlib
import json
import multiprocessing
import random
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from stand_in import Says, StandIn
from tunesmith.cli.generate import main
from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.errors import RunError
from tunesmith.synth.diversity import find_choices, measure_diversity
from tunesmith.synth.generate import generate
from tunesmith.synth.prompts import common_schema

KINDS = ("COUNT", "SUM", "AVG", "MAX")
SEEDS = [
    {"question": f"How do I ask for seed number {n}?", "op": KINDS[n % 4], "answer": f"seed {n}"} for n in range(8)
]


@pytest.fixture
def server():
    server = StandIn()
    server.script = lambda body, number: Says(json.dumps(written(body)))
    yield server
    server.close()


def written(body, **columns):
    """Return a row that depends on nothing but what is asked, as of a model that is run with a seed."""
    choice = random.Random(json.dumps([body["messages"], body["seed"]]))
    words = " ".join(choice.choices([f"word{n}" for n in range(500)], k=20))
    return {"question": f"{words}?", "op": choice.choice(KINDS), "answer": f"{words}."} | columns


@pytest.fixture
def config(server, tmp_path, write_jsonl, write_config):
    """`config(**keys)` is a config whose `generate` block asks the stand-in."""
    seeds = write_jsonl(tmp_path / "seeds.jsonl", SEEDS)

    def make(endpoint=None, beside=None, **keys):
        asked = {"model": "m", "base_url": server.url, "cache": str(tmp_path / "cache"), "temperature": 0.7}
        block = {"seeds": str(seeds), "output": str(tmp_path / "made.jsonl"), "rows": 10}
        block |= {"endpoint": {**asked, "retries": 1, **(endpoint or {})}, **keys}
        return str(write_config(tmp_path, generate=block, **(beside or {})))

    return make


def run(file):
    loaded = load(file)
    return generate(loaded, loaded.synthesis.generate)


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_rows_are_made_with_their_provenance_and_train(config, server, tmp_path, tokenizer, capsys):
    entry = {"path": str(tmp_path / "made.jsonl"), "type": "alpaca", "field_instruction": "question"}
    file = config(beside={"datasets": [{**entry, "field_output": "answer"}]}, rows=70)
    assert main([file]) == 0
    rows = lines(tmp_path / "made.jsonl")
    assert len(rows) == len(server.asked) == 70
    made = rows[0].pop("_provenance")
    (first,) = [body for body in server.asked if body["seed"] == 43]
    assert rows[0] == written(first)
    shown = [f"{tmp_path}/seeds.jsonl:{n + 1}" for n in range(8) if SEEDS[n]["question"] in str(first)]
    assert {**made, "seeds": sorted(made["seeds"])} == {
        "model": "m",
        "prompt": made["prompt"],
        "number": 1,
        "seeds": sorted(shown),
        "tries": 1,
    }
    assert prepare_splits(load(file), tokenizer).train.num_rows == 70
    printed = capsys.readouterr().out
    assert "values of op" in printed
    assert "70 requests (0 replies from the cache), 700 tokens in, 350 out" in printed
    assert main([file]) == 0
    assert len(server.asked) == 70


def test_what_is_wrong_goes_back_with_the_reason_and_is_given_up_in_the_end(config, server, tmp_path):
    (tmp_path / "checks.py").write_text(
        'def test_asks(question, answer):\n    """It asks."""\n    assert question.endswith("?"), "no question mark"\n'
    )
    seeds = [
        Says(json.dumps(written({"messages": 1, "seed": 1}, question="no question"))),
        Says(json.dumps(SEEDS[2])),
        Says(json.dumps(written({"messages": 3, "seed": 3}, answer=7))),
        Says("I would rather not."),
    ]

    def script(body, number):
        first, prompt = len(body["messages"]) == 1, body["seed"] - 42
        if prompt <= 4 and (first or prompt in (1, 4)):
            return seeds[prompt - 1]
        return Says(json.dumps(written(body)))

    server.script = script
    outcome = run(config(assertions=str(tmp_path / "checks.py"), endpoint={"retries": 0}))
    rows, down = lines(tmp_path / "made.jsonl"), lines(tmp_path / "made.rejected.jsonl")
    assert [row["_provenance"]["number"] for row in rows if row["_provenance"]["tries"] == 2] == [2]
    assert {item["_provenance"]["number"]: (item["fault"], item["reasons"]) for item in down} == {
        1: ("test_asks", ["test_asks: no question mark"] * 2),
        3: ("form", ["no reply of 1 has the form that is asked for: $.answer: 7 is not of type 'string'"]),
        4: ("form", ["no reply of 1 has the form that is asked for: it holds no JSON value"]),
    }
    assert outcome.faults == {"test_asks": 2, "form": 2, "duplicate": 1}
    (mended,) = [body["messages"] for body in server.asked if body["seed"] == 44 and len(body["messages"]) == 3]
    assert mended[1] == {"role": "assistant", "content": json.dumps(SEEDS[2])}
    assert f"it asks the same as the seed {tmp_path}/seeds.jsonl:3" in mended[2]["content"]
    assert len(rows) == 10
    assert all(row["question"].endswith("?") for row in rows)


def test_rows_that_say_nearly_the_same_are_out(config, server, tmp_path):
    same = written({"messages": 0, "seed": 0})

    def script(body, number):
        near = {**same, "question": f"{'Now' + chr(body['seed'])} {same['question']}"}
        return Says(json.dumps(near if body["seed"] % 2 else written(body)))

    server.script = script
    outcome = run(config(heal=0))
    rows = lines(tmp_path / "made.jsonl")
    assert [row["_provenance"]["number"] for row in rows] == [1, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert outcome.faults == {"near-duplicate": 8}
    assert lines(tmp_path / "made.rejected.jsonl")[0]["reasons"] == [
        "it is a near-duplicate of the row of prompt 1 (similarity 0.90)"
    ]
    assert run(config(heal=0, near_duplicates=0)).faults == {}


def test_rows_fit_the_schema(config, server, tmp_path):
    columns = {"question": {"type": "string"}, "op": {"enum": ["SUM"]}, "answer": {"type": "string"}}
    outcome = run(config(row_schema={"type": "object", "properties": columns}, endpoint={"retries": 0}))
    assert {row["op"] for row in lines(tmp_path / "made.jsonl")} == {"SUM"}
    assert outcome.faults["form"] > 10
    (tmp_path / "row.json").write_text(json.dumps({"type": "object", "required": ["other"]}))
    with pytest.raises(RunError, match="'other' is a required property"):
        run(config(row_schema="row.json", endpoint={"retries": 0}))


def test_keys_of_the_endpoint_arrive_in_the_request(config, server):
    run(config(rows=1, endpoint={"model": "big", "temperature": 0.3, "max_tokens": 77}))
    (body,) = server.asked
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == ("big", 0.3, 77, 43)


def test_the_judge_has_the_last_word(config, server, tmp_path, capsys):
    def script(body, number):
        asked = body["messages"][-1]["content"]
        if "<answer>" not in asked:
            return Says(json.dumps(written(body)))
        outcome = "bad" if "<answer>\nword1" in asked else "good"
        return Says(json.dumps({"critique": f"It is {outcome}.", "outcome": outcome}))

    server.script = script
    judge = {"rubric": "It does not begin with 1.", "endpoint": {"model": "j", "base_url": server.url}}
    judge["endpoint"]["cache"] = str(tmp_path / "judged")
    assert main([config(judge=True, heal=0, rows=20, beside={"judge": judge})]) == 0
    down = lines(tmp_path / "made.rejected.jsonl")
    assert {(item["fault"], *item["reasons"]) for item in down} == {("judge", "It is bad.")}
    assert all(json.loads(item["text"])["answer"].startswith("word1") for item in down)
    assert not any(row["answer"].startswith("word1") for row in lines(tmp_path / "made.jsonl"))
    assert f"judge: {20 + len(down)} requests" in capsys.readouterr().err


def test_a_row_that_is_judged_bad_is_taken_once_it_is_mended(config, server, tmp_path):
    """It is no twin of what it was before, nor is another row."""

    def script(body, number):
        messages = body["messages"]
        if "<answer>" in messages[-1]["content"]:
            outcome = "bad" if "WRONG" in messages[-1]["content"] else "good"
            return Says(json.dumps({"critique": f"It is {outcome}.", "outcome": outcome}))
        if len(messages) > 1:
            return Says(messages[-2]["content"].replace("WRONG ", ""))
        made = written(body)
        return Says(json.dumps({**made, "answer": f"WRONG {made['answer']}"}))

    server.script = script
    endpoint = {"model": "j", "base_url": server.url, "cache": str(tmp_path / "judged")}
    assert main([config(judge=True, heal=1, beside={"judge": {"rubric": "Right.", "endpoint": endpoint}})]) == 0
    assert [row["_provenance"]["tries"] for row in lines(tmp_path / "made.jsonl")] == [2] * 10


def test_half_a_character_in_a_reply_is_no_end(config, server, tmp_path):
    server.script = lambda body, number: Says(json.dumps(written(body, answer=f"cut \ud83d {number}")))
    run(config(rows=2))
    assert [row["answer"][:5] for row in lines(tmp_path / "made.jsonl")] == ["cut ?"] * 2


def kept_replies(folder):
    """Return how many replies are on disk; the file may not be there yet."""
    if not (folder / "replies.sqlite").exists():
        return 0
    with closing(sqlite3.connect(folder / "replies.sqlite")) as base:
        there = base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return base.execute("SELECT count(*) FROM replies").fetchone()[0] if there else 0


def test_a_run_that_is_killed_twenty_times_asks_nothing_twice_and_makes_the_same_rows(config, server, tmp_path):
    def script(body, number):
        time.sleep(0.01)
        broken = int(hashlib.sha256(json.dumps([body["messages"], body["seed"]]).encode()).hexdigest(), 16) % 4 == 0
        return Says("what?" if broken else json.dumps(written(body)))

    server.script = script
    file = config(rows=150, endpoint={"concurrency": 4})
    choice = random.Random(1)
    for killed in range(1, 21):
        process = multiprocessing.get_context("fork").Process(target=run, args=(file,))
        process.start()
        enough = len(server.asked) + choice.randint(0, 5)
        while len(server.asked) < enough and process.is_alive():
            time.sleep(0.001)
        assert process.is_alive()
        process.kill()
        process.join()
        in_flight = len(server.asked) - kept_replies(tmp_path / "cache")
        assert in_flight <= 4 * killed
    run(file)
    needed = kept_replies(tmp_path / "cache")
    assert len(server.asked) - needed <= 4 * 20
    made = (tmp_path / "made.jsonl").read_text()
    server.asked.clear()
    shutil.rmtree(tmp_path / "cache")
    run(file)
    assert (tmp_path / "made.jsonl").read_text() == made
    assert made.count("\n") == 150
    assert len({json.dumps(body) for body in server.asked}) == needed


def test_a_limit_stops_and_the_next_run_goes_on(config, server, tmp_path, capsys):
    file = config(rows=100, endpoint={"max_requests": 70, "concurrency": 1})
    assert main([file]) == 5
    printed = capsys.readouterr().err
    assert "`max_requests: 70` is reached" in printed
    assert "70 requests (0 replies from the cache), 700 tokens in" in printed
    assert len(lines(tmp_path / "made.jsonl")) == 64
    assert main([file]) == 0
    assert len(lines(tmp_path / "made.jsonl")) == len(server.asked) == 100
    assert main([config(rows=100, prompt="again {{ number }}", endpoint={"max_requests": 70})]) == 5
    assert "stays as it is" in capsys.readouterr().err
    assert len(lines(tmp_path / "made.jsonl")) == 100


def test_a_limit_of_the_cost_stops(config, server, capsys):
    """Each request has 10 tokens in and 5 out, at 1 and 2 for a token."""
    costs = {"max_cost": 100, "input_cost": 1_000_000, "output_cost": 2_000_000, "concurrency": 1}
    assert main([config(rows=100, endpoint=costs)]) == 5
    assert "`max_cost: 100` is reached" in capsys.readouterr().err
    assert len(server.asked) == 5


@pytest.mark.parametrize("heal", [0, 2])
def test_a_row_goes_back_as_often_as_asked_for(config, server, heal, tmp_path):
    (tmp_path / "checks.py").write_text("def test_never(question):\n    assert not question\n")
    assert main([config(rows=1, heal=heal, assertions=str(tmp_path / "checks.py"))]) == 5
    assert {len(body["messages"]) for body in server.asked} == set(range(1, 2 * heal + 2, 2))


def test_a_file_that_was_edited_is_not_written_over(config, tmp_path, capsys):
    run(config())
    run(config(rows=11))
    with (tmp_path / "made.jsonl").open("a") as file:
        file.write("{}\n")
    assert main([config(rows=12)]) == 5
    assert "made.jsonl is not as `generate` wrote it" in capsys.readouterr().err


def test_prompts_that_give_nothing_end_the_run(config, server, capsys):
    server.script = lambda body, number: Says(json.dumps(SEEDS[0]))
    assert main([config(heal=0)]) == 5
    assert "200 prompts in a row gave no valid row" in capsys.readouterr().err


def test_a_dry_run_shows_the_prompt_and_asks_nothing(config, server, capsys, tmp_path):
    file = config(prompt="{{ number }}: {{ seeds | length }} of {{ schema.required | join(' ') }}", rows=1000)
    assert main([file, "--dry-run", "--generate.endpoint.input-cost", "10"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "1: 3 of question op answer\n"
    assert "about 1,000 requests, " in printed.err
    assert "cost 0.0" in printed.err
    assert not server.asked
    (tmp_path / "own.jinja").write_text("seeds: {{ seeds | length }}")
    assert main([config(prompt="own.jinja", seeds_per_prompt=5), "--dry-run"]) == 0
    assert capsys.readouterr().out == "seeds: 5\n"
    assert main([config(assertions="none.py"), "--dry-run"]) == 2
    assert "none.py: no such file" in capsys.readouterr().err


def test_another_seed_draws_other_seeds(config):
    one, two, three = (run(config(seed=seed)) for seed in (1, 2, 1))
    assert one.accepted == three.accepted != two.accepted


def test_a_schema_says_what_the_seeds_have_in_common():
    rows = [{"a": "x", "b": [1, 2.5], "c": {"d": True}}, {"a": None, "b": []}]
    assert common_schema(rows) == {
        "type": "object",
        "properties": {
            "a": {"type": ["null", "string"]},
            "b": {"type": "array", "items": {"type": "number"}},
            "c": {
                "type": "object",
                "properties": {"d": {"type": "boolean"}},
                "required": ["d"],
                "additionalProperties": False,
            },
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }


def test_figures_of_diversity():
    choices = find_choices(SEEDS)
    assert choices == {"op": set(KINDS)}
    found = measure_diversity([{"question": "a b a", "op": "SUM"}, {"question": "a c", "op": "OTHER"}], choices)
    assert found.rows == 2
    assert found.distinct_1 == pytest.approx(5 / 7)
    assert found.words == (3, 3.5, 4)
    assert found.coverage == {"op": 1}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"prompt": "{{ sead }}"}, "`generate.prompt`: 'sead' is undefined; known are seeds, number and schema"),
        ({"prompt": "{% for %}"}, "`generate.prompt`, line 1: "),
        ({"prompt": "{{ 1 / 0 }}"}, "`generate.prompt`: division by zero; known are"),
        ({"prompt": "none.jinja"}, "`generate.prompt: none.jinja`: no such file"),
        ({"row_schema": {"type": "strange"}}, "`generate.row_schema` is no JSON schema: 'strange' is not valid"),
        ({"row_schema": {"type": "array"}}, "a row is an object with columns"),
        ({"row_schema": "none.json"}, "No such file"),
        ({"seeds": "none.jsonl"}, "none.jsonl`: no such file"),
        ({"judge": True}, "`generate.judge: true` needs `judge`"),
        ({"output": "rows.csv"}, "must end in .jsonl"),
        ({"assertions": "none.py"}, "none.py: no such file"),
    ],
)
def test_a_mistake_is_one_clear_error(keys, message, config, server, capsys):
    assert main([config(**keys)]) in (2, 3)
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not server.asked


def test_a_schema_that_names_a_part_it_lacks_is_one_clear_error(config, capsys):
    schema = {"type": "object", "properties": {"question": {"$ref": "#/nothing"}}}
    assert main([config(row_schema=schema)]) == 2
    assert "the JSON schema has a `$ref` that leads nowhere" in capsys.readouterr().err


def test_a_config_without_the_block_says_so(tmp_path, write_config, capsys):
    assert main([str(write_config(tmp_path))]) == 2
    assert "has no `generate` block" in capsys.readouterr().err
