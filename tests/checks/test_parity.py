"""Prompts are the same tokens in training, inference, the saved tokenizer and a server; if not, a caret says where."""

import copy
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunesmith.checks.catalogue import known_findings
from tunesmith.checks.parity import check_parity
from tunesmith.config.load import load

ALPACA = [{"instruction": f"Add {n} and 3.", "input": "", "output": f"It is {n + 3}."} for n in range(3)]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"  What is {n} + 1?\n"},
            {"role": "assistant", "content": f"{n + 1}"},
            {"role": "user", "content": "And é🤖?"},
            {"role": "assistant", "content": "No number.\n"},
        ]
    }
    for n in range(3)
]
HONEYCOMB = [
    {
        "conversations": [
            {
                "from": "system",
                "value": "Honeycomb is an observability platform that allows you to write queries to inspect trace "
                "data. You are an assistant that takes a natural language query (NLQ) and a list of valid columns and "
                "produce a Honeycomb query.",
            },
            {"from": "human", "value": "\n\nNLQ: \"errors by method\"\n\nColumns: ['error', 'http.method']"},
            {"from": "gpt", "value": '\n{"breakdowns": ["http.method"], "calculations": [{"op": "COUNT"}]}'},
        ]
    }
]
"""A row of the shape that the course on fine-tuning trains: `type: sharegpt, conversation: alpaca`."""

