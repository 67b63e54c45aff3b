"""Mistral's own tokeniser, mistral-common 1.13.1, was run on these conversations: our prompts have its ids.

That is the chat template (text) and the tokenizer (ids) together, against the reference of the models' makers. Control
tokens inside a message are not among the cases: they are text for mistral-common, and tokens for every other library.
"""

import json
from pathlib import Path

import pytest

from tunesmith.data.tokenizer import chat_template

CASES = [json.loads(line) for line in (Path(__file__).parent / "mistral_common.jsonl").read_text("utf-8").splitlines()]

SPACED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}SYSTEM{% elif m.role == 'user' %}"
    "{{ '[INST] ' + BEFORE + m.content + 'END[/INST]' }}{% else %}{{ ' ' + m.content.rstrip() + eos_token }}{% endif %}"
    "{% endfor %}"
)
"""The layout of the versions with SentencePiece vocabularies; what differs between them is filled in below."""

FIRST = "(messages[0].content + '\n\n' if messages[0].role == 'system' and loop.index0 == 1 else '')"
LAST = "(messages[0].content + '\n\n' if messages[0].role == 'system' and loop.last else '')"


def spaced(system="", before="''", end=""):
    return SPACED.replace("SYSTEM", system).replace("BEFORE", before).replace("END", end)


TEMPLATES = {
    "mistral-v1": ("mistral_v1", spaced(before=FIRST, end=" ")),
    "mistral-v2": ("mistral_v2", spaced(before=LAST)),
    "mistral-v3": ("mistral_v3", spaced(before=LAST)),
    "mistral-v7": ("mistral_v7", spaced(system="{{ '[SYSTEM_PROMPT] ' + m.content + '[/SYSTEM_PROMPT]' }}")),
    "mistral-v3-tekken": ("tekken", spaced(before=LAST).replace("[INST] ", "[INST]").replace("' ' + ", "")),
}
"""Version -> fixture of its tokenizer, and its layout as the versions of mistral-common differ."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['tag']}")
def test_a_prompt_has_the_ids_of_mistral_common(case, request):
    fixture, jinja = TEMPLATES[case["tokenizer"]]
    tokenizer = request.getfixturevalue(fixture)
    template = chat_template(tokenizer, "jinja", jinja, "config.yml")
    text = template.render(case["messages"], add_generation_prompt=case["messages"][-1]["role"] == "user")
    assert tokenizer(text, add_special_tokens=False).input_ids == case["input_ids"]
