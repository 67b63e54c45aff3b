#!/usr/bin/env python
"""A stand-in for the program `vllm`: a process that takes its arguments, starts a process of its own, as vLLM does for
its engine, says that it is healthy after a while, and answers completions with the name of the model.

It writes what it was given to the file STAND_IN_VLLM. With `fail` in STAND_IN_MODE it does not start; with `slow` it
answers after a minute.
"""

import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODE, FILE = os.environ.get("STAND_IN_MODE", ""), Path(os.environ["STAND_IN_VLLM"])
BEGIN = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.path == "/health" and time.monotonic() - BEGIN > 0.5
        self.answer(200 if ready else 503, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with FILE.open("a") as lines:
            lines.write(json.dumps({"path": self.path, "body": body}) + "\n")
        if MODE == "slow":
            time.sleep(60)
        choice = {"index": 0, "text": f"It is {body['model']}.", "finish_reason": "stop"}
        self.answer(200, {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def answer(self, status, content):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


def main(arguments):
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with FILE.open("a") as lines:
        lines.write(json.dumps({"arguments": arguments, "processes": [os.getpid(), engine.pid]}) + "\n")
    print("INFO loading", flush=True)
    if MODE == "fail":
        print("ValueError: vLLM does not yet support DoRA.", flush=True)
        sys.exit(1)
    port = int(arguments[arguments.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
