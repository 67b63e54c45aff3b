"""Prompts of inference: token for token those of the training sample."""

import pytest

from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.masks import format_of
from tunesmith.data.question import conversation_prompt, keeps_history, question, reference_answer, shared_system_turn
from tunesmith.data.tokenizer import chat_template
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2+2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 3+3?"},
    {"role": "assistant", "content": "It is 6."},
]
INSTRUCTION = {"instruction": "Add the numbers.", "output": "It is 4."}


@pytest.fixture
def spec(tokenizer):
    def make(kind, template=None, **keys):
        dataset = Dataset.model_validate({"path": "x", "type": kind} | keys)
        bound = chat_template(tokenizer, template, None, "x") if kind == "chat_template" else None
        return FormatSpec(dataset, False, bound)

    return make


@pytest.mark.parametrize("template", [None, "chatml", "alpaca", "gemma", "mistral_v1"])
def test_the_last_answer_is_asked_with_the_tokens_before_it(tokenizer, spec, template):
    settings = spec("chat_template", template)
    row = {"messages": TURNS[1:] if template == "gemma" else TURNS}  # Gemma knows no system turn
    asked = question(row, settings, tokenizer)
    record = format_of(settings)
    ((example,),) = record.encode(record(row, settings), tokenizer, sequence_len=settings.sequence_len)
    size = len(asked.input_ids)
    assert asked.reference == "It is 6."
    assert asked.input_ids == example.input_ids[:size]
    assert example.labels[size - 1] == -100
    assert example.labels[size] == example.input_ids[size]


def test_an_instruction_is_asked_up_to_its_answer(tokenizer, spec):
    asked = question(INSTRUCTION, spec("alpaca"), tokenizer)
    assert tokenizer.decode(asked.input_ids).endswith("### Instruction:\nAdd the numbers.\n\n### Response:\n")
    assert asked.reference == "It is 4."


def test_a_row_that_is_trained_from_its_first_token_has_no_question(tokenizer, spec):
    assert question({"text": "Bees."}, spec("completion"), tokenizer) is None
    assert question({"messages": TURNS[2:3]}, spec("chat_template"), tokenizer) is None


def test_words_of_a_person_become_the_prompt_that_was_trained(tokenizer, spec):
    rows = {"chat_template": {"messages": TURNS[1:3]}, "alpaca": INSTRUCTION}
    for kind, row in rows.items():
        words = row["instruction"] if kind == "alpaca" else row["messages"][0]["content"]
        typed = conversation_prompt([{"role": "user", "content": words}], spec(kind), tokenizer)
        assert typed == question(row, spec(kind), tokenizer).input_ids
    typed = conversation_prompt([{"role": "user", "content": "Bees"}], spec("completion"), tokenizer)
    assert typed == tokenizer("Bees").input_ids


def test_the_system_turn_that_all_rows_share_is_found(tmp_path, write_jsonl, spec):
    shared = [{"messages": TURNS}, {"messages": [TURNS[0], *TURNS[3:]]}]
    file = str(write_jsonl(tmp_path / "a.jsonl", shared))
    assert shared_system_turn(spec("chat_template", path=file)) == "Be brief."
    write_jsonl(tmp_path / "a.jsonl", [*shared, {"messages": TURNS[1:]}])
    assert shared_system_turn(spec("chat_template", path=file)) is None
    assert shared_system_turn(spec("alpaca")) is None


def test_faulty_tools_do_not_hide_the_system_turn_or_the_answer(tmp_path, write_jsonl, spec):
    row = {"messages": TURNS, "tools": "{"}
    file = str(write_jsonl(tmp_path / "a.jsonl", [row]))
    assert shared_system_turn(spec("chat_template", path=file)) == "Be brief."
    assert reference_answer(row, spec("chat_template")) == TURNS[-1]["content"]


def test_an_answer_may_stand_in_the_column_that_chats_have_their_tools_in(spec):
    layout = spec({"field_instruction": "query", "field_output": "tools", "format": "{instruction}"})
    assert reference_answer({"query": "Weather?", "tools": "get_weather()"}, layout) == "get_weather()"


def test_rows_at_fault_do_not_stop_the_search_for_a_system_turn(tmp_path, write_jsonl, spec):
    file = str(write_jsonl(tmp_path / "a.jsonl", [{"messages": []}]))
    assert shared_system_turn(spec("chat_template", path=file)) is None
    assert shared_system_turn(spec("chat_template", path="none.jsonl")) is None


def said(kind, *texts, system=None):
    """Return a row of a conversation type in which user and model take turns."""
    key, model = ("role", "bot") if kind == "pygmalion" else ("from", "gpt")
    turns = [{key: ("human", model)[n % 2], "value": text} for n, text in enumerate(texts)]
    return {"conversations": ([{key: "system", "value": system}] if system else []) + turns}


@pytest.mark.parametrize("mask", ["served", "axolotl"])
@pytest.mark.parametrize("train_on_inputs", [False, True])
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("sharegpt", "chatml"),
        ("sharegpt", "alpaca"),
        ("sharegpt", "llama-2"),
        ("pygmalion", None),
        ("llama2_chat", None),
    ],
)
def test_a_conversation_without_a_template_is_asked_as_it_was_trained(tokenizer, kind, layout, train_on_inputs, mask):
    dataset = Dataset.model_validate({"path": "x", "type": kind, "conversation": layout})
    settings = FormatSpec(dataset, train_on_inputs, mask=mask, tokenizer=tokenizer)
    row = said(kind, "What is 2+2?", "4", "And 3+3?", "It is 6.", system="Be brief.")
    asked = question(row, settings, tokenizer)
    assert (asked.reference, asked.text) == ("It is 6.", "And 3+3?")
    typed = conversation_prompt(TURNS[:-1], settings, tokenizer)
    assert typed == asked.input_ids
    record = format_of(settings)
    ((example,),) = record.encode(record(row, settings), tokenizer, sequence_len=settings.sequence_len)
    assert example.input_ids[: len(typed)] == typed
    assert tokenizer.decode(example.input_ids[len(typed) :]).strip().startswith("It is 6.")


def test_a_chat_goes_on_only_in_types_that_know_several_turns():
    kinds = ["chat_template", "sharegpt", "sharegpt.load_glaive", "pygmalion", "llama2_chat", "alpaca", "instruct"]
    datasets = [Dataset.model_validate({"path": "x", "type": kind}) for kind in kinds]
    assert [dataset.kind for dataset in datasets if keeps_history(dataset)] == kinds[:5]


def test_a_conversation_that_the_model_begins_has_no_question_and_one_without_answers_is_at_fault(tokenizer):
    settings = FormatSpec(Dataset.model_validate({"path": "x", "type": "sharegpt"}), tokenizer=tokenizer)
    turns = said("sharegpt", "a", "b")["conversations"]
    assert question({"conversations": turns[1:] + turns[:1]}, settings, tokenizer) is None
    with pytest.raises(DataError, match="no turn of the model"):
        question({"conversations": turns[:1] * 2}, settings, tokenizer)


def test_the_system_turn_that_all_sharegpt_rows_share_is_found(tmp_path, write_jsonl, spec):
    rows = [said("sharegpt", "a", "b", system="Be brief."), said("sharegpt", "c", "d", system="Be brief.")]
    file = str(write_jsonl(tmp_path / "a.jsonl", rows))
    assert shared_system_turn(spec("sharegpt", path=file)) == "Be brief."
    write_jsonl(tmp_path / "a.jsonl", [*rows, said("sharegpt", "a", "b")])
    assert shared_system_turn(spec("sharegpt", path=file)) is None
