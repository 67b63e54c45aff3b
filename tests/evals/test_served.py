"""`evaluate` with a model at a server: it is fed the trained tokens, and vLLM is started, asked and always ended."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stand_in import Says, StandIn, error
from tunesmith.checks.server import transformers_serve
from tunesmith.cli.evaluate import main
from tunesmith.cli.learning_curve import main as learning_curve
from tunesmith.modeling.generate import ModelVariant, Sampling, generate

pytestmark = pytest.mark.slow

VLLM = Path(__file__).parents[1] / "stand_in_vllm.py"


@pytest.fixture(scope="module")
def prompts(chat_rows, tokenizer):
    """The tokens that are trained before the answers of the held-out rows."""
    return [
        tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True).input_ids
        for row in chat_rows(12)[6:]
    ]


@pytest.fixture
def config(tmp_path, write_config, write_jsonl, chat_rows):
    """`config(**evaluation)` writes a config with six held-out rows."""
    rows = chat_rows(12)
    write_jsonl(tmp_path / "train.jsonl", rows[:6])
    write_jsonl(tmp_path / "held_out.jsonl", rows[6:])

    def write(**evaluation):
        return write_config(
            tmp_path,
            datasets=[{"path": str(tmp_path / "train.jsonl"), "type": "chat_template"}],
            test_datasets=[{"path": str(tmp_path / "held_out.jsonl"), "type": "chat_template"}],
            bf16=False,
            evaluation={"max_new_tokens": 8, "batch_size": 3, **evaluation},
        )

    return write


@pytest.fixture
def server():
    server = StandIn()
    yield server
    server.close()


def completes(text):
    return Says(body=json.dumps({"choices": [{"text": text, "finish_reason": "stop"}]}))


def evaluate(config, *options, code=0):
    """Run the command and return its report, if there is one."""
    assert main([str(config), *options]) == code
    file = config.parent / "out/evaluation/report.json"
    return json.loads(file.read_text()) if code == 0 else None


def answers(report, name):
    return [row["answers"][name]["text"] for row in report["rows"]]


def test_a_served_model_is_fed_the_trained_tokens_and_says_what_it_says_here(
    config, server, prompts, tokenizer, model_folder, capsys
):
    variant = ModelVariant("served", AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval())
    lock = threading.Lock()

    def script(body, number):
        sampling = Sampling(max_new_tokens=body["max_tokens"], temperature=body["temperature"])
        ends = body["stop_token_ids"]
        with lock:
            return completes(generate(variant, [body["prompt"]], tokenizer, sampling, ends=ends, batch_size=1)[0])

    server.script = script
    file = config(endpoint={"base_url": server.url, "model": "mine"})
    report = evaluate(file, "--compare")
    assert answers(report, "mine") == answers(report, "base")
    assert sorted(body["prompt"] for body in server.asked) == sorted(prompts)
    assert "loss" in report["summary"]["base"]
    assert "loss" not in report["summary"]["mine"]
    printed = capsys.readouterr()
    assert "mine: no eval loss, because a server does not report it" in printed.err
    assert "mine: 6 requests (0 replies from the cache)" in printed.err
    lines = [line.split() for line in printed.out.splitlines()]
    assert ["base", "mine"] in lines
    assert any(line[:2] == ["eval", "loss"] and line[-1] == "-" for line in lines)
    assert "base -> mine, 6 rows" in printed.out

    baseline = file.parent / "earlier.json"
    baseline.write_text(json.dumps(report))
    server.script = lambda body, number: completes("It is so.")
    evaluate(file, "--baseline", str(baseline))
    assert len(server.asked) == 12, "its weights may be others now: nothing is taken from an earlier evaluation"
    assert "eval loss" not in capsys.readouterr().out, "a row in which no model has a number"


def test_replies_are_reused_only_from_a_cache_that_the_user_names(config, server, tmp_path, capsys):
    server.script = lambda body, number: completes(f"It is {len(body['prompt'])}.")
    keys = {"base_url": server.url, "model": "mine", "cache": str(tmp_path / "kept")}
    first = evaluate(config(endpoint=keys))
    again = evaluate(config(endpoint=keys))
    assert answers(first, "mine") == answers(again, "mine")
    assert len(server.asked) == 6
    assert "mine: 0 requests (6 replies from the cache)" in capsys.readouterr().err
    evaluate(config(endpoint=keys, max_new_tokens=9))
    assert len(server.asked) == 12, "another length is another question"


@pytest.mark.parametrize("limit", [{"max_requests": 2}, {"max_cost": 20.0, "input_cost": 1_000_000, "output_cost": 0}])
def test_a_limit_ends_the_evaluation_and_the_next_one_goes_on(config, server, tmp_path, limit, capsys):
    completion = {"choices": [{"text": "Yes.", "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 10, "completion_tokens": 1}
    server.script = lambda body, number: Says(body=json.dumps(completion | {"usage": usage}))
    keys = {"base_url": server.url, "model": "mine", "cache": str(tmp_path / "kept"), "concurrency": 1}
    name, value = next(iter(limit.items()))
    evaluate(config(endpoint=keys | limit), code=5)
    assert f"`{name}: {value:g}` is reached" in capsys.readouterr().err
    assert len(server.asked) == 2
    assert len(answers(evaluate(config(endpoint=keys)), "mine")) == len(server.asked) == 6


def test_a_server_that_takes_text_alone_is_fed_the_trained_tokens_too(config, model_folder, tmp_path, prompts, capsys):
    with transformers_serve(model_folder, tmp_path) as served:
        keys = {"base_url": f"{served.url}/v1", "model": served.model, "concurrency": 1}
        report = evaluate(config(endpoint=keys))
        fed = [json.loads(line) for line in served.ids_file.read_text().splitlines()]
    assert sorted(ids for ids in fed if len(ids) > 1) == sorted(prompts)
    assert all(text and "<|" not in text for text in answers(report, served.model))
    assert capsys.readouterr().err.count("the server does not take token ids: prompts are sent as text") == 1


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (Says(status=400, body=error("this model takes 8 tokens")), r"no answer to \S+held_out.jsonl:1: .* 8 tokens"),
        (Says(status=404, body=error("no such model")), r"/v1/completions answers 404 .* is `model: mine` right"),
        (Says(status=402, body=error("your account is empty")), r"error: \S+ answers 402 .*: your account is empty\n$"),
    ],
)
def test_a_server_that_does_not_answer_ends_the_evaluation(config, server, says, message, capsys):
    server.script = lambda body, number: says
    evaluate(config(endpoint={"base_url": server.url, "model": "mine"}), code=2 if says.status == 404 else 5)
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        ({"endpoint": {"model": "m"}}, [], "`evaluation.endpoint.base_url` is missing"),
        ({"endpoint": {"model": "m", "base_url": "http://h/v1", "max_tokens": 9}}, [], "takes no `max_tokens`"),
        ({"endpoint": {"model": "m", "base_url": "http://h/v1", "temperature": 1}}, [], "takes no `temperature`"),
        ({"endpoint": {"model": "m", "base_url": "http://h/v1", "max_requests": 9}}, [], "which needs `cache`"),
        ({"endpoint": {"model": "m", "base_url": "http://h/v1"}, "backend": "vllm"}, [], "use only one"),
        ({"endpoint": {"model": "m", "base_url": "http://h/v1"}}, ["--base"], "stands for the tuned model"),
        ({"backend": "vllm"}, [], "needs vLLM, which is not installed: pip install vllm"),
    ],
)
def test_what_does_not_go_together_is_refused(config, keys, options, message, capsys):
    evaluate(config(**keys), *options, code=2)
    assert message in capsys.readouterr().err


def test_what_needs_the_model_itself_is_refused(config, capsys):
    file = config(backend="vllm")
    assert learning_curve([str(file)]) == 2
    assert "learning-curve needs the model itself" in capsys.readouterr().err


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """Put a stand-in for vLLM on the path; returns a function that reads what it was given."""
    program = tmp_path / "bin/vllm"
    program.parent.mkdir()
    program.write_text(VLLM.read_text().replace("#!/usr/bin/env python", f"#!{sys.executable}"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_VLLM", str(tmp_path / "given.jsonl"))
    return lambda: [json.loads(line) for line in (tmp_path / "given.jsonl").read_text().splitlines()]


def train(folder, rank=12):
    """Leave what training leaves of an adapter."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "out/adapter_config.json").write_text(json.dumps({"r": rank, "rank_pattern": {}}))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]


