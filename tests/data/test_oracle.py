"""Rows that Axolotl tokenised itself, and we tokenise alike: see the note of `oracle_cases.jsonl` below.

The cases were made by running Axolotl 0.21.0 (ids new-*) and Axolotl 0801f239 of August 2024 (old-*) with SmolLM2's
tokenizer on rows of our own. Cases where we differ on purpose (an empty answer is a fault here; a prompt is masked as
a server feeds it) are not among them.
"""

import json
from pathlib import Path

import pytest

from tunesmith.config.sections import Dataset
from tunesmith.data.formats import find_format
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import chat_template
from tunesmith.data.types import Example

CASES = [json.loads(line) for line in (Path(__file__).parent / "oracle_cases.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['tag']}")
def test_tokens_and_labels_are_those_of_axolotl(case, tokenizer):
    dataset = Dataset.model_validate(case["dataset"] | {"path": "x"})
    template = None
    if dataset.type == "chat_template":
        name = dataset.chat_template or case["chat_template"]
        template = chat_template(tokenizer, name, dataset.chat_template_jinja, "config.yml")
    render = find_format(dataset.type, "config.yml")
    rendered = render(case["row"], FormatSpec(dataset, case["train_on_inputs"], template))
    assert encode([rendered], tokenizer) == [Example(case["input_ids"], case["labels"])]


def test_there_are_cases_of_every_family():
    assert {case["dataset"]["type"].split(":")[0] for case in CASES} >= {"alpaca", "chat_template", "completion"}
