"""Instruction rows: what is trained, what is asked, and what a row at fault is told."""

from dataclasses import replace

import pytest

import tunesmith
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.layouts import LAYOUTS
from tunesmith.data.masks import format_of
from tunesmith.data.question import conversation_prompt, question
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

ROW = {"instruction": "Add.", "input": "2 and 2", "output": "4"}
MAPPING = {
    "field_instruction": "q",
    "field_input": "ctx",
    "field_output": "a",
    "format": "Q: {instruction} ({input})\nA:",
    "no_input_format": "Q: {instruction}\nA:",
    "system_prompt": "Be brief.",
    "system_format": "{system}\n",
}
SEVERAL = {"context_qa", "context_qa.load", "context_qa.load_404", "context_qa.load_v2"} | {
    "creative_acr.load_critique",
    "creative_acr.load_revise",
}


def spec_of(kind="alpaca", *, train_on_inputs=False, mask="served", **keys) -> FormatSpec:
    return FormatSpec(Dataset.model_validate({"path": "x", "type": kind} | keys), train_on_inputs, mask=mask)


def render(row, kind="alpaca", **keys) -> Rendered:
    spec = spec_of(kind, **keys)
    (rendered,) = format_of(spec)(row, spec)
    return rendered


def prompt(row, kind="alpaca", **keys) -> str:
    return render(row, kind, **keys).segments[0].text


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        (
            "alpaca",
            {"instruction": "a", "response": "b"},
            "type alpaca needs column output; found instruction, response. Set field_output: response",
        ),
        ("alpaca", {"instruction": "a", "output": None}, "type alpaca needs column output; found instruction"),
        ("alpaca", {"question": "a"}, "needs column instruction; found question. Set field_instruction: question"),
        ("alpaca:chat", {}, "type alpaca:chat needs column instruction; found no columns"),
        ("alpaca", {"instruction": "a", "output": " \n"}, "column output is blank: there is nothing to train"),
        ("alpaca", {"instruction": ["a"], "output": "b"}, "column instruction should hold text, found list"),
        ("alpaca", {"instruction": "a", "input": ["x"], "output": "b"}, "column input should hold text, found list"),
        ("alpaca", {"instruction": "a", "output": {}}, "column output should hold text, found dict"),
        ("gpteacher", ROW, "type gpteacher needs column response; found instruction, input, output"),
        ("jeopardy", {"question": "q", "category": "c", "answer": " "}, "column answer is blank"),
        ("alpaca_w_system", ROW | {"prompt": "s"}, "needs column system; found instruction, input, output, prompt."),
        ("explainchoice", {"question": "q", "choices": "ab", "solution": "s"}, "column choices should hold a list"),
        ("concisechoice", {"question": "q", "choices": ["a"], "solution": None}, "needs column solution"),
        ("reflection", ROW | {"reflection": "r"}, "type reflection needs column corrected"),
        ("reflection", ROW | {"reflection": "", "corrected": "c"}, "column reflection is blank"),
        ("creative_acr.load_critique", ROW | {"answer": "a", "scores": 3}, "column scores should hold a mapping"),
        (
            "context_qa",
            {"question": "q", "answer": "a"},
            "type context_qa needs column article; found question, answer",
        ),
        (MAPPING, {"q": "a", "b": "c"}, "type user_defined needs column a; found q, b. Set field_output: b"),
        (
            {"format": "{instruction}"},
            ROW,
            "the row's input would be lost: no {input} in the format '{instruction}'",
        ),
        ({"system_format": ""}, ROW | {"system": "s"}, "the row's system would be lost"),
    ],
)
def test_a_row_that_does_not_fit_says_what_to_set(kind, row, expected):
    with pytest.raises(DataError) as caught:
        render(row, kind)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"feild_system": "s"}, r"`datasets\.type\.feild_system` is none of .*; did you mean `field_system`\?"),
        ({"format": 3}, r"`datasets\.type\.format` should be text; found 3"),
        ({"format": "{instruction} {inptu}"}, r"type\.format: .* may hold \{instruction\}, \{input\} and no other"),
        ({"no_input_format": "{instruction} {input}"}, r"no_input_format: .* may hold \{instruction\} and no other"),
        ({"no_input_format": "{instruction:d}"}, r"no_input_format: .* may hold \{instruction\} and no other"),
        ({"system_format": "{"}, r"system_format: '\{'` may hold \{system\} and no other braces; write \{\{ for one"),
    ],
)
def test_a_mapping_at_fault_is_a_fault_of_the_config(keys, expected):
    with pytest.raises(ConfigError, match=expected):
        render(ROW, keys)