def test_vllm_is_started_with_the_adapter_asked_and_ended(config, vllm, tmp_path, prompts, model_folder):
    train(tmp_path)
    report = evaluate(config(backend="vllm"), "--compare")
    assert answers(report, "base") == ["It is base."] * 6
    assert answers(report, "tuned") == ["It is tuned."] * 6
    assert report["comparisons"][0]["after"] == "tuned"
    started, *asked = vllm()
    given = " ".join(started["arguments"])
    assert given.startswith(f"serve {model_folder} --host 127.0.0.1 --port ")
    for part in (
        f"--max-model-len {max(map(len, prompts)) + 8}",
        "--enable-lora --max-lora-rank 16",
        f"--lora-modules tuned={tmp_path}/out --served-model-name base",
        "--dtype float32",
    ):
        assert part in given
    assert [item["path"] for item in asked] == ["/v1/completions"] * 12
    assert sorted(item["body"]["prompt"] for item in asked) == sorted([*prompts, *prompts])
    assert not any(map(alive, started["processes"]))


def test_whole_models_are_served_one_after_the_other(config, vllm, tmp_path, model_folder):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.json").write_text("{}")
    keys = ["--adapter", "null", "--lora_r", "null", "--lora_target_linear", "false"]
    report = evaluate(config(backend="vllm"), "--compare", *keys)
    assert list(report["summary"]) == ["base", "tuned"]
    starts = [item["arguments"] for item in vllm() if "arguments" in item]
    assert [start[1] for start in starts] == [model_folder, str(tmp_path / "out")]


def test_the_last_words_of_a_vllm_that_does_not_start_are_shown(config, vllm, tmp_path, monkeypatch, capsys):
    train(tmp_path)
    monkeypatch.setenv("STAND_IN_MODE", "fail")
    evaluate(config(backend="vllm"), code=5)
    assert "`vllm serve` did not start: INFO loading / ValueError: vLLM does not yet" in capsys.readouterr().err
    assert not any(map(alive, vllm()[0]["processes"]))


@pytest.mark.parametrize("key", ["--peft_use_dora", "--load_in_8bit"])
def test_what_vllm_cannot_serve_is_refused_before_it_starts(config, vllm, tmp_path, key, capsys):
    train(tmp_path)
    evaluate(config(backend="vllm"), key, "true", code=2)
    assert f"vLLM cannot serve an adapter trained with `{key[2:]}`" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_vllm_is_ended_with_the_evaluation(config, vllm, tmp_path, number, monkeypatch):
    train(tmp_path)
    monkeypatch.setenv("STAND_IN_MODE", "slow")
    process = subprocess.Popen([sys.executable, "-m", "tunesmith", "evaluate", str(config(backend="vllm"))])
    given = tmp_path / "given.jsonl"
    while not (given.exists() and "path" in given.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(30) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert not any(map(alive, vllm()[0]["processes"]))
