"""A config from the web: fetched from a real HTTPS server within limits, and kept from this machine's files."""

import contextlib
import re
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from tunesmith.config import remote
from tunesmith.config.folder import load_folder
from tunesmith.config.key_table import supported
from tunesmith.config.load import load
from tunesmith.config.trials import read_sweep
from tunesmith.errors import ConfigError
from tunesmith.sections.fields import PATHS

GOOD = """base_model: some-org/some-model
datasets:
  - path: some-org/some-rows
    type: alpaca
learning_rate: 1e-4
output_dir: ./outputs/web
"""


class Handler(BaseHTTPRequestHandler):
    """Answers by the path; `self.server.texts` holds further YAML files."""

    protocol_version = "HTTP/1.0"  # without Content-Length, the end is the end of the connection

    def do_GET(self):
        name = self.path.partition("?")[0]
        if name.startswith("/redirect/"):
            self.answer(302, headers={"Location": name.removeprefix("/redirect/")})
        elif name == "/loop":
            self.answer(301, headers={"Location": "/loop"})
        elif name == "/chain":
            self.answer(307, headers={"Location": "/redirect//good.yml"})
        elif name in ("/page", "/org/repo/blob/main/lora.yml"):
            self.answer(200, b"<html>a: 1</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif name == "/page.yml":
            self.answer(200, b"\n <!DOCTYPE html><html></html>", {"Content-Type": "text/plain"})
        elif name == "/large":
            self.answer(200, b"# a\n" * 400_000, {"Content-Length": str(1_600_000)})
        elif name == "/endless":
            self.answer(200, b"# a\n" * 400_000)
        elif name == "/short":
            self.answer(200, GOOD.encode(), {"Content-Length": str(len(GOOD) + 1)})
        elif name == "/slow":
            self.answer(200, b"a: 1\n")
            for _ in range(50):  # each byte comes in time
                time.sleep(0.1)
                self.wfile.write(b"#")
                self.wfile.flush()
        elif name in self.server.texts:
            text = self.server.texts[name]
            self.answer(200, text if isinstance(text, bytes) else text.encode(), {"Content-Type": "text/plain"})
        else:
            self.answer(404)

    def answer(self, code, content=b"", headers=None):
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has seen enough
            self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that hangs up is no matter."""


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def https(authority):
    server = Server(("127.0.0.1", 0), Handler)
    server.texts = {"/good.yml": GOOD}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"https://localhost:{server.server_port}"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def trusted(authority, tmp_path, monkeypatch):
    """The client trusts the server's certificate, and stands in a folder of its own."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def fault(url):
    with pytest.raises(ConfigError) as caught:
        load(url)
    return str(caught.value)


def test_a_config_is_read_from_an_address_and_its_faults_have_lines(https):
    config = load(f"{https.url}/good.yml?token=x", ["--lora-r", "8"])
    assert (config.training.learning_rate, config.source) == (1e-4, f"{https.url}/good.yml?token=x")
    https.texts["/bad.yml"] = GOOD + "lora_rr: 8\n"
    assert fault(f"{https.url}/bad.yml") == f"{https.url}/bad.yml:7:1: unknown key `lora_rr`; did you mean `lora_r`?"


@pytest.mark.parametrize("path", ["/redirect//good.yml", "/chain"])
def test_redirects_are_followed_from_https_to_https(https, path):
    assert load(https.url + path).model.base_model == "some-org/some-model"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/none.yml", "the server answers 404 Not Found"),
        ("/page", "is a web page, not YAML; name the raw file"),
        ("/page.yml", "is a web page, not YAML; name the raw file"),
        ("/large", "is larger than 1,000,000 bytes: it is not a config"),
        ("/endless", "is larger than 1,000,000 bytes: it is not a config"),
        (
            "/short",
            "could not be downloaded: peer closed connection without sending complete message body "
            f"(received {len(GOOD)} bytes, expected {len(GOOD) + 1})",
        ),
        ("/loop", "more than 5 redirects"),
        (
            "/redirect/http://example.com/a.yml",
            "leads to http://example.com/a.yml: a config is read from https:// only",
        ),
        ("/redirect/file:///etc/passwd", "leads to file:///etc/passwd: a config is read from https:// only"),
    ],
)
def test_what_is_no_config_is_refused(https, path, expected):
    assert fault(https.url + path).removeprefix(https.url + path).lstrip(": ") == expected


