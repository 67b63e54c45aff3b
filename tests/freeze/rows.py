"""Rows to freeze, drawn by a seed: ordinary ones, odd ones, and about one in six at fault."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

Row = dict[str, Any]

WORDS = [
    "the",
    "bee",
    "dances",
    "a",
    "waggle",
    "of",
    "honey",
    "sweet",
    "comb",
    "queen",
    "drone",
    "hive",
    "42",
    "3.14",
    "1,000",
    "x_1",
    "def",
    "f(x):",
    "return",
    "Größe",
    "naïve",
    "蜜蜂",
    "はちみつ",
    "пчела",
    "🐝",
    "👩\u200d🚀",
    "don't",
    "{x}",
    "{{y}}",
    "%s",
    "==",
    "<b>",
    "C:\\temp",
    "https://a.b/c?d=e",
    "It's",
    "true,",
    "that.",
]
ODD = (
    "", " ", "\n", " leading", "trailing ", "trailing\n", "\n\nblank\n\nlines\n\n", "<|im_end|>", "</s>", "<s>",
    "[INST] no [/INST]", "tab\there", "<think>hm</think>", "<think>\nfirst\n</think>\n\nthen", "a\r\nb", "e\u0301",
    "\u200b", "<|eot_id|>", "<end_of_turn>", "USER: hi ASSISTANT: ho", "### Response:\n", "[[dummy_message]]",
    "zzdummymessagezz", "<reasoning>so</reasoning>yes", "{{ messages }}", "<|endoftext|>", "'\"", "\n<START>",
)  # fmt: skip
NONSENSE = (None, "", "   ", 7, 0, 2.5, True, [], ["a"], {}, {"a": 1}, "[]", "{")


def text(draw: Random) -> str:
    """Return a text: some words, or some with an odd one among them."""
    count = 150 if draw.random() < 0.01 else draw.randint(1, 10)
    words = [draw.choice(WORDS) for _ in range(count)]
    if draw.random() < 0.2:
        words.insert(draw.randint(0, count), draw.choice(ODD))
    return draw.choice((" ", " ", " ", "\n")).join(words)


def spoil(draw: Random, row: Row, share: float = 0.16) -> Row:
    """Return the row, or now and then one whose column is missing or holds nonsense."""
    if draw.random() >= share or not row:
        return row
    column = draw.choice(list(row))
    if draw.random() < 0.4:
        return {key: value for key, value in row.items() if key != column}
    return row | {column: draw.choice(NONSENSE)}


def columns(names: str) -> Callable[[Random], Row]:
    """Return a generator of rows with these text columns; `name?` may be left out or empty."""

    def make(draw: Random) -> Row:
        row: Row = {}
        for name in names.split():
            if name.endswith("?") and draw.random() < 0.4:
                if draw.random() < 0.5:
                    row[name[:-1]] = draw.choice(("", None))
                continue
            row[name.removesuffix("?")] = text(draw)
        return spoil(draw, row)

    return make


def choices(draw: Random) -> Row:
    row = {"question": text(draw), "choices": [text(draw) for _ in range(draw.randint(1, 3))]}
    return spoil(draw, row | {draw.choice(("solution", "explanation")): text(draw)})


def creative(draw: Random) -> Row:
    names = ("instruction", "answer", "revision")
    scores = {"harm": draw.randint(1, 5), "quality": draw.randint(1, 5)}
    row = {name: text(draw) for name in names} | {"scores": scores, "critiques": {"harm": text(draw)}}
    return spoil(draw, row)


def completion(draw: Random) -> Row:
    row = {"text": text(draw), "other": [text(draw), text(draw)]}
    return spoil(draw, row, 0.3)


def long_text(draw: Random) -> Row:
    return {"text": " ".join(text(draw) for _ in range(25))}


def segments(draw: Random) -> Row:
    found = [{"label": draw.random() < 0.5, "text": text(draw)} for _ in range(draw.randint(1, 5))]
    if draw.random() < 0.2:
        found.append(draw.choice(({"text": "a"}, {"label": 1, "text": "b"}, {"label": True, "text": None}, "c")))
    return spoil(draw, {"segments": found}, 0.1)


def steps(draw: Random) -> Row:
    count = draw.randint(0, 4)
    labels: list[Any] = [draw.choice((True, False, 1, 0)) for _ in range(count)]
    if count and draw.random() < 0.15:
        labels[0] = draw.choice((2, "x", None, -1))
    row = {"prompt": text(draw), "completions": [text(draw) for _ in range(count)], "labels": labels}
    return spoil(draw, row, 0.1)


def tokens(draw: Random) -> Row:
    ids = [draw.randint(0, 900) for _ in range(draw.randint(1, 12))]
    row: Row = {"input_ids": ids, "labels": [one if draw.random() < 0.6 else -100 for one in ids]}
    if draw.random() < 0.4:
        row["attention_mask"] = [int(draw.random() < 0.8) for _ in ids]
    if draw.random() < 0.1:
        row["input_ids"] = [*ids[1:], draw.choice((10**9, -1, "x"))]
    return spoil(draw, row, 0.1)


def guessed(draw: Random) -> Row:
    """Return a row without a type, whose columns tell it."""
    names = (
        "instruction output", "instruction input? output", "prompt response", "system instruction output", "text",
        "instruction context response", "instruction response", "system_prompt question response", "prompt completion",
        "article question answer", "context question answer", "question answer", "input output", "article summary",
        "a b", "chosen rejected", "prompt completion label",
    )  # fmt: skip
    if draw.random() < 0.3:
        from conversations import chat, pairs_from_value

        return draw.choice((chat, pairs_from_value, segments, steps, tokens))(draw)
    return columns(draw.choice(names))(draw)


def maybe_json(draw: Random, value: Any) -> Any:
    """Return a value as it is, or now and then as JSON text."""
    return json.dumps(value, ensure_ascii=False) if draw.random() < 0.15 else value
