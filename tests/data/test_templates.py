"""The named chat templates: what each writes of a few conversations, for a person to review in a diff.

`TUNESMITH_WRITE_GOLDEN=1 pytest tests/data/test_templates.py` writes the dumps anew. They hold `<s>` and `</s>` where a
template writes the tokenizer's begin and end tokens. The first ones were compared with Axolotl's templates of the same
names, over these and some thousand random conversations.
"""

import os
from copy import deepcopy
from datetime import date
from pathlib import Path

import pytest

from tunesmith.data.tokenizer import chat_template, named_templates
from tunesmith.errors import DataError

GOLDEN = Path(__file__).parent / "golden_templates"

SAME = {"aya": "cohere", "gemma3n": "gemma3", "gemma4_unified": "gemma4", "qwen3_5": "qwen3"}
"""Name -> the template whose text it shares."""


def turns(*contents: str) -> list[dict[str, str]]:
    """Return contents as turns of user and assistant."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)]


SYSTEM = {"role": "system", "content": "Be brief."}
TWO_ROUNDS = turns(" What is 2+2?\n", "4\n", "And 3+3?", " It is 6.")
THOUGHT = [
    *turns("What is 2+2?", "<think>\nTwo and two.\n</think>\n\n4", "And 3+3?"),
    {"role": "assistant", "content": "6", "reasoning_content": "Three and three."},
]
CALL = {"type": "function", "id": "weather01", "function": {"name": "weather", "arguments": {"city": "Zürich"}}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
ASKS = [SYSTEM, *turns("Does it rain in Zürich?"), {"role": "assistant", "content": "", "tool_calls": [CALL]}]
TOLD = [*ASKS, {"role": "tool", "content": "rain", "tool_call_id": "weather01"}, *turns("", "Yes.")[1:]]

CASES = {
    "two rounds": (TWO_ROUNDS, {}, {}),
    "a system message": ([SYSTEM, *TWO_ROUNDS], {}, {}),
    "a prompt": ([SYSTEM, *TWO_ROUNDS[:3]], {"add_generation_prompt": True}, {}),
}
"""What a dump shows -> messages, options of the render, and chat_template_kwargs."""
THINKING = {
    "reasoning": (THOUGHT, {}, {"skip_think": False}),
    "a prompt without thinking": (TWO_ROUNDS[:1], {"add_generation_prompt": True}, {"enable_thinking": False}),
    "a prompt with thinking": (TWO_ROUNDS[:1], {"add_generation_prompt": True}, {"enable_thinking": True}),
}
WITH_TOOLS = {"tools": (TOLD, {"tools": TOOLS}, {})}
TOLD_TWICE = {"tools": ([*TOLD, *turns("And in Bern?")], {"tools": TOOLS, "add_generation_prompt": True}, {})}
TEXT_CALL = CALL | {"function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
MORE = {
    "deepseek_v3": {
        "reasoning": (THOUGHT[:3], {}, {}),
        "tools": ([*ASKS[:2], ASKS[2] | {"tool_calls": [TEXT_CALL, TEXT_CALL]}, *TOLD[3:]], {}, {}),
    },
    "exaone4": THINKING | WITH_TOOLS,
    "falcon_h1": WITH_TOOLS,
    "gemma4": THINKING,
    "jamba": WITH_TOOLS,
    "llama3_2_vision": WITH_TOOLS,
    "llama4": WITH_TOOLS,
    "mistral_v2v3": TOLD_TWICE,
    "mistral_v3_tekken": TOLD_TWICE,
    "qwen3": THINKING | WITH_TOOLS,
    "qwen_25": WITH_TOOLS,
}
"""Template -> what its dump shows besides."""
NAMES = sorted(named_templates().keys() - SAME)


@pytest.fixture(scope="module")
def render(tokenizer):
    """`render(name, messages, options, kwargs)` is the text of a conversation."""
    plain = deepcopy(tokenizer)
    plain.bos_token, plain.eos_token = "<s>", "</s>"

    def call(name, messages, options=None, kwargs=None):
        settings = {"date_string": "26 Jul 2024"} | (kwargs or {})
        return chat_template(plain, name, None, "x", settings=settings).render(messages, **(options or {}))

    return call


def dump(name: str, render) -> str:
    """Return what a template writes of the conversations, each under its title."""
    parts = []
    for title, case in (CASES | MORE.get(name, {})).items():
        try:
            text = render(name, *case)
        except DataError as error:
            text = f"refused: {error}"
        text = text.replace(date.today().isoformat(), "2024-07-26")  # mistral_v7_tekken tells the date of the day
        parts.append(f"======== {title}\n{text}\n")
    return "".join(parts)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_writes_what_its_dump_holds(name, render):
    found = dump(name, render)
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("TUNESMITH_WRITE_GOLDEN"):
        file.write_text(found, encoding="utf-8")
    assert found == file.read_text(encoding="utf-8")


def test_every_dump_belongs_to_a_template():
    assert [file.stem for file in sorted(GOLDEN.glob("*.txt"))] == NAMES


@pytest.mark.parametrize("name", SAME)
def test_a_name_may_share_the_text_of_another(name):
    assert named_templates()[name] == named_templates()[SAME[name]]


@pytest.mark.parametrize(
    "name",
    ["cohere", "gemma", "gemma3", "inst", "mistral_v1", "mistral_v2v3", "mistral_v3_tekken", "pixtral"],
)
@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["user", "assistant", "assistant"]])
def test_turns_that_do_not_alternate_are_refused(name, roles, render):
    with pytest.raises(DataError, match="roles must alternate between user and assistant"):
        render(name, [{"role": role, "content": "a"} for role in roles])


@pytest.mark.parametrize(
    ("name", "role", "words"),
    [
        ("exaone4", "critic", "role critic is none of system, user, assistant, tool"),
        ("inst", "tool", "role tool is neither user nor assistant"),
        ("mistral_v1", "tool", "role tool is neither user nor assistant"),
        ("mistral_v2v3", "critic", "role critic is none of user, assistant, tool"),
        ("mistral_v3_tekken", "critic", "role critic is none of user, assistant, tool"),
        ("mistral_v7_tekken", "tool", "role tool is none of system, user, assistant"),
        ("nemotron_h", "system", "role system is neither user nor assistant, nor a first system message"),
        ("pixtral", "tool", "role tool is neither user nor assistant"),
    ],
)
def test_a_role_that_a_template_does_not_know_is_refused(name, role, words, render):
    with pytest.raises(DataError, match=words):
        render(name, [*turns("a"), {"role": role, "content": "b"}])


def test_gemma_refuses_a_system_message_and_gemma3_does_not(render):
    with pytest.raises(DataError, match="gemma has no system message; gemma3 puts it before the first question"):
        render("gemma", [SYSTEM, *TWO_ROUNDS])
    assert "<start_of_turn>user\nBe brief.\n\nWhat is 2+2?<end_of_turn>" in render("gemma3", [SYSTEM, *TWO_ROUNDS])


@pytest.mark.parametrize("name", ["mistral_v2v3", "mistral_v3_tekken"])
def test_the_id_of_a_tool_call_has_nine_characters(name, render):
    for short in ({"id": "1"}, {"id": "1234567890"}, {}):
        call = {key: value for key, value in CALL.items() if key != "id"} | short
        with pytest.raises(DataError, match="the id of a tool call must have 9 characters"):
            render(name, [*turns("a"), {"role": "assistant", "content": "", "tool_calls": [call]}])
    with pytest.raises(DataError, match="the id of a tool call must have 9 characters"):
        render(name, [*turns("a"), {"role": "tool", "content": "b"}])


@pytest.mark.parametrize(
    ("name", "messages", "options", "words"),
    [
        ("exaone4", [{"role": "assistant", "tool_calls": [{"name": "f"}]}], {}, "needs arguments or parameters"),
        ("gemma4", TWO_ROUNDS, {"tools": TOOLS}, "gemma4 is written here without tools"),
        ("gemma4", TOLD, {}, "gemma4 is written here without tools"),
        ("jamba", TWO_ROUNDS, {"tools": [{"type": "code"}]}, "the type of a tool must be function"),
        ("llama3_2_vision", [SYSTEM], {"tools": TOOLS}, "tools are listed in the first question, and there is none"),
        (
            "llama3_2_vision",
            [{"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}],
            {},
            "one tool call at a time",
        ),
        ("llama4", [SYSTEM], {"tools": TOOLS}, "tools are listed in the first question, and there is none"),
    ],
)
def test_tools_that_a_template_cannot_write_are_refused(name, messages, options, words, render):
    with pytest.raises(DataError, match=words):
        render(name, messages, options)


def test_llama_lists_tools_in_the_system_message_if_told_to(render):
    for name in ("llama3_2_vision", "llama4"):
        text = render(name, ASKS, {"tools": TOOLS}, {"tools_in_user_message": False})
        assert text.index('"name": "weather"') < text.index("Be brief.") < text.index("Does it rain in Zürich?")


def test_the_default_system_messages_tell_the_date_of_the_day(render):
    today = date.today()
    assert f"The current date is {today:%Y-%m-%d}." in render("mistral_v7_tekken", TWO_ROUNDS)
    assert "Today Date: 26 Jul 2024\n" in render("llama3_2_vision", TWO_ROUNDS)


def test_jamba_writes_documents_and_modes_before_the_last_question(render):
    settings = {
        "documents": [{"title": "Sums", "text": "2+2=4", "source": "book"}],
        "knobs": {"is_set": True, "citation_mode": "fast", "response_format": "json_object"},
    }
    text = render("jamba", TWO_ROUNDS[:3], kwargs=settings)
    order = [
        "4\n<|eom|>",
        "## Document ID: 0\nTitle: Sums\nSource: book\nText: 2+2=4\n</documents>",
        "## Citation Mode",
    ]
    places = [text.index(piece) for piece in [*order, "## JSON Mode", "And 3+3?"]]
    assert places == sorted(places)


def test_jamba_writes_names_and_citations(render):
    answer = {"role": "assistant", "content": "4", "name": "Ada", "citations": [{"document_id": 3}]}
    assert render("jamba", [*turns("2+2?"), answer]).endswith("<|assistant|> (Ada)4<citations>[3]</citations><|eom|>")


@pytest.mark.parametrize(("name", "marked"), [("llava", " four US six "), ("phi_4", " four<|im_end|> six<|im_end|>")])
def test_generation_marks_hold_the_answers(name, marked, tokenizer):
    """llava writes a space after an answer, which is one token with `US` of the `USER` that follows."""
    found = tokenizer.apply_chat_template(
        turns("2+2?", " four", "3+3?", " six"),
        chat_template=named_templates()[name],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    pairs = zip(found["input_ids"], found["assistant_masks"], strict=True)
    assert tokenizer.decode([token for token, generated in pairs if generated]) == marked
