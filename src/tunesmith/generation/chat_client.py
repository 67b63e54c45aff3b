"""An OpenAI-compatible server as a client sees it: requests over HTTP, tried again where that can help.

Errors are of three kinds. What no request can pass, such as a wrong key, ends the run. What passes with time, such as a
limit of rates or a cut connection, is tried again. What is wrong with one request is the end of that request.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any, NamedTuple

import httpx2

from tunesmith.errors import ConfigError
from tunesmith.generation.budget import Budget, Stopped
from tunesmith.generation.exchange import Completion, Refused, Request, whole
from tunesmith.generation.refusal import OPTIONAL, error_message, find_refused_field
from tunesmith.log import note
from tunesmith.sections import EndpointSection

LONGEST_WAIT = 600.0
"""Seconds that a server may ask us to wait; beyond that the run ends, and goes on when it is started again."""
IN_A_ROW = 10
"""After so many requests in a row that were given up, the fault is not with the requests."""
KEPT = "All replies are kept"
_PASSES = {408, 409, 425, 429}
_NO_REFUSED_FIELD = {401, 402, 403, 407, 408, 429}
"""Statuses that are about the key, money or time, never about a field of the request."""


class _Failure(NamedTuple):
    """Why an exchange gave no completion; whether to try again, and after how many seconds, if the server says so."""

    reason: str
    is_retryable: bool = True
    wait: float | None = None
    unreachable: bool = False


class _Response(NamedTuple):
    """An HTTP response: its status code and phrase, its text, and its `Retry-After` header."""

    status: int
    phrase: str
    text: str
    retry_after: str


class ChatClient:
    """A model at a server; to be used from any thread."""

    def __init__(self, section: EndpointSection, budget: Budget) -> None:
        """Read the key; nothing is sent yet.

        Raises:
            ConfigError: the environment variable of the key is not set, or holds no key.
        """
        name = section.api_key_env
        self._key = os.environ.get(name, "").strip() if name else ""
        if name and not self._key:
            raise ConfigError(f"`api_key_env: {name}`: the environment variable {name} is not set")
        if not (self._key.isascii() and self._key.isprintable()):  # such a header cannot be sent
            raise ConfigError(
                f"`api_key_env: {name}`: what {name} holds is no key: it has line breaks or strange letters"
            )
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._section = section
        self._budget = budget
        limits = httpx2.Limits(max_connections=section.concurrency)
        self._http = httpx2.Client(headers=headers, timeout=section.timeout, limits=limits)
        self._pace = _Pace(section.requests_per_minute)
        self._dropped: set[str] = set()  # of this server and model
        self._answered = False
        self._given_up = 0

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def complete(self, requests: list[Request], stop: Event) -> Iterator[Completion | Refused]:
        """Yield what the model writes to each request; what fails is tried again, longer apart each time.

        Raises:
            ConfigError: the server refuses the key, or does not know the model.
            Stopped: there is no server, it fails again and again, a limit is reached, or `stop` is set.
        """
        return (self._one(request, stop) for request in requests)

    def _one(self, request: Request, stop: Event) -> Completion | Refused:
        attempt = 0
        while isinstance(result := self._post(request, stop), _Failure):
            if not result.is_retryable or attempt == self._section.retries:
                return self._give_up(result)
            seconds = min(30, 2**attempt) * random.uniform(0.5, 1)
            if result.wait is not None:
                self._pace.pause(result.wait, result.reason)
                seconds = random.uniform(0, 0.5)  # so that not all come back at once
            stop.wait(seconds)
            attempt += 1
        self._answered, self._given_up = True, 0
        return result

    def _give_up(self, failure: _Failure) -> Refused:
        if failure.unreachable:
            url = self._section.base_url
            raise Stopped(f"no server answers at {url}: {failure.reason}; is `base_url` right, and does it run?")
        if failure.is_retryable or not self._answered:  # a row may be refused for its own sake, by a server that works
            self._given_up += 1
        if self._given_up >= IN_A_ROW:
            raise Stopped(f"{IN_A_ROW} requests in a row failed, the last with: {failure.reason}", KEPT)
        return Refused(failure.reason)

    def _post(self, request: Request, stop: Event) -> Completion | _Failure:
        """Return what one exchange gives."""
        if request.prompt and request.prompt.text is None and "prompt" in self._dropped:
            return _Failure(
                "the server takes no token ids, and no text becomes those of the prompt", is_retryable=False
            )
        self._pace.wait(stop)
        self._budget.begin()
        url = f"{self._section.base_url}/{'completions' if request.prompt else 'chat/completions'}"
        body = self._body(request)
        response = self._send(url, body)
        if isinstance(response, _Failure):
            return response
        completion = None
        if response.status == 200:
            completion = _checked_completion(response.text, request, is_text=isinstance(body.get("prompt"), str))
            if isinstance(completion, Completion) or '"error"' not in response.text:
                return completion
        if self._drops_refused_field(response, body):
            return self._post(request, stop)
        return completion or self._refusal(url, response)

    def _send(self, url: str, body: dict[str, Any]) -> _Response | _Failure:
        """Return the response of the server, without the key, which some servers repeat when they refuse it."""
        late = f"no whole reply within `timeout: {self._section.timeout:g}` seconds"
        end = time.monotonic() + self._section.timeout
        content = b""
        try:
            with self._http.stream("POST", url, json=body) as response:
                for piece in response.iter_bytes():
                    content += piece
                    if time.monotonic() > end:  # the timeout of the library is for each piece
                        return _Failure(late)
        except httpx2.TimeoutException:
            return _Failure(late)
        except httpx2.RequestError as error:
            reason = f"{type(error).__name__}: {error}"
            return _Failure(reason, unreachable=isinstance(error, httpx2.ConnectError))
        text = content.decode(errors="replace")
        if self._key:
            text = text.replace(self._key, "(the key)")
        retry_after = response.headers.get("Retry-After", "")
        return _Response(response.status_code, response.reason_phrase, text, retry_after)

    def _drops_refused_field(self, response: _Response, body: dict[str, Any]) -> bool:
        """Stop sending a field that the server refuses, if another request is possible; return whether it is."""
        if response.status in _NO_REFUSED_FIELD or 300 <= response.status < 400:
            return False
        if field := find_refused_field(response.text, body):
            instead = OPTIONAL[field]
            self._drop(field, f"`{field}`: " + (f"`{instead}` is sent in its place" if instead else "it is left out"))
            return True
        has_token_ids = isinstance(body.get("prompt"), list)
        if response.status in (400, 422) and has_token_ids and _wants_text(response.text):
            self._drop("prompt", "token ids: prompts are sent as text, which its tokenizer has to read as ours does")
            return True
        return False

    def _body(self, request: Request) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": self._section.model,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
        }
        if request.prompt is None:
            fields["messages"] = request.messages
        elif "prompt" in self._dropped:
            fields |= {"prompt": request.prompt.text, "stop": request.prompt.stops[:4]}
        else:  # a server may have penalties of its own, which are put out by the names of vLLM, SGLang and llama.cpp
            penalties = {"repetition_penalty": 1.0, "repeat_penalty": 1.0}
            fields |= {"prompt": request.prompt.ids, "stop_token_ids": request.prompt.ends, **penalties}
            fields["skip_special_tokens"] = False  # trained ones are a part of the answer
        if request.schema is not None:
            format_settings = {"name": "reply", "schema": request.schema, "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": format_settings}
        for omitted in self._section.omit_fields:
            fields.pop(omitted, None)
        for name, instead in OPTIONAL.items():
            if name in self._dropped and name in fields:
                value = fields.pop(name)
                fields |= {instead: value} if instead else {}
        return fields

    def _drop(self, field: str, text: str) -> None:
        """Do without a field that the server does not take, from now on."""
        if field not in self._dropped:
            self._dropped.add(field)
            note(f"the server does not take {text}")

    def _refusal(self, url: str, response: _Response) -> _Failure:
        """Return the failure for a response that is an error.

        Raises:
            ConfigError: the server refuses the key, or does not know the model.
            Stopped: there is no money left for requests.
        """
        status = response.status
        message = f"{url} answers {status} {response.phrase}: {error_message(response.text)}"
        if status == 401 or (status == 403 and not self._answered):
            name = self._section.api_key_env
            fix = f"is the key in {name} right?" if name else "set `api_key_env` to the variable that holds the key"
            raise ConfigError(f"{message}; {fix}")
        if status in (404, 405) or 300 <= status < 400:
            raise ConfigError(
                f"{message}; is `model: {self._section.model}` right, and `base_url`? It often ends with /v1"
            )
        if status == 402 or "insufficient_quota" in response.text:
            raise Stopped(message, KEPT)
        is_retryable = status in _PASSES or status >= 500
        return _Failure(message, is_retryable, _retry_after(response.retry_after) if is_retryable else None)


class _Pace:
    """When the next request may be sent: by `requests_per_minute`, and after a pause that the server asked for."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = Lock()

    def wait(self, stop: Event) -> None:
        """Wait for one's turn."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._gap
        if stop.wait(turn - time.monotonic()):
            raise Stopped("another request ended the run")

    def pause(self, seconds: float, reason: str) -> None:
        """Let all requests wait so long from now."""
        if seconds > LONGEST_WAIT:
            raise Stopped(f"{reason}; it asks to wait {seconds / 60:.0f} minutes", f"{KEPT}; go on then")
        with self._lock:
            until = time.monotonic() + seconds
            if until > self._next + 5:
                note(f"the server asks to wait {seconds:.0f} seconds: {reason}")
            self._next = max(self._next, until)


def _checked_completion(text: str, request: Request, *, is_text: bool) -> Completion | _Failure:
    """Return a completion; if the prompt was sent as text, the server must have read as many tokens as trained."""
    completion = _completion(text, request)
    num_tokens = len(request.prompt.ids) if request.prompt else 0
    if is_text and isinstance(completion, Completion) and completion.prompt_tokens != num_tokens:
        reason = f"the server reads {completion.prompt_tokens} tokens where {num_tokens} were trained"
        return _Failure(f"{reason}: it has another tokenizer, or puts a template around the text", is_retryable=False)
    return completion


def _completion(text: str, request: Request) -> Completion | _Failure:
    """Return what a completion holds. Tokens that the server does not count are guessed from the letters."""
    try:
        reply = json.loads(text)
        choice = reply["choices"][0]
        content = (choice["text"] if request.prompt else choice["message"]["content"]) or ""
        usage = reply.get("usage") or {}
        guess = (
            len(request.prompt.ids) if request.prompt else sum(len(turn["content"]) for turn in request.messages) // 3
        )
        sent = usage.get("prompt_tokens") or guess
        received = usage.get("completion_tokens") or len(content) // 3
        return Completion(whole(str(content)), int(sent), int(received), choice.get("finish_reason") == "length")
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Failure(f"the server's answer is no completion: {' '.join(text[:200].split()) or 'it is empty'}")


def _wants_text(refusal: str) -> bool:
    """Whether a refusal is about token ids: `prompt must be a string`, `unexpected field stop_token_ids`."""
    return "string" in refusal or "stop_token_ids" in refusal or "penalty" in refusal


def _retry_after(value: str) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, which may be a number or a date."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError):
        return None
