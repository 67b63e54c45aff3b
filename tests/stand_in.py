"""A stand-in for an OpenAI-compatible server: a real one over HTTP that fails as it is told, and counts."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Says(NamedTuple):
    """What the server does with a request; `cut` closes the connection in the middle, `drip` sends a byte at a time."""

    text: str = ""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    seconds: float = 0.0
    cut: bool = False
    drip: float = 0.0
    finish: str = "stop"


class StandIn:
    """The server. `script(body, number)` says what it does with the request of this number, from 0."""

    def __init__(self) -> None:
        self.script: Callable[[dict[str, Any], int], Says] = lambda body, number: Says("hello")
        self.asked: list[dict[str, Any]] = []
        self.answered: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.busy = self.busiest = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                outer._answer(self)

            def log_message(self, *arguments):
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.asked)
            self.asked.append(body)
            self.keys.append(handler.headers["Authorization"])
            self.busy += 1
            self.busiest = max(self.busy, self.busiest)
        says = self.script(body, number)
        time.sleep(says.seconds)
        with self._lock:
            self.busy -= 1
        content = (completion(says) if says.body is None else says.body).encode()
        handler.send_response(says.status)
        for name, value in (*says.headers, ("Content-Length", str(len(content)))):
            handler.send_header(name, value)
        handler.end_headers()
        if says.cut:
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
            return
        for byte in content if says.drip else ():
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(says.drip)
        if not says.drip:
            handler.wfile.write(content)
        handler.wfile.flush()
        with self._lock:
            self.answered.append(body)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def completion(says: Says) -> str:
    """Return a chat completion as such servers write it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": says.text}, "finish_reason": says.finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})


def error(message: str, **more: Any) -> str:
    """Return an error as such servers write it."""
    return json.dumps({"error": {"message": message, **more}})
