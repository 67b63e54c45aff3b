"""What a long conversation costs beside its plain render and tokenisation: `pytest -s` prints it."""

from time import process_time

import pytest

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import chat_template
from tunesmith.sections import Dataset

TURNS = 200


def conversation():
    turns = []
    for n in range(TURNS // 2):
        turns.append({"role": "user", "content": f"Question {n}: " + "how do the bees make their honey? " * 2})
        turns.append({"role": "assistant", "content": f"Answer {n}: " + "they carry nectar into the hive. " * 3})
    return turns


def quickest(function, times=7):
    """Return the seconds of processor time of the quickest of several calls."""
    found = []
    for _ in range(times):
        start = process_time()
        function()
        found.append(process_time() - start)
    return min(found)


@pytest.mark.parametrize("name", [None, "chatml", "qwen_25"])
def test_a_conversation_of_200_turns_costs_at_most_three_times_its_plain_text(tokenizer, name):
    template = chat_template(tokenizer, name, None, "config.yml")
    spec = FormatSpec(Dataset(path="x", type="chat_template"), template=template)
    turns = conversation()
    plain = quickest(lambda: tokenizer(template.render(turns), add_special_tokens=False))
    masked = quickest(lambda: encode(FORMATS["chat_template"]({"messages": turns}, spec), tokenizer))
    print(f"\n{name}: {TURNS} turns, {1000 * masked:.1f} ms; plain {1000 * plain:.1f} ms; {masked / plain:.2f} times")
    assert masked < 3 * plain
