"""What nothing reads of a row is named, and refused where its name says that it would change what is trained."""

import pytest

import tunesmith
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenizer import chat_template
from tunesmith.data.unread import MEANINGS, read_row, unread_line
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

ALPACA = {"instruction": "Name a bee that nests in wood.", "output": "The carpenter bee."}
CHAT = {
    "messages": [
        {"role": "user", "content": "Name a bee that nests in wood."},
        {"role": "assistant", "content": "The carpenter bee."},
    ]
}
PAIR = {"prompt": "Name a bee that nests in wood.", "chosen": "The carpenter bee.", "rejected": "The honey bee."}


@pytest.fixture
def names(tokenizer):
    """`names(row, type, **dataset)` are the names of what nothing reads of a row."""

    def call(row, kind="alpaca", mask="served", template=None, **keys):
        bound = chat_template(tokenizer, template, None, "config.yml") if FORMATS[kind].templated else None
        spec = FormatSpec(Dataset(path="x", type=kind, **keys), template=bound, mask=mask, tokenizer=tokenizer)
        return read_row(FORMATS[kind], row, spec)[1]

    return call


@pytest.mark.parametrize("value", ["very blue", 3, True, 0.5, ["very blue"], {"now": "very blue"}])
def test_a_column_that_nothing_reads_is_named(names, value):
    assert names(ALPACA | {"mood": value}) == ["mood"]
    assert names(CHAT | {"mood": value}, "chat_template") == ["mood"]


@pytest.mark.parametrize("value", [None, "", "  ", [], {}])
def test_an_empty_column_is_not(names, value):
    assert names(ALPACA | {"mood": value, "history": value, "system": value}) == []


@pytest.mark.parametrize(
    "name", ["id", "ID", "Source", "prompt_id", "created-at", "Unnamed: 0", "__index_level_0__", "score", "my_score"]
)
def test_bookkeeping_is_not(names, name):
    assert names(ALPACA | {name: "x"}) == []


def test_a_column_that_repeats_what_is_rendered_is_not(names):
    text = FORMATS["alpaca"](ALPACA, FormatSpec(Dataset(path="x", type="alpaca")))[0].text
    assert names(ALPACA | {"text": text, "prompt": ALPACA["instruction"]}) == []
    assert names(CHAT | {"prompt": ALPACA["instruction"]}, "chat_template") == []


NAMES = sorted(name for meaning in MEANINGS for name in meaning.names - {"instruction", "input"})


@pytest.mark.parametrize("name", NAMES)
def test_a_column_whose_name_tells_that_it_would_change_what_is_trained_is_refused(names, name):
    row = ALPACA | {name: "Words that are nowhere else."}
    with pytest.raises(DataError, match=rf"nothing reads {name}, which holds .*`ignored_columns: \[{name}\]`"):
        names(row)
    assert names(row, ignored_columns=[name]) == []
    assert names(row, mask="axolotl") == [name], "with Axolotl's mask a row is what it is there"


@pytest.mark.parametrize(
    ("key", "value", "refused"),
    [
        ("weight", 0, None),
        ("images", ["a.png"], "images"),
        ("mood", "glad", None),
        ("tool_call_id", "1", None),
    ],
)
def test_keys_of_messages_that_no_template_reads(names, key, value, refused):
    row = {"messages": [CHAT["messages"][0] | {key: value}, CHAT["messages"][1]]}
    if key == "weight":
        assert names(row, "chat_template") == [], "it is OpenAI's flag, and is read"
    elif refused:
        with pytest.raises(DataError, match=rf"nothing reads messages.{key}"):
            names(row, "chat_template")
    else:
        assert names(row, "chat_template") == ([f"messages.{key}"] if key == "mood" else [])


def test_keys_of_messages_of_types_without_a_template(names):
    turns = [{"from": "human", "value": "Hi?", "mood": "glad"}, {"from": "gpt", "value": "Hi.", "weight": 1}]
    assert names({"conversations": turns}, "sharegpt", conversation="chatml") == ["conversations.mood"]


def test_a_weight_that_changes_nothing_is_named_and_another_is_refused(names):
    assert names(ALPACA | {"weight": 1.0}) == ["weight"]
    with pytest.raises(DataError, match=r"nothing reads weight, which holds a weight or a flag"):
        names(ALPACA | {"weight": 0.5})


def test_a_function_of_the_users_own_may_read_a_row_in_any_way(tmp_path, tokenizer):
    (tmp_path / "fmt.py").write_text("def read(row, spec):\n    return [('{history}'.format(**row), True)]\n")
    (sample,) = tunesmith.encode({"history": "a b"}, dataset={"type": f"{tmp_path}/fmt.py:read"}, tokenizer=tokenizer)
    assert tokenizer.decode(sample.input_ids).startswith("a b")


def test_preference_rows_are_looked_at_too(tokenizer):
    config = {"rl": "dpo"}
    with pytest.raises(DataError, match="nothing reads history, which holds earlier turns"):
        tunesmith.encode(
            PAIR | {"history": [["Which bees are there?", "Many."]]},
            dataset={"type": "chatml.default"},
            config=config,
            tokenizer=tokenizer,
        )


def test_the_line_of_counts():
    line = unread_line({"mood": 1200, "title": 3})
    assert line.startswith("nothing reads: mood (1,200 rows), title (3); `ignored_columns`")


def test_a_mapping_may_leave_out_parts_of_a_prompt_but_no_history(tokenizer):
    mapping = {"field_instruction": "instruction", "field_output": "output"}
    spec = FormatSpec(Dataset(path="x", type=mapping), tokenizer=tokenizer)
    record = FORMATS["user_defined"]
    assert read_row(record, ALPACA | {"context": "Bees of Europe."}, spec)[1] == ["context"]
    with pytest.raises(DataError, match="nothing reads history"):
        read_row(record, ALPACA | {"history": [["Which bees are there?", "Many."]]}, spec)
