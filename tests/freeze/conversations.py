"""Conversations and preferences to freeze, drawn by a seed."""

from random import Random
from typing import Any

from rows import Row, maybe_json, spoil, text

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Return the {name}.",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
    for name in ("weather", "time")
]


def _turns(draw: Random, user: str, model: str, system: str = "system") -> list[tuple[str, str]]:
    """Return roles and texts, mostly in order, now and then not."""
    found = [(system, text(draw))] if draw.random() < 0.4 else []
    for _ in range(draw.randint(1, 3)):
        found += [(user, text(draw)), (model, text(draw))]
    fault = draw.randint(1, 30)
    if fault == 1:
        found = found[:-1]
    elif fault == 2:
        found[-1] = (model, draw.choice(("", " ", "\n")))
    elif fault == 3:
        found = [*found, (draw.choice((user, "critic", system)), text(draw))]
    elif fault == 4:
        found = [turn for turn in found if turn[0] != user]
    elif fault == 5:
        found = [*found, (model, text(draw)), (model, text(draw))]
    elif fault == 6:
        found = [turn for turn in found if turn[0] != model]
    elif fault == 7:
        found.insert(len(found) // 2, (draw.choice((system, "tool")), text(draw)))
    return found


def _broken(draw: Random, messages: list[Any]) -> Any:
    """Return messages of which now and then one is at fault."""
    if draw.random() >= 0.08:
        return messages
    place = draw.randrange(len(messages)) if messages else 0
    fault = draw.randint(0, 5)
    if not messages or fault == 0:
        return draw.choice(([], "no JSON", None, {"role": "user"}))
    first = next(iter(messages[place]))
    if fault == 1:
        messages[place] = {key: value for key, value in messages[place].items() if key != first}
    elif fault == 2:
        messages[place] = draw.choice(("text", 3, None))
    elif fault == 3:
        messages[place] = messages[place] | {list(messages[place])[1]: draw.choice((7, None, {}, [], 1.5))}
    elif fault == 4:
        messages[place] = messages[place] | {first: draw.choice(("ghost", 3, ""))}
    else:
        messages[place] = {"role": "user"}
    return messages


def chat(draw: Random) -> Row:
    """Return a plain chat."""
    messages = [{"role": role, "content": said} for role, said in _turns(draw, "user", "assistant")]
    row: Row = {"messages": maybe_json(draw, _broken(draw, messages))}
    return row | ({"system": text(draw)} if draw.random() < 0.1 else {})


def from_value(draw: Random) -> Row:
    """Return a chat of `from` and `value`, with other names of the roles."""
    user, model = draw.choice((("human", "gpt"), ("user", "assistant"), ("human", "bot")))
    messages = [{"from": role, "value": said} for role, said in _turns(draw, user, model)]
    return {"conversations": _broken(draw, messages)}


pairs_from_value = from_value


def flagged(draw: Random) -> Row:
    """Return a chat whose messages, or parts of them, say whether they are trained."""
    messages: list[Row] = []
    for role, said in _turns(draw, "user", "assistant"):
        message: Row = {"role": role, "content": said}
        if draw.random() < 0.4:
            message["train"] = draw.choice((True, False, 1, 0, None))
        if draw.random() < 0.2:
            message["weight"] = draw.choice((0, 1, 0.0))
        if draw.random() < 0.3 and said:
            ends = sorted(draw.sample(range(len(said)), min(2, len(said))))
            detail = {"begin_offset": ends[0], "end_offset": ends[-1], "train": draw.random() < 0.7}
            message["spans"] = [detail] if draw.random() < 0.9 else [detail | {"end_offset": 9999}]
        messages.append(message)
    return {"messages": messages}


def parts(draw: Random) -> Row:
    """Return a chat whose contents are lists of parts."""
    messages: list[Row] = []
    for role, said in _turns(draw, "user", "assistant"):
        pieces: list[Any] = []
        for _ in range(draw.randint(1, 3)):
            piece: Row = {"type": "text", draw.choice(("text", "text", "content", "value")): text(draw)}
            if draw.random() < 0.5:
                piece |= draw.choice(({"train": False}, {"train": True}, {"weight": 0}, {"weight": 1}))
            pieces.append(piece)
        if draw.random() < 0.04:
            pieces.append({"type": "image", "url": "a.png"})
        messages.append({"role": role, "content": pieces if draw.random() < 0.7 else said})
    return {"messages": messages}


def thinking(draw: Random) -> Row:
    """Return a chat with reasoning: in a key of its own, or in the content between tags."""
    messages: list[Row] = []
    for role, said in _turns(draw, "user", "assistant"):
        message: Row = {"role": role, "content": said}
        if role == "assistant":
            how, thought = draw.randint(0, 4), text(draw)
            if how == 0:
                message["reasoning_content"] = thought
            elif how == 1:
                message["content"] = f"<think>\n{thought}\n</think>\n\n{said}"
            elif how == 2:
                message["thought"] = thought
            elif how == 3:
                message["reasoning_content"] = [{"type": "text", "text": thought, "train": False}, {"text": "so"}]
        messages.append(message)
    return {"messages": messages}


def tools(draw: Random) -> Row:
    """Return a chat in which tools are called."""
    messages: list[Row] = [{"role": "system", "content": text(draw)}] if draw.random() < 0.3 else []
    for _ in range(draw.randint(1, 2)):
        messages.append({"role": "user", "content": text(draw)})
        arguments: Any = {"place": text(draw)}
        if draw.random() < 0.4:
            arguments = '{"place": "here"}' if draw.random() < 0.8 else '{"place": '
        call = {"type": "function", "id": "call12345", "function": {"name": "weather", "arguments": arguments}}
        called: Row = {"role": "assistant", "tool_calls": [call] * draw.randint(1, 2)}
        if draw.random() < 0.5:
            called["content"] = draw.choice(("", text(draw)))
        answer = {"role": "tool", "content": text(draw), "name": "weather", "tool_call_id": "call12345"}
        messages += [called, answer]
        if draw.random() < 0.9:
            messages.append({"role": "assistant", "content": text(draw)})
    row: Row = {"messages": messages}
    if draw.random() < 0.8:
        row["tools"] = maybe_json(draw, TOOLS[: draw.randint(1, 2)])
    return row if draw.random() < 0.95 else row | {"tools": draw.choice(("no JSON", 7, {"a": 1}))}


def sharegpt(draw: Random) -> Row:
    """Return a row of sharegpt, with weights and roles of its own now and then."""
    role, said = draw.choice((("from", "value"), ("from", "value"), ("role", "content"), ("role", "text")))
    user, model = draw.choice((("human", "gpt"), ("human", "gpt"), ("user", "assistant")))
    messages: list[Row] = [{role: name, said: words} for name, words in _turns(draw, user, model)]
    for message in messages:
        if draw.random() < 0.1:
            message["weight"] = draw.choice((0, 1, 0.5, None))
    row: Row = {"conversations": _broken(draw, messages)}
    return row | ({"roles": ["Asker", "Teller"]} if draw.random() < 0.08 else {})


def loader(role: str, said: str, user: str, model: str, column: str = "conversations") -> Any:
    """Return a generator of conversations with these names."""

    def make(draw: Random) -> Row:
        messages = [{role: name, said: words} for name, words in _turns(draw, user, model)]
        return {column: _broken(draw, messages)}

    return make


def glaive(draw: Random) -> Row:
    names = {"user": "USER: ", "assistant": "ASSISTANT: ", "system": "FUNCTION RESPONSE: "}
    said = "\n\n".join(names.get(role, "OTHER: ") + words for role, words in _turns(draw, "user", "assistant"))
    return spoil(draw, {"system": f"SYSTEM: {text(draw)}", "chat": said})


def _messages(draw: Random, *roles: str) -> list[Row]:
    return [{"role": role, "content": text(draw)} for role in roles]


def pair_of_messages(draw: Random) -> Row:
    """Return a row of prompt and completion, both messages, or now and then both text."""
    if draw.random() < 0.3:
        return spoil(draw, {"prompt": text(draw) + draw.choice(("", "\n", " ")), "completion": " " + text(draw)})
    asked = _messages(draw, *draw.choice((("user",), ("system", "user"), ("user", "assistant", "user"), ("system",))))
    row: Row = {"prompt": asked, "completion": _messages(draw, *draw.choice((("assistant",), ("assistant", "tool"))))}
    if draw.random() < 0.2:
        row["tools"] = TOOLS
    return spoil(draw, row, 0.1)


def preference(draw: Random) -> Row:
    """Return a pair in plain texts, the question in one of the usual columns."""
    asked = draw.choice(("prompt", "question", "input", "instruction", "messages"))
    row: Row = {asked: text(draw), "chosen": text(draw), "rejected": text(draw)}
    if draw.random() < 0.3:
        row["system"] = text(draw)
    if draw.random() < 0.1:
        row["chosen_response"] = row.pop("chosen")
    return spoil(draw, row | {"field_prompt": text(draw)})


def preference_chats(draw: Random) -> Row:
    """Return a pair of which each answer is a whole conversation, or its last message."""
    asked = _messages(draw, *draw.choice((("user",), ("user",), ("system", "user"), ("user", "assistant", "user"))))
    answers = [_messages(draw, "assistant") for _ in range(2)]
    kind = draw.randint(0, 3)
    if kind == 0:
        row: Row = {"prompt": asked, "chosen": answers[0], "rejected": answers[1]}
    elif kind == 1:
        row = {"messages": asked, "chosen": answers[0][0], "rejected": answers[1][0]}
    else:
        row = {"chosen": asked + answers[0], "rejected": asked + answers[1]}
        row |= {"prompt": asked[-1]["content"]} if kind == 3 else {}
    if draw.random() < 0.2:
        row["system"] = text(draw)
    return spoil(draw, row)


def ranked(draw: Random) -> Row:
    answers = [{"answer": text(draw), "rank": draw.randint(1, 3)} for _ in range(draw.randint(1, 4))]
    return spoil(draw, {"prompt": text(draw), "answers": answers})


def judged(draw: Random) -> Row:
    """Return an answer that is good or bad."""
    asked = draw.choice(("prompt", "question", "instruction"))
    row: Row = {asked: text(draw), "completion": text(draw), "label": draw.choice((True, False, 1, 0))}
    if draw.random() < 0.3:
        row = {"prompt": _messages(draw, "user"), "completion": _messages(draw, "assistant"), "label": True}
        if draw.random() < 0.5:
            row["completion"] = row.pop("prompt") + row["completion"]
    if draw.random() < 0.2:
        row["system"] = text(draw)
    return spoil(draw, row)
