"""A page on this machine to label answers: one at a time, by keyboard, each label on disk at once."""

import json
from collections.abc import Sequence
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.evals.items import Item
from tunesmith.evals.labels import LabelFile
from tunesmith.pages.page import standalone

HOST = "127.0.0.1"


def mixed(items: Sequence[Item]) -> list[Item]:
    """Return different answers in an order by chance, always the same: it tells nothing of who answered what.

    So the first hundred are a fair sample of all.
    """
    different = {(item.question, item.answer): item for item in items}
    return sorted(different.values(), key=lambda item: sha256(f"{item.question}\0{item.answer}".encode()).digest())


class LabelServer(ThreadingHTTPServer):
    """The server of the page, which the caller runs and closes."""

    def __init__(self, items: Sequence[Item], labels: LabelFile, port: int) -> None:
        """Take a port; 0 takes a free one.

        Raises:
            ConfigError: the port is in use.
        """
        self.items = items
        self.labels = labels
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--port {port}: {error}; name another one") from None


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer

    def do_GET(self) -> None:
        """Send the page, with the labels that there are."""
        if self.path != "/" or not self._from_here():
            self._reply(HTTPStatus.NOT_FOUND, "there is only one page")
            return
        labels = self.server.labels
        shown = [_shown(item, labels) for item in self.server.items]
        page = standalone("tunesmith.evals", "label", "Label answers", {"file": str(labels.file), "items": shown})
        self._reply(HTTPStatus.OK, page, "text/html")

    def do_POST(self) -> None:
        """Keep a label."""
        # Another site's page can send such a body only after asking first, which is not answered.
        if not self._from_here() or self.headers.get("Content-Type") != "application/json":
            self._reply(HTTPStatus.FORBIDDEN, "this is not our page")
            return
        try:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            index, label, why = int(given["index"]), str(given["label"]), str(given["why"])
            if label not in ("good", "bad", "") or not 0 <= index < len(self.server.items):
                raise ValueError(given)
        except (ValueError, KeyError, TypeError):
            self._reply(HTTPStatus.BAD_REQUEST, "expected index, label and why")
            return
        try:
            self.server.labels.put(self.server.items[index], label, why)
        except OSError as error:
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, f"not saved: {error}")
            return
        self._reply(HTTPStatus.OK, "saved")

    def _from_here(self) -> bool:
        """Whether the page was asked for by its own name: another site's name may be made to lead here too."""
        host, _, port = self.headers.get("Host", "").rpartition(":")
        return host in (HOST, "localhost") and port == str(self.server.server_port)

    def _reply(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of each request."""


def _shown(item: Item, labels: LabelFile) -> dict[str, str]:
    label = labels.of(item)
    place = item.id.removesuffix(f":{item.variant}")  # who answered is not told
    return {"id": place, "question": item.question, "answer": item.answer, "label": label.label, "why": label.why}
