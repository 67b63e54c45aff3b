"""What nothing reads of a row is named, or refused; bookkeeping and what only repeats the row is passed over."""

import pytest

from tunesmith.data.formats import find_format
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenizer import chat_template
from tunesmith.data.unread import read_row
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

ALPACA = {"instruction": "Name a drink of bees.", "output": "They say yes to nectar."}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


@pytest.fixture
def unread(tokenizer):
    """`unread(row, type, **keys of the dataset)` returns the names of what nothing reads."""

    def call(row, type="alpaca", *, mask="served", **keys):
        template = chat_template(tokenizer, "chatml", None, "config.yml")
        dataset = Dataset(path="rows.jsonl", type=type, **keys)
        spec = FormatSpec(dataset, template=template, tokenizer=tokenizer, mask=mask)
        return read_row(find_format(type, "config.yml"), row, spec)[1]

    return call


@pytest.mark.parametrize(
    "extra",
    [
        {"system": "yes"},
        {"context": "a"},
        {"history": ["a", "yes"]},
        {"systemPrompt": "Be brief."},
        {"toolCalls": [{"name": "drink"}]},
        {"Chat-History": [["Hi", "Hello."]]},
        {"label": 1},
        {"weight": 0.5},
        {"image_url": "bee.jpg"},
    ],
)
def test_a_column_that_would_change_training_is_refused_however_short_it_is(unread, extra):
    (name,) = extra
    with pytest.raises(DataError, match=f"nothing reads {name}, which holds"):
        unread(ALPACA | extra)
    assert unread(ALPACA | extra, ignored_columns=[name]) == []


@pytest.mark.parametrize(
    "extra",
    [
        {"text": "### Q:\nName a drink of bees.\n### A:\nThey say yes to nectar."},
        {"prompt": "### Instruction:\nName a drink of bees.\n\n### Output:\nThey say yes to nectar."},
        {"question": "Name a drink of bees."},
        {"documents": ["They say yes to nectar.", "They say yes to nectar"]},
        {"avatarUrl": "a", "num_votes": 3, "imageId": 4, "lang": "English", "annotation_type": "re-annotation"},
    ],
)
def test_what_repeats_the_row_and_bookkeeping_is_passed_over(unread, extra):
    assert unread(ALPACA | extra) == []


def test_a_text_that_says_more_than_the_row_is_no_repetition(unread):
    assert unread({"text": "Bees dance.", "abstract": "Bees dance. They waggle."}, "completion") == ["abstract"]
    extract = {"instruction": "Bees", "output": "dance", "context": "Bees dance at noon."}
    with pytest.raises(DataError, match="nothing reads context"):
        unread(extract)


def test_names_that_are_lines_of_the_prompt_are_repetitions(unread):
    row = ALPACA | {"instruction": "Columns:\nhive\nkg\n\nWeigh all.", "columns": ["hive", "kg"]}
    assert unread(row) == []
    assert unread(row | {"columns": ["hive", "weigh"]}) == ["columns"]


def test_a_prompt_beside_its_messages_is_a_repetition_also_where_they_are_json(unread):
    assert unread(CHAT | {"prompt": "Hi"}, "chat_template") == []
    text = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]'
    assert unread({"messages": text, "prompt": "Hi"}, "chat_template") == []
    with pytest.raises(DataError, match="nothing reads prompt"):
        unread({"messages": text, "prompt": "user"}, "chat_template")


def test_a_long_text_is_named_whatever_the_column_is_called(unread):
    note = "Answer as a keeper of bees would, who has little time for questions."
    assert unread(ALPACA | {"kind": note, "meta": {"notes": [note]}, "type": "a short one"}) == ["kind", "meta"]


@pytest.mark.parametrize("flags", [(False, True), (True, False)])
def test_the_flag_of_each_message_counts_not_that_of_the_last(unread, flags):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    row = {"messages": [turn | {"train": flag} for turn, flag in zip(turns, flags, strict=True)]}
    with pytest.raises(DataError, match=r"nothing reads messages.train, which holds a weight or a flag .*\(False\)"):
        unread(row, "chat_template")


def test_an_unread_key_of_a_message_does_not_count_as_read_because_its_column_is(unread):
    row = {"messages": [message | {"mood": "calm"} for message in CHAT["messages"]]}
    assert unread(row, "chat_template") == ["messages.mood"]
    turns = [{"from": "human", "value": "Hi", "mood": "calm"}, {"from": "gpt", "value": "Hello."}]
    assert unread({"conversations": turns}, "sharegpt") == ["conversations.mood"]


def test_with_axolotls_mask_the_same_is_named_and_nothing_refused(unread):
    row = {"messages": [message | {"mood": "calm"} for message in CHAT["messages"]], "label": 1, "id": 3}
    assert unread(row, "chat_template", mask="axolotl") == ["label", "messages.mood"]


def test_a_mapping_may_leave_out_parts_of_a_prompt_but_no_history(tokenizer):
    mapping = {"field_instruction": "instruction", "field_output": "output"}
    spec = FormatSpec(Dataset(path="x", type=mapping), tokenizer=tokenizer)
    row = {"instruction": "Name a bee that nests in wood.", "output": "The carpenter bee."}
    record = find_format("user_defined", "config.yml")
    assert read_row(record, row | {"context": "Bees of Europe."}, spec)[1] == ["context"]
    with pytest.raises(DataError, match="nothing reads history"):
        read_row(record, row | {"history": [["Which bees are there?", "Many."]]}, spec)


def test_another_conversation_beside_the_one_that_is_read_is_refused(unread):
    other = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Good day."}]
    same = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
    with pytest.raises(DataError, match="nothing reads conversations, which holds a conversation"):
        unread(CHAT | {"conversations": other}, "chat_template")
    assert unread(CHAT | {"conversations": same}, "chat_template") == []
