"""Counts what asking costs, and says when it is enough."""

from threading import Lock
from typing import NamedTuple

from tunesmith.errors import RunError
from tunesmith.generation.exchange import Completion
from tunesmith.sections import EndpointSection


class Stopped(RunError):
    """No more is asked in this run: a limit is reached, or the server is of no use. What was answered is kept.

    Attributes:
        reason: why.
    """

    def __init__(self, reason: str, kept: str = "") -> None:
        """Say why, and what is `kept` for the next run."""
        super().__init__(f"{reason}. {kept}" if kept else reason)
        self.reason = reason


class Spent(NamedTuple):
    """What asking has cost in this run.

    Attributes:
        requests: sent to the model, those that failed included.
        cached: replies that were there already.
        prompt_tokens: sent.
        completion_tokens: received.
        cost: of these tokens, by the prices of the config; 0 without them.
    """

    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __str__(self) -> str:
        """Return the cost line."""
        price = f", cost {self.cost:.4f}" if self.cost else ""
        tokens = f"{self.prompt_tokens:,} tokens in, {self.completion_tokens:,} out"
        return f"{self.requests:,} requests ({self.cached:,} replies from the cache), {tokens}{price}"


class Budget:
    """The limits of an endpoint and what is spent of them; to be used from any thread."""

    def __init__(self, section: EndpointSection) -> None:
        """Begin with nothing spent."""
        self._section = section
        self._lock = Lock()
        self.spent = Spent()

    def begin(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            Stopped: a limit is reached.
        """
        with self._lock:
            limits = self._section
            limit = ""
            if limits.max_requests is not None and self.spent.requests >= limits.max_requests:
                limit = f"max_requests: {limits.max_requests}"
            if limits.max_cost is not None and self.spent.cost >= limits.max_cost:
                limit = f"max_cost: {limits.max_cost:g}"
            if limit:
                raise Stopped(
                    f"`{limit}` is reached",
                    "All replies are kept: the same command goes on from here, with as much again",
                )
            self.spent = self.spent._replace(requests=self.spent.requests + 1)

    def pay(self, reply: Completion) -> None:
        """Count a reply of the model."""
        with self._lock:
            sent, received = reply.prompt_tokens, reply.completion_tokens
            price = (self._section.input_cost or 0) * sent + (self._section.output_cost or 0) * received
            self.spent = self.spent._replace(
                prompt_tokens=self.spent.prompt_tokens + sent,
                completion_tokens=self.spent.completion_tokens + received,
                cost=self.spent.cost + price / 1e6,
            )

    def reuse(self) -> None:
        """Count a reply that was there already."""
        with self._lock:
            self.spent = self.spent._replace(cached=self.spent.cached + 1)
