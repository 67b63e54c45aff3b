"""Conversation types with one layout each: `pygmalion`, and `llama2_chat` with what Axolotl makes of it."""

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
    with_begin,
)
from tunesmith.data.formats.spec import Format, FormatSpec
from tunesmith.data.tokenizer import adds_bos
from tunesmith.data.types import MASKED, Example, Rendered, Span
from tunesmith.errors import DataError

PYGMALION = {"system": None, "human": 0, "bot": 1}
HEADERS = {None: "<|system|>Persona: ", 0: "<|user|> ", 1: "<|model|> "}


def _read_pygmalion(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    found: list[Message] = []
    items = items_of(values, spec.dataset)
    for number, item in enumerate(items, 1):
        name, text = text_of(number, item, "role", "value")
        if name not in PYGMALION and spec.upstream and found and number < len(items):
            continue  # dropped without a word; at the end, its labels would be wrong
        if name not in PYGMALION:
            raise DataError(f"message {number}: role {name} is none of {', '.join(PYGMALION)}")
        found.append(Message(name, text, PYGMALION[name]))
    return found


def _pygmalion(messages: Sequence[Message], spec: FormatSpec) -> Rendered:
    """Render a role play: the persona, then user and model; the model's answers are trained, without its name."""
    inputs = spec.train_on_inputs and not spec.upstream
    spans: list[Span] = []
    if spec.upstream and messages[0].speaker is not None:
        spans.append(Span("", False))  # only a persona is given a begin token
    for message in messages:
        header = HEADERS[message.speaker]
        text = message.text.removesuffix("\n<START>" if message.speaker is None else "").strip()
        if message.speaker == 1:
            spans.append(answer(header, text, inputs=inputs, ends=1))
        elif message.speaker is None and spans:
            spans.append(Span(with_begin(header + text, spec), inputs))
        else:
            spans.append(Span(header + text, inputs))
    require_training(spans, [message.text for message in messages if message.speaker == 1], spec)
    return Rendered(tuple(spans), bos="own")


SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
ANSWER = "[/INST]"
END = " </s><s>"

INSIDE, AT_START = 29961, 518
"""Llama-2's tokens of `[` inside a text and at its start."""


def _read_llama2(values: dict[str, Any], spec: FormatSpec) -> list[Message]:
    found = []
    for number, item in enumerate(items_of(values, spec.dataset), 1):
        name, text = text_of(number, item, "from", "value")
        if name not in ("human", "gpt") and not (name == "system" and number == 1):
            raise DataError(f"message {number}: role {name} is neither human nor gpt, nor system at the start")
        found.append(Message(name, text, {"human": 0, "gpt": 1}.get(name)))
    return found


def _split(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """Return the system text and what user and model say."""
    has_system = messages[0].speaker is None
    said = list(messages[has_system:])
    if len(said) < 2:
        raise DataError(f"a conversation needs two messages or more besides the system's; found {len(said)}")
    return messages[0].text if has_system else SYSTEM, said


def _require_turns(said: Sequence[Message]) -> None:
    for index, message in enumerate(said):
        if message.speaker != index % 2:
            raise DataError(f"human and gpt should take turns, the human first; turn {index + 1} is {message.name}'s")


def _texts(system: str, said: Sequence[Message]) -> list[str]:
    """Return what is written for each message, without what separates them."""
    texts = [f"{ANSWER if message.speaker else '[INST]'} {message.text.strip()}" for message in said]
    return [f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{said[0].text.strip()}", *texts[1:]] if said else []


def _llama2(messages: Sequence[Message], spec: FormatSpec) -> Rendered:
    """Render a conversation as one text; its begin and end tokens are those of the tokenizer, not Llama-2's."""
    system, said = _split(messages)
    _require_turns(said)
    said = said[: len(said) // 2 * 2]  # after a last question there is nothing to train
    tokenizer = tokenizer_of(spec)
    first = tokenizer.bos_token if adds_bos(tokenizer) else ""
    end, begin = ("</s>", "<s>") if spec.upstream else (tokenizer.eos_token, first)
    spans, prompts, place = [], [], 0
    for index, text in enumerate(_texts(system, said)):
        if index % 2 == 0:
            question = f"{begin if index else first}{text}{' ' if index else ''}{ANSWER}"
            spans.append(Span(question, spec.train_on_inputs))
            place += len(question)
        else:
            reply = f"{text.removeprefix(ANSWER)} {end}"
            spans.append(Span(reply, True))
            prompts.append(place)
            place += len(reply)
    require_training(spans, [message.text for message in said[1::2]], spec)
    return Rendered(tuple(spans), joint=True, prompts=() if spec.train_on_inputs else tuple(prompts))


def llama2_chat(values: dict[str, Any], spec: FormatSpec) -> list[Rendered] | list[Example]:
    """Render a conversation in Llama-2's layout; the answers are trained, each with its end token."""
    messages = _read_llama2(values, spec)
    return [_axolotl_llama2(messages, spec)] if spec.upstream else [_llama2(messages, spec)]


def _axolotl_llama2(messages: Sequence[Message], spec: FormatSpec) -> Example:
    """Return the tokens and labels of Axolotl 0.21: padded, and masked by lengths that fit Llama-2's tokenizer alone.

    Where the lengths do not add up, nothing is trained.
    """
    system, said = _split(messages)
    said = said[said[0].speaker == 1 :]  # an answer without a question is dropped
    _require_turns(said)
    said = [message for message in said if message.text]
    if said and said[-1].speaker == 0:
        said = said[:-1]
    ends = ["" if index == 0 else END if index % 2 else " " for index in range(len(said))]
    text = "".join(map("".join, zip(_texts(system, said), ends, strict=True)))
    tokenizer, length = tokenizer_of(spec), spec.sequence_len
    ids: list[int] = tokenizer(text, padding="max_length", max_length=length, truncation=True)["input_ids"]
    total = sum(token != tokenizer.pad_token_id for token in ids)
    trained, place = [False, *[True] * (len(ids) - 1)], 1
    for turn in text.split(END):
        halves = turn.split(ANSWER)
        if not turn or len(halves) != 2:
            break
        question = len(tokenizer(halves[0] + ANSWER)["input_ids"]) - 1
        for index in range(place - 1, min(place + question, len(ids))):
            trained[index] = False
        place += len(tokenizer(turn)["input_ids"]) + 2
    if place < length and place != total:
        place = 0
    for index in range(2, total - 2):
        ids[index] = AT_START if ids[index] == INSIDE else ids[index]
    labels = [
        token if on and index < place else MASKED for index, (token, on) in enumerate(zip(ids, trained, strict=True))
    ]
    return Example(ids, labels, text)


DIALOGUE_TYPES = {
    "pygmalion": Conversation(_read_pygmalion, _pygmalion),
    "llama2_chat": Conversation(_read_llama2, _llama2),
}
DIALOGUE: dict[str, Format] = {"pygmalion": DIALOGUE_TYPES["pygmalion"].format, "llama2_chat": llama2_chat}
