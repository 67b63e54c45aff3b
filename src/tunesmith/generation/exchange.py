"""What is said between us and a model: a request, what one exchange gave, and what became of the request."""

from typing import Any, NamedTuple


class Prompt(NamedTuple):
    """A prompt in tokens, as a model was trained on it, in place of messages that a server would render.

    Attributes:
        ids: the tokens.
        text: what a tokenizer turns into these tokens, for servers that take none; None if there is no such text.
        ends: ids of tokens that end the answer.
        stops: their texts.
    """

    ids: list[int]
    text: str | None
    ends: list[int]
    stops: list[str]


def whole(text: str) -> str:
    """Return a text with `?` for each unpaired surrogate, which a model may write and no file can hold."""
    return text.encode("utf-8", "replace").decode()


class Request(NamedTuple):
    """A question to a model. Two equal requests get the same reply; another `seed` asks anew.

    Attributes:
        messages: the conversation, the user's turn last.
        schema: JSON schema that the reply must fit; None takes any text.
        temperature: spread of the random choice; 0 takes the likeliest.
        max_tokens: longest reply.
        seed: of the random choice, where the server takes one.
        prompt: what the model is fed in place of `messages`, by the server's /completions.
    """

    messages: list[dict[str, str]]
    schema: dict[str, Any] | None = None
    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0
    prompt: Prompt | None = None


class Completion(NamedTuple):
    """What the model wrote in one exchange.

    Attributes:
        text: the words.
        prompt_tokens: length of what was sent.
        completion_tokens: length of what came back.
        cut: it was longer than `max_tokens`.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool


class Reply(NamedTuple):
    """The answer to a request; with a schema, its text is the JSON value that fits and nothing else.

    Attributes:
        text: the answer.
        prompt_tokens: sent for it, also where it took several exchanges.
        completion_tokens: received for it.
        cached: nothing was asked for it in this run.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cached: bool


class Refused(NamedTuple):
    """A request that was given up after the retries, and why."""

    reason: str
