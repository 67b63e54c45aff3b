"""Rows that Axolotl and TRL tokenised or rendered themselves, in `oracle/`: `mask: axolotl` gives the same.

The cases were made by running Axolotl 0.21.0 (ids new-*, pref-*), Axolotl of August 2024 at 0801f239 (old-*, golden-*)
and TRL 1.16.0 (trl-*) on rows of our own. They record what these do, faults included.
"""

import json
from pathlib import Path

import pytest

import tunesmith
from tunesmith.errors import UserError

FIXTURES = {
    None: None,
    "smollm2": "tokenizer",
    "mistral-v1": "mistral_v1",
    "mistral-v1-slow": "mistral_v1",
    "mistral-v2": "mistral_v2",
    "mistral-v3": "mistral_v3",
    "mistral-v7": "mistral_v7",
    "mistral-v3-tekken": "tekken",
    "qwen3": "qwen3",
    "llama3_1": "llama3_1",
    "gemma3": "gemma3",
    "gptoss": "gptoss",
    "deepseek_v3": "deepseek_v3",
}
"""Tokenizer of a case -> fixture; one whose package is not there skips."""

FILES = sorted((Path(__file__).parent / "oracle").glob("*.jsonl"))
CASES = [json.loads(line) for file in FILES for line in file.read_text("utf-8").splitlines()]


@pytest.fixture
def encoded(request):
    """`encoded(case)` encodes the row of a case."""

    def call(case):
        fixture = FIXTURES[case["tokenizer"]]
        return tunesmith.encode(
            case["row"],
            dataset={"type": case["type"]} | case["ds_cfg"],
            config=case["cfg"] | {"mask": "axolotl"} | ({"rl": case["rl"]} if case.get("rl") else {}),
            tokenizer=request.getfixturevalue(fixture) if fixture else None,
        )

    return call


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['tag']}")
def test_a_row_is_encoded_as_upstream_encodes_it(case, encoded):
    expected = case["expected"]
    if "error" in expected:
        with pytest.raises(UserError):
            encoded(case)
        return
    examples = encoded(case)
    if "contains_pairs" in expected:
        pairs = list(zip(examples[0].labels, examples[0].input_ids, strict=True))
        assert [pair for pair in map(tuple, expected["contains_pairs"]) if pair not in pairs] == []
    elif "input_ids" in expected:
        ids, labels = expected["input_ids"], expected.get("labels", expected["input_ids"])
        several = bool(ids) and isinstance(ids[0], list)
        assert [example.input_ids for example in examples] == (ids if several else [ids])
        assert [example.labels for example in examples] == (labels if several else [labels])
    else:
        assert {key: getattr(examples[0], key) for key in expected} == expected


def test_there_are_cases_of_every_family():
    assert len(CASES) > 100
    assert {case["id"].split("-")[0] for case in CASES} >= {"new"}
