"""A local page to label answers: one at a time, by keyboard; each label is saved at once."""

import json
from collections.abc import Sequence
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tunesmith.errors import ConfigError
from tunesmith.evals.items import Item
from tunesmith.evals.labels import LabelFile
from tunesmith.pages.page import standalone

HOST = "127.0.0.1"


def shuffle_items(items: Sequence[Item]) -> list[Item]:
    """Return the distinct answers in a fixed random order, which hides the variant; any first part is a fair sample."""
    distinct = {(item.question, item.answer): item for item in items}
    return sorted(distinct.values(), key=lambda item: sha256(f"{item.question}\0{item.answer}".encode()).digest())


class LabelServer(ThreadingHTTPServer):
    """The server of the page. The caller runs and closes it."""

    def __init__(self, items: Sequence[Item], labels: LabelFile, port: int) -> None:
        """Bind a port; 0 selects a free one.

        Raises:
            ConfigError: the port is in use.
        """
        self.items = items
        self.labels = labels
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--port {port}: {error}; choose another one") from None


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer

    def do_GET(self) -> None:
        """Send the page with the existing labels."""
        if self.path != "/" or not self._has_own_host():
            self._reply(HTTPStatus.NOT_FOUND, "there is only one page")
            return
        labels = self.server.labels
        shown = [_shown(item, labels) for item in self.server.items]
        page = standalone("tunesmith.evals", "label", "Label answers", {"file": str(labels.file), "items": shown})
        self._reply(HTTPStatus.OK, page, "text/html")

    def do_POST(self) -> None:
        """Save a label."""
        # A page of another site needs a CORS preflight to send such a body, and this server answers none.
        if not self._has_own_host() or self.headers.get("Content-Type") != "application/json":
            self._reply(HTTPStatus.FORBIDDEN, "this is not our page")
            return
        try:
            values = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            index, label, why = int(values["index"]), str(values["label"]), str(values["why"])
            if label not in ("good", "bad", "") or not 0 <= index < len(self.server.items):
                raise ValueError(values)
        except (ValueError, KeyError, TypeError):
            self._reply(HTTPStatus.BAD_REQUEST, "expected index, label and why")
            return
        try:
            self.server.labels.put(self.server.items[index], label, why)
        except OSError as error:
            self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, f"not saved: {error}")
            return
        self._reply(HTTPStatus.OK, "saved")

    def _has_own_host(self) -> bool:
        """Return whether the Host header names this server: a foreign name may resolve to it, too (DNS rebinding)."""
        host, _, port = self.headers.get("Host", "").rpartition(":")
        return host in (HOST, "localhost") and port == str(self.server.server_port)

    def _reply(self, status: HTTPStatus, text: str, content_type: str = "text/plain") -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing for each request."""


def _shown(item: Item, labels: LabelFile) -> dict[str, str]:
    label = labels.of(item)
    location = item.id.removesuffix(f":{item.variant}")  # the page hides the variant
    return {"id": location, "question": item.question, "answer": item.answer, "label": label.label, "why": label.why}
