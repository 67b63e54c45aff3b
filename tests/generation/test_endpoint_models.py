"""The endpoint with the real model: served by `transformers serve`, and in this process."""

import pytest

from tunesmith.checks.server import transformers_serve
from tunesmith.cli.train import main as train
from tunesmith.errors import ConfigError, ModelError
from tunesmith.generation.endpoint import Refused, Request, Stopped, open_endpoint
from tunesmith.sections import EndpointSection

pytestmark = pytest.mark.slow

MODEL = "builtin/smollm2-135m-instruct"
QUESTIONS = ["Name a colour.", "What is the capital of France?", "Say hello in five words or more, please."]
REQUESTS = [Request([{"role": "user", "content": text}], max_tokens=6) for text in QUESTIONS]
SCHEMA = {"type": "object", "required": ["colour"]}


@pytest.fixture
def ask(tmp_path):
    """`ask(requests, **keys)` returns what became of them, in their order, and what was spent."""

    def run(requests, **keys):
        section = EndpointSection(**{"cache": str(tmp_path / "cache"), "model": MODEL, "retries": 1, **keys})
        with open_endpoint(section, "file.yml") as endpoint:
            found = dict(endpoint.ask(requests))
            return [found[number] for number in range(len(requests))], endpoint.spent

    return run


def test_a_served_model_and_the_same_one_here_say_the_same(ask, model_folder, tmp_path):
    here, spent = ask(REQUESTS, concurrency=2)
    assert spent[:2] == (3, 0)
    assert all(reply.text for reply in here)
    again, spent = ask(REQUESTS, concurrency=2)
    assert again == [reply._replace(cached=True) for reply in here]
    assert spent.requests == 0
    with transformers_serve(model_folder, tmp_path) as server:
        keys = {"base_url": f"{server.url}/v1", "model": server.model}
        served, _ = ask(REQUESTS, **keys, concurrency=2)
        assert [reply.text for reply in served] == [reply.text for reply in here]
        assert [reply[1:3] for reply in served] == [reply[1:3] for reply in here], "both count tokens alike"
        (found,), spent = ask([REQUESTS[0]._replace(schema=SCHEMA)], **keys)
        assert isinstance(found, Refused), "a small model writes no JSON, and the server does not make it"
        assert (spent.requests, "has the form" in found.reason) == (2, True)
        with pytest.raises(ConfigError, match=r"answers 40\d"):
            ask(REQUESTS, **keys | {"base_url": server.url})


def test_a_limit_and_a_prompt_that_is_too_long_for_a_model_here(ask):
    long = Request([{"role": "user", "content": "word " * 9000}], max_tokens=6)
    found, spent = ask([long, REQUESTS[0]])
    assert found[0].reason == "the prompt has 9031 tokens, and with `max_tokens` the model takes 8186"
    assert (found[1].text != "", spent.requests) == (True, 1)
    with pytest.raises(Stopped, match="max_requests: 1"):
        ask(REQUESTS, max_requests=1)
    _, spent = ask(REQUESTS)
    assert (spent.requests, spent.cached) == (1, 2), "what was within the limit is kept"


def test_other_weights_in_a_folder_are_another_model(tmp_path, model_folder, monkeypatch):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    section = EndpointSection(model=str(tmp_path), cache=str(tmp_path / "cache"))
    keys = []
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        with open_endpoint(section, "file.yml") as endpoint:
            keys.append(endpoint.key(REQUESTS[0]))
    assert keys[0] != keys[1]


def test_the_folder_of_a_run_speaks_with_what_it_has_learnt(ask, tmp_path, write_config, write_jsonl):
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "Honey!"}] for text in QUESTIONS]
    rows = write_jsonl(tmp_path / "honey.jsonl", [{"messages": messages} for messages in turns])
    datasets = [{"path": str(rows), "type": "chat_template"}]
    steps = {"max_steps": 9, "num_epochs": None, "learning_rate": 3e-3}
    assert train([str(write_config(tmp_path, datasets=datasets, **steps))]) == 0
    run = tmp_path / "out"
    base, _ = ask(REQUESTS)
    assert "Honey!" not in [reply.text for reply in base]
    found, spent = ask(REQUESTS, model=str(run), concurrency=2)
    assert [reply.text for reply in found] == ["Honey!"] * 3
    assert spent.requests == 3, "it is another model than its base, whose replies are no answer"
    long = Request([{"role": "user", "content": "word " * 9000}], max_tokens=6)
    (refused,), _ = ask([long], model=str(run))
    assert refused.reason.endswith("the model takes 8186")


def test_a_model_that_is_not_there_is_named(ask, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((ConfigError, ModelError), match="none/such"):
        ask(REQUESTS[:1], model="none/such")
