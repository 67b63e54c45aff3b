"""TRL 1.16's training templates mark what is trained by `{% generation %}`; served-prompt masks train the same answers.

TRL also trains what the server feeds (`<think>`, a line end after the header) and the line end after the end of a turn.
"""

import json
from pathlib import Path

import pytest

import tunesmith
from tunesmith.data.types import MASKED

CASES = [json.loads(line) for line in (Path(__file__).parent / "trl_masks.jsonl").read_text("utf-8").splitlines()]
FED_OR_AFTER = {"", "<think>", "</think>"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['tag']}")
def test_the_answers_that_trl_marks_are_trained(case, request):
    tokenizer = request.getfixturevalue(case["tokenizer"])
    dataset = {"type": "chat_template", "chat_template": case["chat_template"]}
    (example,) = tunesmith.encode(case["row"], dataset=dataset, tokenizer=tokenizer)
    theirs = case["expected"]
    assert example.input_ids == theirs["input_ids"]
    differ = [n for n, (a, b) in enumerate(zip(example.labels, theirs["labels"], strict=True)) if a != b]
    assert all(example.labels[place] == MASKED for place in differ)
    assert {tokenizer.decode([example.input_ids[place]]).strip() for place in differ} <= FED_OR_AFTER
