"""Golden dumps: what every format trains, token by token, for a person to review in a diff.

`TUNESMITH_WRITE_GOLDEN=1 pytest tests/data/test_golden.py` writes them anew.
"""

import os
from itertools import groupby
from pathlib import Path

import pytest

import tunesmith
from tunesmith.data.debug import token_view

GOLDEN = Path(__file__).parent / "golden"

INSTRUCTION = {"instruction": "Add the numbers.", "input": "2 and 2", "output": "It is 4."}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 3+3?"},
    {"role": "assistant", "content": "It is 6."},
]
CHAT = {"messages": TURNS}
FLAGGED = {"messages": [*TURNS[:2], TURNS[2] | {"train": False}, TURNS[3] | {"train": True}, TURNS[4]]}
PARTS = {
    "messages": [
        TURNS[1],
        {"role": "assistant", "content": [{"text": "Let me think.", "weight": 0}, {"text": " It is 4."}]},
    ]
}
TOOLS = {
    "messages": [
        {"role": "user", "content": "Weather in Paris?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
}
SHAREGPT = {"conversations": [{"from": "human", "value": "What is 2+2?"}, {"from": "gpt", "value": "4"}]}
SEGMENTS = {
    "segments": [
        {"label": True, "text": "<s>Hello\n"},
        {"label": True, "text": "hi there!. "},
        {"label": False, "text": "goodbye "},
        {"label": True, "text": "farewell</s>"},
    ]
}
"""The published example of Axolotl's docs, dataset-formats/template_free."""

CASES = {
    **{
        f"alpaca_{style or 'plain'}": (INSTRUCTION, {"type": f"alpaca:{style}".rstrip(":")})
        for style in ("", "instruct", "chat", "chatml", "phi")
    },
    "alpaca_without_input": (INSTRUCTION | {"input": ""}, {"type": "alpaca"}),
    "alpaca_train_on_inputs": (INSTRUCTION, {"type": "alpaca", "train_on_inputs": True}),
    "alpaca_other_columns": (
        {"q": "Add.", "a": "4"},
        {"type": "alpaca", "field_instruction": "q", "field_output": "a"},
    ),
    "completion": ({"text": "Bees dance.\nHoney! 🐝"}, {"type": "completion"}),
    "completion_other_column": ({"body": "Bees dance."}, {"type": "completion", "field": "body"}),
    "input_output": (SEGMENTS, {"type": "input_output"}),
    "chat_own_template": (CHAT, {}),
    "chat_no_system": ({"messages": TURNS[1:]}, {}),
    "chat_assistant_first": ({"messages": TURNS[2:]}, {}),
    "chat_train_on_inputs": (CHAT, {"train_on_inputs": True}),
    "chat_roles_all": (CHAT, {"roles_to_train": ["system", "user", "assistant"]}),
    "chat_roles_user": (CHAT, {"roles_to_train": ["human"]}),
    **{f"chat_eos_{value}": (CHAT, {"train_on_eos": value}) for value in ("turn", "all", "last", "none")},
    "chat_message_field_training": (FLAGGED, {"message_field_training": "train"}),
    "chat_drop_system_message": (CHAT, {"drop_system_message": True}),
    "chat_from_value": (SHAREGPT, {"field_messages": "conversations"}),
    "chat_mappings": (
        {"log": [{"who": "asker", "says": "What is 2+2?"}, {"who": "bot", "says": "4"}]},
        {
            "field_messages": "log",
            "message_property_mappings": {"role": "who", "content": "says"},
            "roles": {"user": ["asker"]},
        },
    ),
    "chat_parts": (PARTS, {}),
    "chat_tools": (TOOLS, {"chat_template": "qwen_25"}),
    "chat_axolotl": (CHAT, {"mask": "axolotl"}),
    **{f"chat_named_{name}": (CHAT, {"chat_template": name}) for name in ("alpaca", "chatml", "mistral_v1")},
    "chat_named_gemma": (SHAREGPT, {"chat_template": "gemma", "field_messages": "conversations"}),
}  # fmt: skip
"""Name of a dump -> row and settings. llama3 is not among them: this tokenizer cannot serve it (test_chat.py)."""


def dump(row, settings, tokenizer) -> str:
    """Return each sample as text with its trained parts in [[]], and its tokens as `text(label, id)`, one a line."""
    keys = {"type": "chat_template"} | settings
    config = {"train_on_inputs": keys.pop("train_on_inputs", False), "mask": keys.pop("mask", "served")}
    samples = tunesmith.encode(row, dataset=keys, config=config, tokenizer=tokenizer)
    return f"{'=' * 80}\n".join(_dump(sample, tokenizer) for sample in samples)


def _dump(sample, tokenizer) -> str:
    pairs = zip(sample.input_ids, sample.labels, strict=True)
    runs = [(trained, [token for token, _ in run]) for trained, run in groupby(pairs, lambda pair: pair[1] >= 0)]
    text = "".join(f"[[{tokenizer.decode(ids)}]]" if trained else tokenizer.decode(ids) for trained, ids in runs)
    tokens = token_view(sample.input_ids, sample.labels, tokenizer).plain.replace(") ", ")\n")
    return f"{text}\n{'-' * 80}\n{tokens}\n"


@pytest.mark.parametrize("name", CASES)
def test_a_format_trains_the_tokens_of_its_dump(name, tokenizer):
    found = dump(*CASES[name], tokenizer)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("TUNESMITH_WRITE_GOLDEN"):
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


def test_every_dump_belongs_to_a_case():
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(CASES)