def test_user_defined_is_a_mapping():
    with pytest.raises(ConfigError, match=r"`datasets\.type: user_defined` is written as a mapping: type: \{field"):
        render(ROW, "user_defined")


def test_a_mapping_lays_out_columns_of_any_name():
    row = {"q": "Add {x}.", "ctx": "2, 2", "a": "4", "system": "S"}
    assert prompt(row, MAPPING) == "S\nQ: Add {x}. (2, 2)\nA:"
    assert prompt({"q": "Add.", "a": "4"}, MAPPING) == "Be brief.\nQ: Add.\nA:"
    assert prompt({"q": "Add.", "a": "4", "system": None}, MAPPING) == "Q: Add.\nA:"
    assert prompt(ROW, {"format": "{{{instruction}}} {input}", "field_system": None}) == "{Add.} 2 and 2"
    assert prompt(ROW, {}) == "Add. 2 and 2 "


def test_numbers_are_written_out_also_a_zero():
    segments = render({"instruction": 1, "input": 0, "output": 2.5}).segments
    assert "### Instruction:\n1\n\n### Input:\n0\n\n" in segments[0].text
    assert segments[1] == Segment("2.5", True, eos_count=1)


def test_braces_in_a_row_are_no_placeholders():
    row = {"instruction": "{input}", "input": "{0} {instruction}", "output": "{x}", "system": "{system}"}
    assert "### Instruction:\n{input}\n\n### Input:\n{0} {instruction}\n\n" in prompt(row)
    assert prompt(row, "alpaca_w_system").startswith("SYSTEM: {system}\nUSER: {input}\n{0} {instruction}\n")
    assert "Question: {input}\n" in prompt(
        row | {"answer": "", "scores": {}, "critiques": {}}, "creative_acr.load_critique"
    )


def test_columns_can_be_renamed_in_every_type_that_has_them():
    row = {"q": "Add.", "x": "2", "a": "4", "s": "Be brief."}
    keys = {"field_instruction": "q", "field_input": "x", "field_output": "a", "field_system": "s"}
    assert prompt(row, "alpaca_w_system", **keys) == "SYSTEM: Be brief.\nUSER: Add.\n2\nASSISTANT:"
    assert prompt(row | {"response": "4"}, "gpteacher:chat", **keys).endswith("USER: Add.\n2\nASSISTANT:")
    assert render(row, "alpaca", mask="axolotl", **keys) == render(row, "alpaca", **keys)


def test_an_input_and_a_system_text_may_be_null_or_empty():
    for nothing in (None, ""):
        row = {"instruction": "Add.", "input": nothing, "output": "4", "system": nothing}
        assert prompt(row, "alpaca_w_system") == "USER: Add.\nASSISTANT:"
        assert "### Input:" not in prompt(row)


def test_the_first_of_two_columns_that_a_row_has_is_the_answer():
    row = {"question": "q", "choices": ["a"], "explanation": "e"}
    assert render(row, "explainchoice").segments[1].text == "e"
    assert render(row | {"solution": None}, "explainchoice").segments[1].text == "e"
    assert render(row | {"solution": "s"}, "explainchoice").segments[1].text == "s"