def test_the_page_of_a_file_is_answered_with_the_address_of_the_file_itself(https):
    assert fault(f"{https.url}/org/repo/blob/main/lora.yml").endswith(
        f"; name the file itself: {https.url}/org/repo/raw/main/lora.yml"
    )


def bomb(first: bytes, layer: bytes) -> bytes:
    """Return a short file whose aliases stand for a thousand million values."""
    lines = [b"a0: &a0 " + first]
    lines += [
        b"a%d: &a%d " % (n, n) + layer % (b"[" + b",".join([b"*a%d" % (n - 1)] * 10) + b"]") for n in range(1, 10)
    ]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n\xff", "byte 0 is not UTF-8: it is not a YAML file"),
        (b"a: x\0y", "character '\\x00' at position 4 is not YAML"),
        (b"just words", "expected `key: value` lines, found text"),
        (b"- a", "expected `key: value` lines, found a list"),
        (b"", "is empty; start from a file in examples/"),
        (b"a: " + b"[" * 5000, "nested too deeply, or an alias (`*name`) contains itself or too many values"),
        (b"a: &a [*a]", "nested too deeply, or an alias (`*name`) contains itself or too many values"),
        (bomb(b"[1]", b"%s"), "nested too deeply, or an alias (`*name`) contains itself or too many values"),
        (bomb(b"{k: 1}", b"\n  <<: %s"), "nested too deeply, or an alias (`*name`) contains itself or too many values"),
    ],
)
def test_content_that_is_no_mapping_or_a_trap_is_refused(https, content, expected):
    https.texts["/odd.yml"] = content
    assert fault(f"{https.url}/odd.yml").removeprefix(f"{https.url}/odd.yml").lstrip(": ") == expected


def test_an_answer_that_trickles_is_given_up_in_time(https, monkeypatch):
    monkeypatch.setattr(remote, "SECONDS", 0.5)
    assert "no complete answer in 0.5 s" in fault(f"{https.url}/slow")


def test_a_certificate_that_nobody_vouches_for_is_refused(https, monkeypatch, tmp_path):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    assert "certificate verify failed" in fault(f"{https.url}/good.yml")


@pytest.mark.parametrize("url", ["http://localhost/a.yml", "file:///etc/passwd", "ftp://localhost/a.yml"])
def test_other_addresses_are_refused(url):
    assert fault(url) == f"{url}: a config is read from https:// only"


def test_a_host_that_does_not_answer_or_exist_is_named():
    assert "could not be downloaded" in fault("https://localhost:1/a.yml")
    assert "could not be downloaded" in fault("https://no-such-host.invalid/a.yml")
    assert "could not be downloaded" in fault("https://localhost:port/a.yml")


