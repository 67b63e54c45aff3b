"""The result is pushed to the Hub: against a stand-in of the Hub on this machine."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml
from huggingface_hub import get_token

from tunesmith import hub
from tunesmith.errors import RunError
from tunesmith.sections import TrackingSection
from tunesmith.training.record.publish import hub_arguments, model_card
from tunesmith.training.record.run_record import RunRecord
from tunesmith.world import World


class Hub(BaseHTTPRequestHandler):
    """Takes repositories of `me` and what is committed to them; notes both in `asked` and `commits`."""

    def do_GET(self):
        self.answer({}, status=404 if self.path.startswith("/api/models/others/") else 200)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.server.asked.append(asked)
            if asked.get("organization") == "others":
                self.answer({"error": "You don't have the rights to create a model under the namespace others"}, 403)
            else:
                self.answer({"url": f"http://{self.headers['Host']}/me/{asked['name']}"})
        elif "/branch/" in path:
            self.server.asked.append(path)
            self.answer({})
        elif "/preupload/" in path:
            files = [
                {"path": item["path"], "uploadMode": "regular", "shouldIgnore": False}
                for item in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif "/commit/" in path:
            self.commit(path.rpartition("/")[2], [json.loads(line) for line in body.splitlines()])
        else:
            self.answer({"errors": [], "warnings": []})

    def commit(self, branch, lines):
        files = {
            item["value"]["path"]: base64.b64decode(item["value"]["content"]) for item in lines if item["key"] == "file"
        }
        self.server.commits.append((branch, lines[0]["value"]["summary"], files))
        address = f"http://{self.headers['Host']}/me/bees/commit/{'1' * 40}"
        self.answer({"success": True, "commitUrl": address, "commitOid": "1" * 40})

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The stand-in, which processes that a test starts take for the Hub."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    made.asked, made.commits = [], []
    Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{made.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield made
    made.shutdown()
    made.server_close()


def test_checkpoints_and_the_result_with_record_and_card_are_pushed(server, tmp_path, tiny_config, start):
    keys = {"hub_model_id": "bees", "hub_strategy": "checkpoint", "hub_revision": "first", "comet_api_key": "hush"}
    file = tiny_config(tmp_path, max_steps=2, save_steps=1, save_strategy="steps", val_set_size=2, **keys)
    process = start(file)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert "pushed to bees, branch first" in printed
    assert server.asked[0]["name"] == "bees"
    assert server.asked[0].get("private") or server.asked[0]["visibility"] == "private"
    assert server.asked[1] == "/api/models/bees/branch/first"
    assert {branch for branch, _, _ in server.commits} == {"first"}
    steps = [summary for _, summary, _ in server.commits]
    assert sorted(steps[:-1]) == sorted(
        f"Training in progress, step {step}{what}" for step in (1, 2) for what in ("", ", checkpoint")
    )
    assert any("last-checkpoint/optimizer.pt" in files for _, _, files in server.commits)
    result = server.commits[-1][2]
    weights = (tmp_path / "out/adapter_model.safetensors").read_bytes()
    assert result["adapter_model.safetensors"] == weights
    assert {"tokenizer.json", "run/prompt_manifest.json", "run/metrics.jsonl", "run/config.yml"} <= result.keys()
    assert json.loads(result["run/run.json"])["status"] == "finished"
    assert not any(name.startswith("checkpoint-") for name in result)
    card = result["README.md"].decode()
    assert yaml.safe_load(card.split("---\n")[1]) == {"library_name": "peft", "tags": ["tunesmith"]}
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["hub_revision"] == "first"
    assert "hush" not in card


def test_only_the_end_is_pushed_if_asked_for(server, tmp_path, tiny_config, start):
    file = tiny_config(
        tmp_path, max_steps=2, save_steps=1, save_strategy="steps", hub_model_id="bees", hub_strategy="end"
    )
    process = start(file)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    assert [summary for _, summary, _ in server.commits] == ["Trained with Tunesmith"]


@pytest.mark.usefixtures("server")
def test_a_repository_that_one_may_not_write_to_stops_the_run_at_once():
    hub.is_reachable.cache_clear()
    with pytest.raises(RunError, match="`hub_model_id: others/bees` cannot be pushed to: You don't have the rights"):
        hub_arguments(TrackingSection(hub_model_id="others/bees"), World())
    hub.is_reachable.cache_clear()


def test_what_a_push_needs_is_asked_for_first(monkeypatch):
    tracking = TrackingSection(hub_model_id="me/bees")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match="`hub_model_id: me/bees` and HF_HUB_OFFLINE=1: remove one of them"):
        hub_arguments(tracking, World())
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if get_token() is None:
        with pytest.raises(RunError, match="needs a token of the Hub: `hf auth login`, or the variable HF_TOKEN"):
            hub_arguments(tracking, World())
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub.is_reachable.cache_clear()
    with pytest.raises(RunError, match="the Hub does not answer"):
        hub_arguments(tracking, World())
    hub.is_reachable.cache_clear()
    assert hub_arguments(TrackingSection(), World()) == {}


def test_the_card_names_a_base_model_of_the_hub_and_the_losses(tmp_path):
    record = RunRecord(tmp_path / "bees/run")
    record.start({}, {})
    for entry in ({"step": 1, "loss": 2.0}, {"step": 1, "eval_loss": 1.5}):
        record.add_metrics(entry)
    card = model_card({"base_model": "meta-llama/Llama-3.2-1B"}, record)
    about = {"library_name": "transformers", "tags": ["tunesmith"], "base_model": "meta-llama/Llama-3.2-1B"}
    assert yaml.safe_load(card.split("---\n")[1]) == about
    assert "# bees\n" in card
    assert "Last training loss: 2.0000.\nLast eval loss: 1.5000." in card