def test_alpaca_chat_takes_another_style_from_conversation():
    assert prompt(ROW, "alpaca_chat", conversation="chatml").startswith("<|im_start|>system\nBelow is an instruction")
    assert prompt(ROW, "alpaca_chat").startswith("SYSTEM: Below is an instruction")
    with pytest.raises(ConfigError, match=r"`conversation: chatlm` .* is none of instruct, .*did you mean `chatml`\?"):
        prompt(ROW, "alpaca_chat", conversation="chatlm")


def test_train_on_inputs_trains_the_prompt():
    assert [segment.train for segment in render(ROW, train_on_inputs=True).segments] == [True, True]


@pytest.mark.parametrize("family", ["tokenizer", "mistral_v1"])
@pytest.mark.parametrize("kind", [*LAYOUTS, "user_defined"])
def test_a_row_is_asked_with_the_tokens_before_its_answer(request, row_of, family, kind):
    tokenizer = request.getfixturevalue(family)
    mapping = kind == "user_defined"
    row = {"q": "<q>", "a": "<a>"} if mapping else row_of(kind)
    spec = replace(spec_of(MAPPING if mapping else kind), tokenizer=tokenizer)
    asked = question(row, spec, tokenizer)
    (example,) = tunesmith.encode(row, dataset={"type": spec.dataset.type}, tokenizer=tokenizer)
    size = len(asked.input_ids)
    ends = [tokenizer.eos_token_id] * (3 if kind.startswith("metharme") else 1)
    assert example.input_ids[:size] == asked.input_ids
    assert example.labels == [-100] * size + example.input_ids[size:]
    assert example.labels[-len(ends) - 1 :][1:] == ends
    assert example.labels[-len(ends) - 1] != ends[0]
    assert asked.text + asked.reference == example.text


@pytest.mark.parametrize("kind", [*LAYOUTS, "user_defined"])
def test_words_of_a_person_become_the_prompt_of_a_row_that_says_them(tokenizer, row_of, kind):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why {so}?"}]
    spec = spec_of(MAPPING if kind == "user_defined" else kind)
    if kind in SEVERAL:
        with pytest.raises(DataError, match=r"made of several columns, not of one text; ask with rows: --prompt-file"):
            conversation_prompt(turns, spec, tokenizer)
        return
    row = {"a": "<a>", "q": "<q>"} if kind == "user_defined" else row_of(kind, input="", category="", choices=[])
    words = "q" if kind == "user_defined" else LAYOUTS[kind].instruction[1:-1]
    row |= {words: "Why {so}?"} | {name: "Be brief." for name in ("system", "system_prompt") if name in row}
    assert conversation_prompt(turns, spec, tokenizer) == question(row, spec, tokenizer).input_ids


def test_a_row_is_asked_also_when_prompts_are_trained(tokenizer):
    asked = question(ROW, spec_of(train_on_inputs=True), tokenizer)
    assert asked.input_ids == question(ROW, spec_of(), tokenizer).input_ids


def test_reflection_is_tokenised_as_it_is_served_and_in_one_go_only_for_axolotl(tokenizer):
    row = ROW | {"reflection": "r", "corrected": "c"}
    served, upstream = render(row, "reflection:chat"), render(row, "reflection:chat", mask="axolotl")
    assert [segment.text for segment in served.segments][1] == "\nTHOUGHT: 4\nASSISTANT REFLECTION: r\nASSISTANT:c"
    assert [segment.header for segment in upstream.segments] == [served.segments[0].text]
    assert served.text == upstream.text + "c"  # Axolotl forgets the corrected answer


@pytest.mark.parametrize("kind", ["alpaca", "metharme", "reflection"])
def test_an_empty_answer_is_a_fault_unless_axolotl_is_asked_for(tokenizer, row_of, kind):
    row = row_of(kind) | {"output": "", "generation": ""}
    with pytest.raises(DataError, match="is blank"):
        tunesmith.encode(row, dataset={"type": kind}, tokenizer=tokenizer)
    (example,) = tunesmith.encode(row, dataset={"type": kind}, config={"mask": "axolotl"}, tokenizer=tokenizer)
    assert [label for label in example.labels if label >= 0] == (
        [tokenizer.eos_token_id] if kind == "reflection" else []
    )
