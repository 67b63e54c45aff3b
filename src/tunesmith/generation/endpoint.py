"""One way to ask a model, at an OpenAI-compatible server or on this machine, for the judge and for synthetic data.

Every exchange is on disk before its reply is seen, under a hash of its request. So a run that was killed, or that
reached a limit, is simply started again: it walks through what it has and asks only for the rest.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from threading import Condition, Event
from typing import TypeVar

from tunesmith.data.parallel import in_batches
from tunesmith.generation.budget import Budget, Spent, Stopped
from tunesmith.generation.chat_client import ChatClient
from tunesmith.generation.exchange import Completion, Refused, Reply, Request
from tunesmith.generation.replies import Replies
from tunesmith.generation.structured import fit
from tunesmith.modeling.builtin import cache_dir
from tunesmith.sections import EndpointSection

__all__ = ["Endpoint", "Refused", "Reply", "Request", "Spent", "Stopped", "open_endpoint"]

Complete = Callable[[list[Request], Event], Iterator[Completion | Refused]]
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def open_endpoint(section: EndpointSection, source: str) -> Iterator["Endpoint"]:
    """Open the model that a config names; nothing is sent or loaded before the first question.

    Args:
        section: which model, where, and within which limits.
        source: file of the config.

    Raises:
        ConfigError: the environment variable of the key is not set.
        RunError: the folder of kept replies cannot be used.
    """
    budget = Budget(section)
    with closing(Replies(Path(section.cache) if section.cache else cache_dir() / "replies")) as replies:
        if section.base_url is None:
            from tunesmith.generation.local_model import LocalModel  # torch is not needed where a server is asked

            model = LocalModel(section.model, source, budget)
            yield Endpoint(section, model.identity, replies, budget, model.complete)
            return
        with closing(ChatClient(section, budget)) as client:
            yield Endpoint(section, section.model, replies, budget, client.complete)


class Endpoint:
    """A model to ask; see `open_endpoint`."""

    def __init__(
        self, section: EndpointSection, model: str, replies: Replies, budget: Budget, complete: Complete
    ) -> None:
        """Keep what asking takes; `complete` asks the model itself."""
        self._section = section
        self._model = model
        self._replies = replies
        self._budget = budget
        self._complete = complete
        self._turn = Condition()
        self._in_flight: set[str] = set()

    @property
    def spent(self) -> Spent:
        """What was spent so far."""
        return self._budget.spent

    def key(self, request: Request) -> str:
        """Return what a request's reply is kept under: a hash of all that it may depend on."""
        content = json.dumps([self._section.base_url, self._model, *request], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Reply | Refused]]:
        """Yield the number of each request and what became of it, as they are answered.

        Requests are read as they are needed. A reply that does not fit its schema is asked for again, with the fault.

        Raises:
            ConfigError: the server refuses the key, or does not know the model.
            Stopped: a limit is reached, or the server is of no use; what was in flight is yielded before.
        """
        is_local = self._section.base_url is None
        batches = in_batches(enumerate(requests), self._section.concurrency if is_local else 1)
        stop = Event()

        def answer_batch(batch: list[tuple[int, Request]]) -> list[tuple[int, Reply | Refused]]:
            numbers, batch_requests = zip(*batch, strict=True)
            return list(zip(numbers, self._settle(batch_requests, stop), strict=True))

        for results in _unordered(answer_batch, batches, 1 if is_local else self._section.concurrency, stop):
            yield from results

    def _settle(self, requests: Sequence[Request], stop: Event) -> list[Reply | Refused]:
        """Return what becomes of each request: ask, look at the form, and ask again where it is wrong."""
        results: dict[int, Reply | Refused] = {}
        pending = dict(enumerate(requests))
        used = dict.fromkeys(pending, Reply("", 0, 0, cached=True))
        for attempt in range(self._section.retries + 1):
            answers = self._exchange(list(pending.values()), stop)
            for number, (answer, cached) in zip(list(pending), answers, strict=True):
                if isinstance(answer, Refused):
                    results[number] = answer
                    del pending[number]
                    continue
                total = used[number] = _add(used[number], answer, cached)
                schema = requests[number].schema
                value = fit(answer.text, schema) if schema is not None else None
                if value is None or not value.fault:
                    results[number] = total._replace(text=value.text if value else answer.text)
                    del pending[number]
                    continue
                note = f" (it was cut off at `max_tokens: {requests[number].max_tokens}`)" if answer.cut else ""
                results[number] = Refused(
                    f"no reply of {attempt + 1} has the form that is asked for: {value.fault}{note}"
                )
                pending[number] = _once_more(requests[number], answer.text, value.fault + note, attempt + 1)
            if not pending:
                break
        return [results[number] for number in range(len(requests))]

    def _exchange(self, requests: list[Request], stop: Event) -> list[tuple[Completion | Refused, bool]]:
        """Return the reply to each request, and whether it was there; what is new is kept before this returns."""
        keys = [self.key(request) for request in requests]
        with self._alone(set(keys)):
            stored = {key: self._replies.get(key) for key in keys}
            new = {key: request for key, request in zip(keys, requests, strict=True) if stored[key] is None}
            answers: dict[str, Completion | Refused] = {key: item for key, item in stored.items() if item is not None}
            for key, answer in zip(new, self._complete(list(new.values()), stop), strict=True):
                answers[key] = answer
                if isinstance(answer, Completion):
                    self._budget.pay(answer)
                    self._replies.put(key, answer)
        for _ in range(len(keys) - len(new)):
            self._budget.reuse()
        return [(answers[key], key not in new) for key in keys]

    @contextmanager
    def _alone(self, keys: set[str]) -> Iterator[None]:
        """Wait until nobody else asks any of the same, so that equal requests at one time are sent once."""
        with self._turn:
            self._turn.wait_for(lambda: not keys & self._in_flight)
            self._in_flight |= keys
        try:
            yield
        finally:
            with self._turn:
                self._in_flight -= keys
                self._turn.notify_all()


def _add(total: Reply, answer: Completion, cached: bool) -> Reply:
    """Return the sum of what a reply has taken."""
    sent, received = total.prompt_tokens + answer.prompt_tokens, total.completion_tokens + answer.completion_tokens
    return Reply("", sent, received, total.cached and cached)


def _once_more(request: Request, text: str, fault: str, attempt: int) -> Request:
    """Return the request with what came of it, and what is wrong with that."""
    feedback = (
        f"This does not have the form that I asked for: {fault}. Reply again with one JSON value and nothing else. "
        f"It must fit this JSON schema: {json.dumps(request.schema)}"
    )
    turns = [{"role": "assistant", "content": text[:4000] or "(nothing)"}, {"role": "user", "content": feedback}]
    return request._replace(messages=[*request.messages, *turns], seed=request.seed + attempt)


def _unordered(
    function: Callable[[Item], Result], items: Iterator[Item], workers: int, stop: Event
) -> Iterator[Result]:
    """Yield the result of each item when it is there, from so many threads; items are read as they are needed.

    When one fails, no more are begun, the results of those that run are still yielded, and then the error is raised.
    """
    if workers == 1:
        yield from map(function, items)
        return
    failure: BaseException | None = None
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                free = 0 if failure else 2 * workers - len(running)  # some wait, so that no thread does
                running |= {pool.submit(function, item) for item in islice(items, free)}
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    if error := future.exception():
                        failure = failure or error
                        stop.set()
                    else:
                        yield future.result()
        finally:  # also when nobody reads on
            stop.set()
            for future in running:
                future.cancel()
    if failure:
        raise failure
