"""`judge`: the requests, the judgments, what a killed run leaves, and the reported figures."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from stand_in import Says, StandIn
from tunesmith.cli.judge import main
from tunesmith.evals.statistics import kappa, wilson

KEY = "sk-very-secret"


def verdict(outcome, critique="It says so."):
    return json.dumps({"critique": critique, "outcome": outcome})


def asked_about(body):
    """Return the answer that a request is about."""
    last = next(turn["content"] for turn in reversed(body["messages"]) if "<answer>" in turn["content"])
    return re.search("<answer>\n(.*)\n</answer>", last, re.DOTALL)[1]


def strict(body, number):
    """Call answers bad that hold the word wrong."""
    return Says(verdict("bad" if "wrong" in asked_about(body) else "good"))


@pytest.fixture
def server():
    server = StandIn()
    server.script = strict
    yield server
    server.close()


@pytest.fixture
def folder(tmp_path, server, write_config, write_jsonl, monkeypatch):
    """A folder with a config whose judge is at the stand-in, ten answers in rows.jsonl, three of them wrong."""
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint = {"model": "m", "base_url": server.url, "api_key_env": "MY_KEY", "cache": str(tmp_path / "cache")}
    endpoint |= {"input_cost": 1.0, "output_cost": 2.0, "retries": 1}
    write_config(tmp_path, judge={"rubric": "Good if right.\nElse bad.", "endpoint": endpoint})
    answers = [f"{'wrong' if n % 4 == 1 else 'right'} {n}" for n in range(10)]
    write_jsonl(tmp_path / "rows.jsonl", [{"question": f"q{n}", "answer": text} for n, text in enumerate(answers)])
    return tmp_path


def run(folder, *options, answers="rows.jsonl"):
    given = ["--answers", str(folder / answers)] if answers else []
    return main([str(folder / "config.yml"), *given, "--output", str(folder / "judged.jsonl"), *options])


def judged(folder):
    return [json.loads(line) for line in (folder / "judged.jsonl").read_text().splitlines()]


def test_answers_are_judged_and_counted(folder, server, capsys):
    assert run(folder) == 0
    out, err = capsys.readouterr()
    _, low, high = wilson(7, 10)
    assert [line.split() for line in out.splitlines()[:3]] == [["answer"], ["good", "7"], ["bad", "3"]]
    assert f"70% ({low:.0%} to {high:.0%})" in out
    assert "10 requests (0 replies from the cache), 100 tokens in, 50 out, cost 0.0002" in err
    rows = judged(folder)
    assert [row["outcome"] for row in rows] == ["bad" if n % 4 == 1 else "good" for n in range(10)]
    assert rows[1]["id"] == f"{folder / 'rows.jsonl'}:2"
    assert rows[1]["critique"] == "It says so."
    system, user = server.asked[0]["messages"]
    assert "Good if right.\nElse bad." in system["content"]
    assert user["role"] == "user"
    assert not any(KEY.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert KEY not in out + err


def test_a_second_run_asks_nothing_and_a_new_rubric_asks_all(folder, server):
    run(folder)
    before = (folder / "judged.jsonl").read_bytes()
    run(folder)
    assert len(server.asked) == 10
    assert (folder / "judged.jsonl").read_bytes() == before
    for file in (folder / "cache").iterdir():
        file.unlink()
    run(folder)
    assert len(server.asked) == 10, "the file of verdicts knows them too"
    run(folder, "--judge.rubric", "Good if short.")
    assert len(server.asked) == 20
    assert len(judged(folder)) == 10


def test_a_report_of_evaluate_has_a_column_for_each_model(folder, server, capsys):
    rows = [
        {
            "file": "eval.jsonl",
            "row": n,
            "question": f"q{n}",
            "reference": "",
            "answers": {"base": {"text": f"wrong {n}"}, "tuned": {"text": f"right {n}"}},
        }
        for n in range(3)
    ]
    report = folder / "out/run/evaluation.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"summary": {}, "rows": rows}))
    assert run(folder, answers=None) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [["base", "tuned"], ["good", "0", "3"], ["bad", "3", "0"]]
    assert judged(folder)[0]["id"] == "eval.jsonl:0:base"


def test_critiques_to_learn_from_are_shown_as_turns_and_rubrics_may_be_files(folder, server, write_jsonl):
    shots = [{"question": "1+1?", "answer": "3", "critique": "It is 2.", "outcome": "bad"}]
    write_jsonl(folder / "shots.jsonl", shots)
    (folder / "rubric.md").write_text("By the file.\n")
    run(folder, "--judge.rubric", "rubric.md", "--judge.examples", "shots.jsonl")
    system, question, said, last = server.asked[0]["messages"]
    assert "By the file." in system["content"]
    assert "<answer>\n3\n</answer>" in question["content"]
    assert json.loads(said["content"]) == {"critique": "It is 2.", "outcome": "bad"}
    assert asked_about({"messages": [last]}).startswith(("right", "wrong"))


def test_keys_of_the_endpoint_arrive_in_the_request(folder, server):
    run(
        folder,
        *["--judge.endpoint.model", "n", "--judge.endpoint.temperature", "0.5", "--judge.endpoint.max-tokens", "7"],
    )
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in server.asked} == {("n", 0.5, 7)}


def test_no_verdict_is_no_bad_answer(folder, server, capsys):
    """Words that do not parse, and a verdict without a thought before it, are a class of their own."""

    def script(body, number):
        text = asked_about(body)
        return Says(
            {"right 0": "I like it", "wrong 1": '{"outcome": "bad", "critique": "no"}'}.get(text, verdict("good"))
        )

    server.script = script
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert [line.split()[-1] for line in out.splitlines()[1:4]] == ["8", "0", "2"]
    assert "no verdict" in out
    assert "100% (68% to 100%)" in out
    first, second = judged(folder)[:2]
    assert (first["outcome"], second["outcome"]) == ("no verdict", "no verdict")
    assert "no reply of 2 has the form" in first["critique"]
    count = len(server.asked)
    run(folder)
    assert len(server.asked) == count, "the same words come from the cache"


def test_why_there_is_no_verdict_is_said_and_none_at_all_is_an_error(folder, server, capsys):
    server.script = lambda body, number: Says("I like it") if "wrong" in asked_about(body) else strict(body, number)
    assert run(folder) == 0
    assert "no verdict on 3 of 10 answers; on " in capsys.readouterr().err
    server.script = lambda body, number: Says("upstream is down", status=502)
    assert run(folder, "--judge.rubric", "Another.", "--judge.endpoint.retries", "0") == 5
    assert "502 Bad Gateway" in capsys.readouterr().err


def test_values_of_any_kind_are_read_as_text(folder, server, write_jsonl):
    write_jsonl(folder / "rows.jsonl", [{"question": "q", "answer": {"a": "ü"}}, {"question": "q", "answer": None}])
    assert run(folder) == 0
    assert [row["answer"] for row in judged(folder)] == ['{"a": "ü"}', ""]


@pytest.mark.parametrize("half", [r"cut \ud83d", "cut \ud83d"])
def test_half_a_character_in_a_critique_is_no_end(folder, server, half):
    server.script = lambda body, number: Says(json.dumps({"critique": "?", "outcome": "good"}).replace("?", half))
    assert run(folder) == 0
    assert {row["critique"] for row in judged(folder)} == {"cut ?"}


def test_a_limit_shows_what_there_is_and_the_next_run_goes_on(folder, server, capsys):
    assert run(folder, "--judge.endpoint.max-requests", "4") == 5
    out, err = capsys.readouterr()
    assert re.search(r"not judged +6\n", out)
    assert "error: `max_requests: 4` is reached. All replies are kept" in err
    assert len(judged(folder)) == 4
    assert run(folder) == 0
    assert len(server.asked) == 10
    assert run(folder, "--judge.rubric", "Another.", "--judge.endpoint.max-requests", "1") == 5
    assert len(judged(folder)) == 11, "a run that ends early takes no verdict away"


@pytest.mark.parametrize(
    ("options", "content", "code", "says"),
    [
        (["--judge.rubric", "none.md"], None, 2, "`judge.rubric: none.md`: no such file here or beside"),
        (["--judge.rubric", "empty.md"], None, 2, "`judge.rubric` is empty"),
        (["--judge.examples", "none.jsonl"], None, 3, "none.jsonl: no such file"),
        (["--answers", "none.jsonl"], None, 3, "none.jsonl: no such file; `tunesmith evaluate` writes"),
        ([], '{"question": "q"}', 3, "rows.jsonl:1: expected the columns question and answer, found question"),
        ([], '{"question": ', 3, "rows.jsonl:1: not JSON"),
        ([], "", 3, "rows.jsonl has no answers"),
        (["--judge.endpoint.api-key-env", "NOT_SET"], None, 2, "the environment variable NOT_SET is not set"),
        (["--judge.endpoint.retires", "3"], None, 2, "did you mean `retries`?"),
        (["--judge", "null"], None, 2, "has no block `judge`, such as\njudge:\n  rubric"),
        (["--against", "none.csv"], None, 3, "none.csv: no such file"),
    ],
)
def test_mistakes_are_told_in_a_line(folder, server, capsys, options, content, code, says):
    (folder / "empty.md").touch()
    if content is not None:
        (folder / "rows.jsonl").write_text(content)
    assert run(folder, *options) == code
    assert says in capsys.readouterr().err
    assert server.asked == []


def test_examples_that_do_not_fit_are_named(folder, capsys, write_jsonl):
    good = {"question": "q", "answer": "a", "critique": "c", "outcome": "good"}
    for change, says in [
        ({"critique": ""}, "needs the column critique"),
        ({"outcome": "ok"}, "is good or bad, found 'ok'"),
    ]:
        write_jsonl(folder / "shots.jsonl", [good, good | change])
        assert run(folder, "--judge.examples", "shots.jsonl") == 3
        assert re.search(rf"shots\.jsonl:2: .*{says}", capsys.readouterr().err)


def write_labels(folder, lines, head="id,question,answer,label,why"):
    (folder / "labels.csv").write_text("\n".join([head, *lines]) + "\n")


def test_verdicts_are_compared_with_labels(folder, server, capsys, write_jsonl):
    """48 of 50 good and 45 of 50 bad ones are found; two of them are examples of the judge and do not count."""
    lines = [f"g{n},q,{'wrong' if n < 2 else 'right'} {n},good," for n in range(50)]
    lines += [f'b{n},q,{"right" if n < 5 else "wrong"} b{n},Bad,"for a reason, {n}"' for n in range(50)]
    write_labels(folder, [*lines, "x1,q,shown 1,good,", "x2,q,shown 2,bad,", "x3,q,unlabelled,,"])
    shots = [{"question": "q", "answer": f"shown {n}", "critique": "c", "outcome": "good"} for n in (1, 2)]
    write_jsonl(folder / "shots.jsonl", shots)
    assert run(folder, "--against", str(folder / "labels.csv"), "--judge.examples", "shots.jsonl", "--show", "3") == 0
    out, err = capsys.readouterr()
    assert len(server.asked) == 100
    assert "excluded, because they are in `judge.examples`: 2 of the labels" in err
    table = {line[:20].strip(): line[20:].split() for line in out.splitlines() if line.strip()}
    assert out.count("labelled good, judged bad") == 2
    assert out.count("labelled bad, judged good") == 1
    assert "label     for a reason, 0\n  critique  It says so." in out
    assert "4 more; --show 7 shows all" in out
    assert table["labelled good"][-3:] == ["48", "2", "0"]
    assert table["labelled bad"][-3:] == ["5", "45", "0"]
    _, low, high = wilson(45, 47)
    assert table["precision of bad"][-6:] == ["45", "of", "47", "96%", f"{low:.0%}", "to", f"{high:.0%}"][1:]
    assert "recall of bad" in out
    assert "45 of 50" in out
    value, low, high = kappa("g" * 50 + "b" * 50, "g" * 48 + "b" * 2 + "g" * 5 + "b" * 45)
    assert f"{value:.2f}" in out
    assert f"{low:.2f} to {high:.2f}" in out
    assert "It is not to be trusted yet:\n- it finds 45 of 50 bad answers; more than 90% is wanted" in out


def test_a_judge_that_agrees_may_be_trusted_within_its_bounds(folder, server, capsys):
    write_labels(
        folder, [f"{n},q,{'wrong' if n % 2 else 'right'} {n},{'bad' if n % 2 else 'good'}," for n in range(100)]
    )
    assert run(folder, "--against", str(folder / "labels.csv")) == 0
    out = capsys.readouterr().out
    assert "It can be trusted on answers like these." in out
    assert "none of 50 bad answers was called good: of all, it may still be up to 6%" in out
    assert "all labels and judgments agree" in out


def test_few_labels_and_one_kind_are_said_to_be_too_little(folder, server, capsys):
    write_labels(folder, [f"{n},q,right {n},good," for n in range(8)])
    assert run(folder, "--against", str(folder / "labels.csv")) == 0
    out = capsys.readouterr().out
    assert "8 labels say too little: about 100 are wanted" in out
    assert "0 of 8 labels are bad: about half is wanted" in out
    assert "kappa cannot be computed" in out


def test_labels_may_name_answers_by_id(folder, server, capsys):
    place = folder / "rows.jsonl"
    write_labels(folder, [f"{place}:1,good", f"{place}:2,bad"], head="id,label")
    assert run(folder, "--against", str(folder / "labels.csv")) == 0
    assert "2 of 2" in capsys.readouterr().out
    assert run(folder, "--judge.labels", str(folder / "labels.csv"), "--against") == 0
    assert "2 of 2" in capsys.readouterr().out
    write_labels(folder, ["elsewhere:1,good"], head="id,label")
    assert run(folder, "--against", str(folder / "labels.csv")) == 3
    assert "no answer has the id 'elsewhere:1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("head", "line", "says"),
    [
        ("id,question,answer,label", "1,q,a,fine", "labels.csv:2: `label` is good or bad, found 'fine'"),
        ("question,label", "q,good", "labels.csv:2: expected the columns label, and id or question and answer"),
        ("question,answer,label", "q,a,good\nq,a,\nq,a,bad", ":4: the same answer is labelled good before, and bad"),
        ("question,answer,label", "q,a,", "has no label to measure with; `tunesmith label` makes some"),
    ],
)
def test_labels_that_do_not_fit_are_named(folder, capsys, head, line, says):
    write_labels(folder, [line], head=head)
    assert run(folder, "--against", str(folder / "labels.csv")) == 3
    assert says in capsys.readouterr().err


def test_two_judges_do_not_write_one_file(folder, capsys):
    from filelock import FileLock

    with FileLock(str(folder / ".judged.jsonl.lock")):
        assert run(folder) == 5
    assert "another process writes" in capsys.readouterr().err


@pytest.mark.slow
def test_kills_at_any_moment_lose_nothing_and_ask_nothing_twice(folder, server, write_jsonl):
    """A request that was in flight at the kill may be sent again: its reply was never here."""
    rows, kills, at_once = 200, 20, 4
    write_jsonl(folder / "rows.jsonl", [{"question": f"q{n}", "answer": f"right {n}"} for n in range(rows)])
    server.script = lambda body, number: Says(verdict("good"), seconds=random.uniform(0.005, 0.04))
    command = [sys.executable, "-m", "tunesmith", "judge", str(folder / "config.yml"), "--answers"]
    command += [str(folder / "rows.jsonl"), "--output", str(folder / "judged.jsonl")]
    command += ["--judge.endpoint.concurrency", str(at_once)]
    random.seed(0)
    survived: set[str] = set()
    for _ in range(kills):
        sent = len(server.asked)
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | {"MY_KEY": KEY}
        )
        while process.poll() is None and len(server.asked) == sent and len(survived) < rows:
            time.sleep(0.005)  # the start takes longer than the work
        time.sleep(random.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = (folder / "judged.jsonl").read_bytes().split(b"\n")[:-1]
        now = {json.loads(line)["answer"] for line in lines}
        assert survived <= now, "nothing is lost"
        asked_in_this_run = {asked_about(body) for body in server.asked[sent:]}
        assert not asked_in_this_run & survived, "nothing is asked twice"
        survived = now
    assert survived
    assert subprocess.run(command, capture_output=True, env=os.environ | {"MY_KEY": KEY}).returncode == 0
    assert [row["answer"] for row in judged(folder)] == [f"right {n}" for n in range(rows)]
    again = len(server.asked) - rows
    print(f"{rows} answers, {kills} kills, {len(server.asked)} requests: {again} were in flight at a kill")
    assert again <= kills * at_once
    assert not list(folder.glob(".*unfinished"))
