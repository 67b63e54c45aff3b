"""A stand-in of the Hugging Face Hub on this machine: one dataset, `bees/honey`, with one file."""

import json
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

COMMIT = "0" * 39 + "1"
FILES = {"train.jsonl": b'{"text": "Bees dance."}\n{"text": "Honey keeps."}\n'}


class Hub(BaseHTTPRequestHandler):
    """Answers what `datasets.load_dataset` asks."""

    def do_GET(self):
        path = self.path.split("?")[0]
        name = path.rsplit("/", 1)[-1]
        if path == "/":
            self.answer(b"the hub")
        elif path.startswith("/api/datasets/bees/honey/tree/"):
            items = [
                {"type": "file", "oid": sha1(content).hexdigest(), "size": len(content), "path": file}
                for file, content in FILES.items()
            ]
            self.answer(json.dumps(items).encode())
        elif path.startswith("/api/datasets/bees/honey"):
            about = {"id": "bees/honey", "sha": COMMIT, "siblings": [{"rfilename": file} for file in FILES]}
            self.answer(json.dumps(about | {"private": False, "tags": [], "downloads": 0}).encode())
        elif path.startswith("/datasets/bees/honey/resolve/") and name in FILES:
            self.answer(FILES[name], etag=f'"{sha1(FILES[name]).hexdigest()}"')
        else:
            code = "EntryNotFound" if path.startswith("/datasets/bees/honey/") else "RepoNotFound"
            self.answer(b"", status=404, error=code)

    do_HEAD = do_GET

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        asked = self.rfile.read(size).decode()
        found = [
            {"type": "file", "oid": sha1(content).hexdigest(), "size": len(content), "path": file}
            for file, content in FILES.items()
            if file in asked
        ]
        self.answer(json.dumps(found).encode())

    def answer(self, body, status=200, etag=None, error=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag:
            self.send_header("ETag", etag)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def local_hub():
    """The address of the stand-in, which is served while the test runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
