"""What an OpenAI-compatible server makes of a prompt: one that runs somewhere, or `transformers serve` started here.

`transformers serve` says only how many tokens a prompt has. The one started here also writes down the ids that reach
the model's embedding: `python -m tunesmith.checks.server FOLDER PORT FILE` is that server.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith import http_client
from tunesmith.errors import RunError
from tunesmith.log import progress
from tunesmith.signals import handle_stop_signals

START_SECONDS = 180
ANSWER_SECONDS = 120


class Request(NamedTuple):
    """A prompt as a client sends it: messages, or a text where there are none."""

    messages: Sequence[dict[str, Any]] | None
    tools: list[Any] | None
    text: str


class Server(NamedTuple):
    """A server.

    Attributes:
        url: its address, without /v1.
        model: the model's name there.
        ids_file: file with the ids of each prompt, a list a line; None for a server elsewhere.
    """

    url: str
    model: str
    ids_file: Path | None = None

    def feeds(self, request: Request) -> list[int] | int | str:
        """Return the ids that the model is fed, or their number where the server tells no more, or why it refuses."""
        chat = request.messages is not None
        body: dict[str, Any] = {"model": self.model}
        body |= (
            {"messages": [_sent(message) for message in request.messages or ()]} if chat else {"prompt": request.text}
        )
        if request.tools:
            body["tools"] = request.tools
        if self.ids_file is None and isinstance(reply := self._post("tokenize", body), dict) and "tokens" in reply:
            return list(reply["tokens"])
        offset = self.ids_file.stat().st_size if self.ids_file else 0
        reply = self._post("v1/chat/completions" if chat else "v1/completions", body | {"max_tokens": 1})
        if isinstance(reply, str):
            return reply
        if self.ids_file is None:
            return int(reply["usage"]["prompt_tokens"])
        with self.ids_file.open() as stream:
            stream.seek(offset)
            return list(json.loads(stream.readline()))

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """Return the answer, or the words of a refusal.

        Raises:
            RunError: there is no answer.
        """
        try:
            response = http_client.request("POST", f"{self.url}/{path}", seconds=ANSWER_SECONDS, body=body)
            if response.is_error:
                return f"{response.status_code} {response.reason_phrase}: {response.text[:200]}"
            return response.json()
        except (OSError, ValueError) as error:
            raise RunError(f"the server at {self.url} does not answer: {error}") from error


def _sent(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as clients send it: arguments of calls are JSON text, and calls have an id."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    wire_calls = []
    for number, call in enumerate(calls):
        function = call.get("function", call)
        arguments = function.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        wire_calls.append(
            {"id": f"call_{number}", "type": "function", **call, "function": function | {"arguments": text}}
        )
    return message | {"tool_calls": wire_calls}


def server_at(url: str) -> Server:
    """Return the server at an address, with or without /v1.

    Raises:
        RunError: it does not answer, or is no OpenAI-compatible server.
    """
    url = url.rstrip("/").removesuffix("/v1")
    try:
        response = http_client.request("GET", f"{url}/v1/models", seconds=ANSWER_SECONDS)
        return Server(url, response.json()["data"][0]["id"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{url}/v1/models names no model: {error}; is it an OpenAI-compatible server?") from error


@contextmanager
def transformers_serve(folder: Path, scratch: Path) -> Iterator[Server]:
    """Run `transformers serve` on the model in `folder` while the context lasts.

    Raises:
        RunError: it does not start; its last words are in the message.
    """
    port, ids_file = free_port(), scratch / "seen.jsonl"
    ids_file.touch()
    command = [sys.executable, "-m", "tunesmith.checks.server", str(folder), str(port), str(ids_file)]
    with running("transformers serve", command, port, scratch / "server.log", os.environ | {"HF_HUB_OFFLINE": "1"}):
        yield Server(f"http://127.0.0.1:{port}", str(folder), ids_file)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running(
    name: str, command: list[str], port: int, log: Path, env: dict[str, str], seconds: int = START_SECONDS
) -> Iterator[None]:
    """Run a server while the context lasts, which begins when its health page answers; it ends with all it started.

    Args:
        name: what it is called.
        command: what starts it.
        port: where it listens.
        log: file of what it prints.
        env: its environment.
        seconds: how long it may take to start.

    Raises:
        RunError: it does not start; its last words are in the message.
    """
    with log.open("w") as stream:  # a session of its own: Ctrl-C is ours to handle, and no child of it is left
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=env, start_new_session=True
        )

    def on_signal(number: int, frame: object) -> None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGTERM)  # first of all, so that nobody waits for an answer of it
        if number == signal.SIGTERM:
            sys.exit(128 + number)
        raise KeyboardInterrupt

    with handle_stop_signals(on_signal):
        try:
            _wait(name, process, port, log, seconds)
            yield
        finally:
            try:
                with suppress(OSError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait(10)
            finally:
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], port: int, log: Path, seconds: int) -> None:
    start, seconds_waited = time.monotonic(), 0
    with progress(f"starting {name}", unit="s") as advance:
        while seconds_waited < seconds and process.poll() is None:
            with suppress(OSError):
                if http_client.request("GET", f"http://127.0.0.1:{port}/health", seconds=5).is_success:
                    return
            time.sleep(0.2)
            advance(int(time.monotonic() - start) - seconds_waited)
            seconds_waited = int(time.monotonic() - start)
    words = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise RunError(f"`{name}` did not start: " + (" / ".join(words) or f"no answer in {seconds} s"))


def main(folder: str, port: str, ids_file: str) -> None:
    """Serve a model as `transformers serve` does, and write down the ids of each prompt as its embedding gets them."""
    from torch import Tensor
    from torch.nn import Embedding, Module
    from torch.nn.modules.module import register_module_forward_pre_hook
    from transformers.cli.serve import Serve

    def write_down(module: Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, Embedding):
            with open(ids_file, "a") as stream:
                stream.write(json.dumps(inputs[0].flatten().tolist()) + "\n")

    register_module_forward_pre_hook(write_down)
    Serve(force_model=folder, device="cpu", host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
