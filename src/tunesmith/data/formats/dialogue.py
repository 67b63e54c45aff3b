"""Conversation types with one layout each: `pygmalion` and `llama2_chat`."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats.conversation import answer, items_of, require_training, text_of
from tunesmith.data.formats.format import Format, FormatSpec, tokenizer_of
from tunesmith.data.messages import Conversation, Message, text_message
from tunesmith.data.tokenizer import adds_bos, eos_of
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import DataError

PYGMALION = {"system": "system", "human": "user", "bot": "assistant"}
HEADERS = {"system": "<|system|>Persona: ", "user": "<|user|> ", "assistant": "<|model|> "}
LLAMA2 = {"system": "system", "human": "user", "gpt": "assistant"}


def _read_pygmalion(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    items = items_of(values, spec.dataset)
    return Conversation(tuple(pygmalion_message(number, item) for number, item in enumerate(items, 1)))


def pygmalion_message(number: int, item: Any) -> Message:
    """Return a message of a role play.

    Raises:
        DataError: its role is unknown, or it lacks role or text.
    """
    name, text = text_of(number, item, "role", "value")
    if name not in PYGMALION:
        raise DataError(f"message {number}: role {name} is none of {', '.join(PYGMALION)}")
    return text_message(PYGMALION[name], text)


def _render_pygmalion(conversation: Conversation, spec: FormatSpec) -> list[Rendered]:
    """Render a role play: the persona, then user and model; the model's answers are trained, without its name."""
    messages = conversation.messages
    segments = pygmalion_spans(messages, inputs=spec.train_on_inputs)
    answers = [message.content for message in messages if message.role == "assistant"]
    require_training(segments, answers, inputs=spec.train_on_inputs)
    return [Rendered(tuple(segments), bos="own")]


def pygmalion_spans(messages: Sequence[Message], *, inputs: bool) -> list[Segment]:
    """Return a segment for each message of a role play."""
    segments = []
    for message in messages:
        header, text = HEADERS[message.role], message.content
        if message.role == "system":
            text = text.removesuffix("\n<START>")
        if message.role == "assistant":
            segments.append(answer(header, text.strip(), inputs=inputs, ends=1))
        else:
            segments.append(Segment(header + text.strip(), inputs))
    return segments


SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
ANSWER = "[/INST]"


def read_llama2(values: dict[str, Any], spec: FormatSpec) -> Conversation:
    """Read a conversation of human and gpt."""
    messages = []
    for number, item in enumerate(items_of(values, spec.dataset), 1):
        name, text = text_of(number, item, "from", "value")
        if name not in ("human", "gpt") and not (name == "system" and number == 1):
            raise DataError(f"message {number}: role {name} is neither human nor gpt, nor system at the start")
        messages.append(text_message(LLAMA2[name], text))
    return Conversation(tuple(messages))


def split_system(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """Return the system text and the other messages."""
    has_system = messages[0].role == "system"
    turns = list(messages[has_system:])
    if len(turns) < 2:
        raise DataError(f"a conversation needs two messages or more besides the system's; found {len(turns)}")
    return messages[0].content if has_system else SYSTEM, turns


def require_turns(turns: Sequence[Message]) -> None:
    """Raise a DataError if user and model do not take turns."""
    for index, message in enumerate(turns):
        if message.role != ("user", "assistant")[index % 2]:
            name = {"user": "human", "assistant": "gpt"}.get(message.role, message.role)
            raise DataError(f"human and gpt should take turns, the human first; turn {index + 1} is {name}'s")


def texts_of(system: str, turns: Sequence[Message]) -> list[str]:
    """Return what is written for each message, without what separates them."""
    texts = [f"{ANSWER if turn.role == 'assistant' else '[INST]'} {turn.content.strip()}" for turn in turns]
    return [f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{turns[0].content.strip()}", *texts[1:]] if turns else []


def _render_llama2(conversation: Conversation, spec: FormatSpec) -> list[Rendered]:
    """Render a conversation; its BOS and end tokens are those of the tokenizer, not Llama-2's."""
    tokenizer = tokenizer_of(spec)
    bos = tokenizer.bos_token or "" if adds_bos(tokenizer) else ""
    rendered = llama2_text(conversation, spec, (bos, bos, eos_of(tokenizer)[0]))
    answers = [turn.content for turn in split_system(conversation.messages)[1][1::2]]
    require_training(rendered.segments, answers, inputs=spec.train_on_inputs)
    return [rendered]


def llama2_text(conversation: Conversation, spec: FormatSpec, markers: tuple[str, str, str]) -> Rendered:
    """Return a conversation as one text.

    Args:
        conversation: the conversation.
        spec: settings of its dataset.
        markers: what stands before the first question and before each later one, and what ends an answer.
    """
    system, turns = split_system(conversation.messages)
    first, later, end = markers
    require_turns(turns)
    turns = turns[: len(turns) // 2 * 2]  # after a last question there is nothing to train
    segments, prompt_ends, offset = [], [], 0
    for index, text in enumerate(texts_of(system, turns)):
        if index % 2 == 0:
            question = f"{later if index else first}{text}{' ' if index else ''}{ANSWER}"
            segments.append(Segment(question, spec.train_on_inputs))
            offset += len(question)
        else:
            reply = f"{text.removeprefix(ANSWER)} {end}"
            segments.append(Segment(reply, True))
            prompt_ends.append(offset)
            offset += len(reply)
    return Rendered(
        tuple(segments), tokenize_whole=True, prompt_ends=() if spec.train_on_inputs else tuple(prompt_ends)
    )


KEYS = frozenset({"field_messages"})
DIALOGUE = {
    "pygmalion": Format("pygmalion", _read_pygmalion, _render_pygmalion, keys=KEYS, turns=True),
    "llama2_chat": Format("llama2_chat", read_llama2, _render_llama2, keys=KEYS, turns=True),
}
"""Value of `type` -> its record."""
