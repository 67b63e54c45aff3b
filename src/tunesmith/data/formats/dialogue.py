"""Conversation types with one layout each: `pygmalion` and `llama2_chat`."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.conversation import (
    Conversation,
    Message,
    answer,
    items_of,
    require_training,
    text_of,
    tokenizer_of,
)
from tunesmith.data.formats.spec import Format, FormatSpec
from tunesmith.data.tokenizer import adds_bos
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError

PYGMALION = {"system": None, "human": 0, "bot": 1}
HEADERS = {None: "<|system|>Persona: ", 0: "<|user|> ", 1: "<|model|> "}


def _read_pygmalion(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    return [pygmalion_message(number, item) for number, item in enumerate(items_of(values, spec.dataset), 1)]


def pygmalion_message(number: int, item: Any) -> Message:
    """Return a message of a role play.

    Raises:
        DataError: its role is unknown, or it lacks role or text.
    """
    name, text = text_of(number, item, "role", "value")
    if name not in PYGMALION:
        raise DataError(f"message {number}: role {name} is none of {', '.join(PYGMALION)}")
    return Message(name, text, PYGMALION[name])


def _pygmalion(messages: Sequence[Message], spec: FormatSpec) -> Rendered:
    """Render a role play: the persona, then user and model; the model's answers are trained, without its name."""
    spans = pygmalion_spans(messages, inputs=spec.train_on_inputs)
    require_training(spans, [message.text for message in messages if message.speaker == 1], spec)
    return Rendered(tuple(spans), bos="own")


def pygmalion_spans(messages: Sequence[Message], *, inputs: bool) -> list[Span]:
    """Return a span for each message of a role play."""
    spans = []
    for message in messages:
        header = HEADERS[message.speaker]
        text = message.text.removesuffix("\n<START>" if message.speaker is None else "").strip()
        is_answer = message.speaker == 1
        spans.append(answer(header, text, inputs=inputs, ends=1) if is_answer else Span(header + text, inputs))
    return spans


SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
ANSWER = "[/INST]"


def read_llama2(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    """Read a conversation of human and gpt."""
    found = []
    for number, item in enumerate(items_of(values, spec.dataset), 1):
        name, text = text_of(number, item, "from", "value")
        if name not in ("human", "gpt") and not (name == "system" and number == 1):
            raise DataError(f"message {number}: role {name} is neither human nor gpt, nor system at the start")
        found.append(Message(name, text, {"human": 0, "gpt": 1}.get(name)))
    return found


def split_system(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """Return the system text and what user and model say."""
    has_system = messages[0].speaker is None
    said = list(messages[has_system:])
    if len(said) < 2:
        raise DataError(f"a conversation needs two messages or more besides the system's; found {len(said)}")
    return messages[0].text if has_system else SYSTEM, said


def require_turns(said: Sequence[Message]) -> None:
    """Raise a DataError if user and model do not take turns."""
    for index, message in enumerate(said):
        if message.speaker != index % 2:
            raise DataError(f"human and gpt should take turns, the human first; turn {index + 1} is {message.name}'s")


def texts_of(system: str, said: Sequence[Message]) -> list[str]:
    """Return what is written for each message, without what separates them."""
    texts = [f"{ANSWER if message.speaker else '[INST]'} {message.text.strip()}" for message in said]
    return [f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{said[0].text.strip()}", *texts[1:]] if said else []


def _llama2(messages: Sequence[Message], spec: FormatSpec) -> Rendered:
    """Render a conversation; its begin and end tokens are those of the tokenizer, not Llama-2's."""
    tokenizer = tokenizer_of(spec)
    begin = tokenizer.bos_token if adds_bos(tokenizer) else ""
    rendered = llama2_text(messages, spec, (begin, begin, tokenizer.eos_token))
    require_training(rendered.spans, [message.text for message in split_system(messages)[1][1::2]], spec)
    return rendered


def llama2_text(messages: Sequence[Message], spec: FormatSpec, marks: tuple[str, str, str]) -> Rendered:
    """Return a conversation as one text.

    Args:
        messages: the conversation.
        spec: settings of its dataset.
        marks: what stands before the first question and before each later one, and what ends an answer.
    """
    system, said = split_system(messages)
    first, begin, end = marks
    require_turns(said)
    said = said[: len(said) // 2 * 2]  # after a last question there is nothing to train
    spans, prompts, place = [], [], 0
    for index, text in enumerate(texts_of(system, said)):
        if index % 2 == 0:
            question = f"{begin if index else first}{text}{' ' if index else ''}{ANSWER}"
            spans.append(Span(question, spec.train_on_inputs))
            place += len(question)
        else:
            reply = f"{text.removeprefix(ANSWER)} {end}"
            spans.append(Span(reply, True))
            prompts.append(place)
            place += len(reply)
    return Rendered(tuple(spans), joint=True, prompts=() if spec.train_on_inputs else tuple(prompts))


DIALOGUE_TYPES = {
    "pygmalion": Conversation(_read_pygmalion, _pygmalion),
    "llama2_chat": Conversation(read_llama2, _llama2),
}
DIALOGUE: dict[str, Format] = {name: kind.format for name, kind in DIALOGUE_TYPES.items()}