ENTRY = "  - path: some-org/some-rows\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("path: some-org/some-rows", "path: /etc/passwd"),
        GOOD.replace("path: some-org/some-rows", "path: data/train.jsonl"),
        GOOD.replace("path: some-org/some-rows", "path: ../rows"),
        GOOD.replace("path: some-org/some-rows", "path: some-org/../../rows"),
        GOOD.replace("path: some-org/some-rows", "path: ~/rows"),
        GOOD.replace("path: some-org/some-rows", "path: there"),
        GOOD.replace("path: some-org/some-rows", "path: file:///etc/passwd"),
        GOOD.replace("path: some-org/some-rows", "path: C:\\rows"),
        GOOD.replace("path: some-org/some-rows", "path: rows.JSONL"),
        GOOD.replace("path: some-org/some-rows", "path: rows.jsonl.xz"),
        GOOD.replace("path: some-org/some-rows", "path: secret/*"),
        GOOD.replace(ENTRY, ENTRY + "    data_files: /etc/*\n"),
        GOOD.replace(ENTRY, ENTRY + "    data_files: [train.json, '../x.json']\n"),
        GOOD.replace(ENTRY, ENTRY + "    data_files: {train: [train.json, '../x.json']}\n"),
        GOOD.replace("type: alpaca", "type: format.py:rows"),
        GOOD + "test_datasets: [{path: /etc/passwd, type: alpaca}]\n",
        GOOD.replace("datasets:\n  - path: some-org/some-rows\n    type: alpaca", "pretraining_dataset: /etc/passwd"),
        GOOD.replace("base_model: some-org/some-model", "base_model: ./model"),
        GOOD.replace("base_model: some-org/some-model", "base_model: there"),
        GOOD + "tokenizer_config: /models/x\n",
        GOOD + "chat_template: jinja\nchat_template_jinja: secret.jinja\n",
        GOOD + "chat_template: jinja\nchat_template_jinja: there\n",
        GOOD + "evaluation: {assertions: checks.py}\n",
        GOOD + "judge: {rubric: ~/secret, endpoint: {model: m}}\n",
        GOOD + 'judge: {rubric: "Be\\nkind.", endpoint: {model: /models/x}}\n',
        GOOD + 'judge: {rubric: "Be\\nkind.", examples: x.jsonl, endpoint: {model: m}}\n',
        GOOD + 'judge: {rubric: "Be\\nkind.", labels: /x.csv, endpoint: {model: m, cache: replies}}\n',
        GOOD + 'judge: {rubric: "Be\\nkind.", endpoint: {model: m, base_url: "http://x", api_key_env: HOME}}\n',
        GOOD + "adapter: lora\nlora_model_dir: /adapters/x\n",
        GOOD + "resume_from_checkpoint: ./outputs/x\n",
        GOOD + "deepspeed: ds.json\n",
        GOOD + "curate: {output: ../elsewhere}\n",
        GOOD + "curate: {complexity: own.py:f}\n",
        GOOD + "curate: {assertions: checks.py}\n",
        GOOD + "generate: {seeds: seeds.jsonl, endpoint: {model: some-org/m}}\n",
        GOOD + "generate: {seeds: some-org/rows, prompt: own.jinja, endpoint: {model: some-org/m}}\n",
        GOOD + "generate: {seeds: some-org/rows, row_schema: /etc/x.json, endpoint: {model: some-org/m}}\n",
        GOOD + "generate: {seeds: some-org/rows, output: /x.jsonl, endpoint: {model: some-org/m}}\n",
        GOOD + "deepspeed: {zero_optimization: {offload_param: {nvme_path: /nvme}}}\n",
        GOOD.replace("./outputs/web", "/home/somebody"),
        GOOD.replace("./outputs/web", "../outputs"),
        GOOD.replace("./outputs/web", "~/x"),
        GOOD + "dataset_prepared_path: /x\n",
        GOOD + "dynamic_checkpoint: {enabled: true, trigger_file_path: /etc/hosts}\n",
        GOOD + "mlflow_tracking_uri: sqlite:////home/somebody/x.db\n",
        GOOD + "trust_remote_code: true\n",
        GOOD + "model_kwargs: {use_safetensors: false}\n",
    ],
)
def test_a_config_from_the_web_may_not_name_what_is_here_nor_run_code(https, tmp_path, text):
    (tmp_path / "here/there").mkdir()
    https.texts["/reach.yml"] = text
    found = fault(f"{https.url}/reach.yml")
    assert "a config from the web may not" in found
    assert "--allow-local-paths" in found
    assert found.startswith(f"{https.url}/reach.yml:")
    assert found.split(":")[3].isdigit()  # after https, //localhost, port/reach.yml
    load(f"{https.url}/reach.yml", ["--allow-local-paths"])
    (tmp_path / "reach.yml").write_text(text)
    load(str(tmp_path / "reach.yml"))


