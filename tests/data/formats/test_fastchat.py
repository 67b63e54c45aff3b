"""The layouts of FastChat: each writes conversations as FastChat and Axolotl of 2024 did (`layouts.jsonl`)."""

import json
from pathlib import Path

import pytest

from tunesmith.data.formats.fastchat import LAYOUTS, find_layout, written
from tunesmith.errors import ConfigError

CASES = [json.loads(line) for line in (Path(__file__).parent / "layouts.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_writes_the_turns_that_upstream_writes(name):
    layout = find_layout(name)
    cases = [case for case in CASES if case["layout"] == name]
    assert cases
    for case in cases:
        system = layout.system if case["system"] is None else case["system"]
        parts = written(layout, system, [(layout.roles[speaker], text) for speaker, text in case["said"]])
        assert [[part.role, part.text] for part in parts] == case["turns"]


@pytest.mark.parametrize("name", ["llama-2", "mistral", "chatglm2", "chatml"])
def test_parts_know_which_message_they_say(name):
    layout = find_layout(name)
    said = [(layout.roles[index % 2], f"text {index}") for index in range(4)]
    for system in ("", "Be brief."):
        spoken = [part for part in written(layout, system, said) if part.message >= 0]
        assert [part.message for part in spoken] == [0, 1, 2, 3]
        assert all(f"text {part.message}" in part.text for part in spoken)


def test_an_unknown_layout_is_answered_with_the_nearest_and_all_known_ones():
    with pytest.raises(ConfigError, match=r"`datasets.conversation: vicuna_v1` .*did you mean `vicuna_v1.1`\?.*zephyr"):
        find_layout("vicuna_v1")