KEEPS_REASONING = (
    "{% if not fast %}Slow. {% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}) {% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def prove(tmp_path, tokenizer, model_folder, write_jsonl, write_config):
    """`prove(rows, type=..., **keys of the dataset)` returns the findings of a config with these rows by code."""

    def run(rows, *, server=False, with_tokenizer=None, keys=None, **dataset):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        config = load(str(write_config(tmp_path, datasets=[{"path": str(file), **dataset}], **(keys or {}))))
        chosen = with_tokenizer or tokenizer
        folder = model_folder if chosen is tokenizer else str(tmp_path / "no-model")
        return {item.code: item for item in check_parity(config, chosen, server=server, model_folder=folder)}

    return run


@pytest.fixture
def fake_server():
    """`fake_server(answer)` is the address of a server that answers `POST path, body` with `answer(path, body)`."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply({"data": [{"id": "a-model"}]})

            def do_POST(self):
                self.reply(answer(self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

            def reply(self, content):
                self.send_response(404 if content is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *arguments):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def caret_column(detail):
    """Return the two lines of tokens and the column of the caret."""
    _, left, right, caret = detail.split("\n")
    return left, right, caret.index("^")


@pytest.mark.parametrize(
    ("rows", "dataset"),
    [
        (CHATS, {"type": "chat_template"}),
        (CHATS, {"type": "chat_template", "chat_template": "chatml"}),
        (CHATS, {"type": "chat_template", "mask": "axolotl"}),
        (ALPACA, {"type": "alpaca"}),
        ([{"text": f"It is {n}. " * 200} for n in range(2)], {"type": "completion"}),
        (
            [{"segments": [{"label": False, "text": "Q: 1\nA:"}, {"label": True, "text": " 2"}]}],
            {"type": "input_output"},
        ),
    ],
)
def test_a_clean_set_passes_and_what_was_compared_is_said(prove, capsys, rows, dataset):
    assert {item.severity for item in prove(rows, **dataset).values()} <= {"info"}
    said = capsys.readouterr().err
    assert "have the same tokens in training, inference, " in said
    assert ("saved tokenizer, AutoTokenizer" if rows is CHATS else "text server") in said


def test_a_template_that_no_dataset_trains_is_named(prove):
    assert list(prove(ALPACA, type="alpaca")) == ["parity-untrained-template"]


def test_each_trained_answer_of_a_chat_is_a_prompt(prove, capsys):
    prove(CHATS, type="chat_template")
    assert "parity: 6 prompts" in capsys.readouterr().err


JINJA = {"type": "chat_template", "chat_template": "jinja", "chat_template_jinja": KEEPS_REASONING}


@pytest.mark.parametrize("keys", [{"train_on_inputs": True}, {"chat_template_kwargs": {"fast": True}}])
def test_settings_of_masks_and_templates_pass(prove, keys):
    assert not prove(CHATS, keys=keys, **JINJA)


def test_train_on_inputs_does_not_hide_a_prompt_that_cannot_be_served(prove):
    more = KEEPS_REASONING.replace("assistant\n{% endif %}", "assistant\n: {% endif %}")
    found = prove(CHATS, keys={"train_on_inputs": True}, **{**JINJA, "chat_template_jinja": more})
    assert {"parity-inference", "parity-tokenizer"} == set(found)
    left, right, column = caret_column(found["parity-inference"].hits[0].detail)
    assert (left[column : column + 3], right[column : column + 3]) == ("`1`", "`:`")


def test_the_courses_honeycomb_example_passes(prove, mistral_v1):
    assert "parity-text" not in prove(HONEYCOMB, type="sharegpt", conversation="alpaca", with_tokenizer=mistral_v1)


def test_as_axolotl_trained_the_courses_example_fails_at_token_50(prove, mistral_v1):
    keys = {"type": "sharegpt", "conversation": "alpaca", "mask": "axolotl"}
    found = prove(HONEYCOMB, with_tokenizer=mistral_v1, **keys)["parity-text"]
    assert (found.severity, found.count, found.hits[0].row) == ("error", 1, 1)
    assert found.hits[0].detail.startswith("differs at token 50 (training vs text server)\n")
    left, right, column = caret_column(found.hits[0].detail)
    assert left[column:].startswith("`▁###`(774)")
    assert right[column:].startswith("`###`(27332)")
    assert left[:column].split("...")[1] == right[:column].split("...")[1]


def test_alpaca_passes_with_the_same_tokenizer(prove, mistral_v1):
    assert not prove(ALPACA, type="alpaca", with_tokenizer=mistral_v1)


def test_an_added_token_that_swallows_the_newline_before_it_is_caught(prove, tokenizer):
    """Ex. 1 of the gotchas: Axolotl tokenizes each turn alone, so that the newline stays in training alone."""
    from tokenizers import AddedToken

    chatml = [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}]
    assert "parity-text" not in prove(chatml, type="sharegpt", conversation="chatml")
    greedy = copy.deepcopy(tokenizer)
    greedy.add_tokens([AddedToken("<|im_start|>", lstrip=True, special=True, normalized=False)], special_tokens=True)
    keys = {"type": "sharegpt", "conversation": "chatml", "with_tokenizer": greedy}
    assert "parity-text" not in prove(chatml, **keys)
    found = prove(chatml, mask="axolotl", **keys)["parity-text"]
    left, right, column = caret_column(found.hits[0].detail)
    assert left[column:].startswith("`Ċ`(198)")
    assert right[column:].startswith("`<|im_start|>`(1)")


def test_a_dataset_with_a_second_template_is_not_served_as_trained(
    tmp_path, tokenizer, model_folder, write_jsonl, write_config
):
    file = str(write_jsonl(tmp_path / "rows.jsonl", CHATS))
    datasets = [{"path": file, "type": "chat_template"}, {"path": file, **JINJA}]
    config = load(str(write_config(tmp_path, datasets=datasets)))
    (found,) = check_parity(config, tokenizer, server=False, model_folder=model_folder)
    assert (found.code, found.count) == ("parity-tokenizer", 3)
    assert found.hits[0].detail.startswith("differs at token 0 (training vs saved tokenizer)\n")
    left, right, column = caret_column(found.hits[0].detail)
    assert left[column:].startswith("`Slow`")
    assert right[column:].startswith("`<|im_start|>`(1)")


def test_the_shared_tokenizer_keeps_its_own_template(prove, tokenizer):
    before = tokenizer.chat_template
    prove(CHATS, type="chat_template", chat_template="chatml")
    assert tokenizer.chat_template == before


def test_bad_and_long_rows_are_left_to_the_other_findings(prove):
    long = {"messages": [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "b"}]}
    assert list(prove([{"messages": []}, long], type="chat_template")) == ["parity-no-prompt"]


def test_a_server_that_doubles_the_begin_token_is_caught_at_token_1(prove, tokenizer, fake_server):
    def answer(path, body):
        assert path == "/tokenize"
        assert body["model"] == "a-model"
        ids = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)["input_ids"]
        return {"tokens": [tokenizer.bos_token_id, *ids]}

    found = prove(CHATS, type="chat_template", server=fake_server(answer))["parity-server"]
    assert "differs at token 1 (training vs server http://127.0.0.1:" in found.hits[0].detail
    left, right, column = caret_column(found.hits[0].detail)
    assert right[column:].startswith("`<|im_start|>`(1)")
    assert not left[column:].startswith("`<|im_start|>`")


def test_a_server_that_only_counts_is_held_to_the_count(prove, tokenizer, fake_server):
    def counting(extra):
        def answer(path, body):
            if path == "/tokenize":
                return None
            assert (path, body["max_tokens"]) == ("/v1/completions", 1)
            return {"usage": {"prompt_tokens": len(tokenizer(body["prompt"])["input_ids"]) + extra}}

        return fake_server(answer)

    assert "parity-server" not in prove(ALPACA, type="alpaca", server=counting(0))
    assert " counts " in prove(ALPACA, type="alpaca", server=counting(1))["parity-server"].hits[0].detail


def test_a_server_that_refuses_is_quoted(prove, fake_server):
    found = prove(ALPACA, type="alpaca", server=fake_server(lambda path, body: None))
    assert "refuses: 404" in found["parity-server"].hits[0].detail


def test_an_address_without_a_server_is_an_error(prove):
    from tunesmith.errors import RunError

    with pytest.raises(RunError, match="names no model"):
        prove(ALPACA, type="alpaca", server="http://127.0.0.1:9")


def test_without_weights_no_server_is_started_and_it_is_said(prove, mistral_v1):
    pytest.importorskip("openai", reason="transformers serve is not installed")
    found = prove(ALPACA, type="alpaca", with_tokenizer=mistral_v1, server=True)
    assert "weights are not in a folder here" in found["parity-server-skipped"].title


def test_every_finding_is_in_the_docs():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs/parity.md").read_text(encoding="utf-8")
    assert [code for code in known_findings() if code.startswith("parity-") and f"`{code}`" not in page] == []


@pytest.mark.slow
def test_transformers_serve_feeds_the_trained_tokens_and_its_own_faults_are_seen(
    tmp_path, tokenizer, model_folder, write_jsonl, write_config, capsys
):
    """The ids are those that reached the model's embedding, for a request over HTTP."""
    pytest.importorskip("openai", reason="transformers serve is not installed")
    chats, texts = (str(write_jsonl(tmp_path / f"{n}.jsonl", rows)) for n, rows in enumerate((CHATS, ALPACA)))
    datasets = [{"path": chats, "type": "chat_template"}, {"path": texts, "type": "alpaca"}]
    config = load(str(write_config(tmp_path, datasets=datasets)))
    assert check_parity(config, tokenizer, model_folder=model_folder) == []
    assert capsys.readouterr().err.rstrip().endswith("transformers serve")  # all of them, or their number is said

    for turn in (reasoning := copy.deepcopy(CHATS))[1]["messages"][1:2]:
        turn["reasoning_content"] = "hm"  # which transformers serve does not pass on to the template
    write_jsonl(tmp_path / "0.jsonl", reasoning)
    config = load(str(write_config(tmp_path, datasets=[{**datasets[0], **JINJA}])))
    (found,) = check_parity(config, tokenizer, model_folder=model_folder)
    assert (found.code, found.count, found.hits[0].row) == ("parity-server", 1, 2)
    left, right, column = caret_column(found.hits[0].detail)
    assert left[column:].startswith("`(`")
    assert right[column:].startswith("`2`")


@pytest.mark.slow
def test_an_exported_folder_is_served_as_it_is(tmp_path, tokenizer, model_folder, write_jsonl, write_config, capsys):
    """A template that was edited in the folder since is seen, though the config and the base model are right."""
    pytest.importorskip("openai", reason="transformers serve is not installed")
    from pathlib import Path

    file = str(write_jsonl(tmp_path / "rows.jsonl", CHATS))
    config = load(str(write_config(tmp_path, datasets=[{"path": file, "type": "chat_template"}])))
    merged = tmp_path / "out/merged"
    merged.mkdir(parents=True)
    for item in Path(model_folder).iterdir():
        (merged / item.name).symlink_to(item)
    (merged / "chat_template.jinja").unlink()
    text = tokenizer.chat_template
    (merged / "chat_template.jinja").write_text(text.replace("<|im_start|>assistant\n", "<|im_start|>assistant"))
    assert (merged / "chat_template.jinja").read_text() != text
    (found,) = check_parity(config, tokenizer, model_folder=model_folder)
    assert f"serving the exported model in {merged}" in capsys.readouterr().err
    assert found.code == "parity-server"
    assert "`Ċ`(198)" in found.hits[0].detail
    assert "(end)" in found.hits[0].detail