def test_hub_names_addresses_and_relative_outputs_are_fine(https):
    https.texts["/fine.yml"] = (
        GOOD.replace("path: some-org/some-rows", "path: https://example.com/rows.jsonl")
        + "test_datasets: [{path: some-org/rows.v2, data_files: [data/a.jsonl], type: {field_instruction: a.json}}]\n"
        + "dataset_prepared_path: last/prepared\nbase_model_config: some-org/Model-0.5\n"
        + "chat_template: jinja\nchat_template_jinja: \"{{ 'a.py:b' }}/../x.json\"\nmlflow_tracking_uri: https://a.b/\n"
        + "trust_remote_code: false\nspecial_tokens: {pad_token: /etc/passwd}\n"
    )
    assert load(f"{https.url}/fine.yml").data.dataset_prepared_path == "last/prepared"


def test_what_the_user_sets_is_the_users_own(https, tmp_path):
    https.texts["/rows.yml"] = GOOD.replace("path: some-org/some-rows", "path: data/train.jsonl")
    rows = str(tmp_path / "rows.jsonl")
    given = ["--datasets.0.path", rows, "--output-dir", "/tmp/x", "--trust-remote-code"]
    assert load(f"{https.url}/rows.yml", given).data.datasets[0].path == rows


def test_a_file_cannot_allow_itself(https):
    https.texts["/self.yml"] = (
        GOOD.replace("path: some-org/some-rows", "path: /etc/passwd") + "allow_local_paths: true\n"
    )
    assert "may not open" in fault(f"{https.url}/self.yml")
    assert "unknown key `allow_local_paths`" in fault(f"{https.url}/self.yml")


def test_a_sweep_over_a_config_from_the_web_is_kept_from_files_too(https, tmp_path):
    https.texts["/swept.yml"] = GOOD.replace("path: some-org/some-rows", "path: rows.jsonl")
    (tmp_path / "sweep.yml").write_text("learning_rate: [1e-4, 2e-4]\n")
    with pytest.raises(ConfigError, match="may not open"):
        read_sweep(f"{https.url}/swept.yml", str(tmp_path / "sweep.yml"))
    assert len(read_sweep(f"{https.url}/swept.yml", str(tmp_path / "sweep.yml"), ["--allow-local-paths"])) == 2


def test_the_record_of_a_run_of_a_config_from_the_web_is_trusted(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yml").write_text(GOOD.replace("some-org/some-rows", "rows.jsonl") + "adapter: lora\n")
    (tmp_path / "run/run.json").write_text('{"source": "https://localhost/a.yml"}')
    (tmp_path / "adapter_config.json").touch()
    assert load_folder(str(tmp_path)).data.datasets[0].path == "rows.jsonl"


def test_every_key_that_can_name_a_file_or_code_has_a_marker():
    """A new key whose text speaks of a file needs a marker, or a place here if nothing is opened by its name."""
    harmless = {"chat_template", "comet_api_key", "experts_implementation"}
    words = ("file", "older", "director", ".py", "Code")
    unmarked = {
        key.name.rpartition(".")[2]
        for key in supported().values()
        if any(word in (key.field.description or "") for word in words)
        and re.search(r"\bstr\b|\bAny\b", str(key.field.annotation))
        and not any(isinstance(item, PATHS) for item in key.field.metadata)
    }
    assert unmarked - harmless == set()


def test_the_command_takes_an_address_and_the_flag(https, tmp_path):
    https.texts["/reach.yml"] = GOOD.replace("path: some-org/some-rows", "path: rows.jsonl")
    command = [sys.executable, "-m", "tunesmith.cli.config", f"{https.url}/reach.yml"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "may not open what is neither on the Hub nor at https://; --allow-local-paths allows it" in refused.stderr
    allowed = subprocess.run([*command, "--allow-local-paths", "--seed", "7"], capture_output=True, text=True)
    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert f"# {https.url}/reach.yml:3" in allowed.stdout
