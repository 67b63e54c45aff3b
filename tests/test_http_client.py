"""The one HTTP client, against a real server of this machine."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tunesmith import http_client


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/here")
        else:
            self.send_response(200 if self.path == "/here" else 404)
        length = 20 if self.path == "/short" else 2
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_response_is_given_whatever_its_status(url):
    assert http_client.request("GET", f"{url}/here", seconds=5).text == "ok"
    assert http_client.request("GET", f"{url}/nothing", seconds=5).status_code == 404
    assert http_client.request("POST", url, seconds=5, body={"a": 1}).json() == {"a": 1}


def test_redirects_are_followed_unless_the_caller_looks_at_them(url):
    assert http_client.request("GET", f"{url}/moved", seconds=5).text == "ok"
    with http_client.stream("GET", f"{url}/moved", seconds=5, follow_redirects=False) as response:
        assert response.headers["Location"] == "/here"


def test_no_answer_or_half_an_answer_is_a_connection_error(url):
    with pytest.raises(ConnectionError, match=r"peer closed connection .*received 2 bytes, expected 20"):
        http_client.request("GET", f"{url}/short", seconds=5)
    with pytest.raises(ConnectionError, match="refused"):
        http_client.request("GET", "http://127.0.0.1:9/", seconds=5)
    with pytest.raises(ConnectionError):
        http_client.request("GET", "http://[bad", seconds=5)
