"""Rows are the same if all that they say is the same; bookkeeping does not count."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.config.load import load
from tunesmith.curation.curate import curate
from tunesmith.data.comparison import RowComparison
from tunesmith.data.near_duplicates import hash_leaves, make_record

PROMPT = " ".join(f"the {letter}-th word of a long question" for letter in string.ascii_lowercase[:9])
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": PROMPT},
    {"role": "assistant", "content": "It is so."},
]
WORD = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}}}
TOOLS = [{"type": "function", "function": {"name": "f", "description": PROMPT, "parameters": WORD}}]
CALL = {
    "role": "assistant",
    "tool_calls": [{"function": {"name": "f", "arguments": {"n": 1, "deep": {"x": [1, True]}}}}],
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """`comparison(**keys)` selects the compared values of a dataset with these keys."""

    def make(rl=None, **entry):
        folder = tmp_path_factory.mktemp("config")
        (folder / "rows.jsonl").write_text("")
        keys = {"base_model": "builtin/smollm2-135m-instruct", "learning_rate": 1e-4, "micro_batch_size": 2}
        keys |= {"datasets": [{"path": str(folder / "rows.jsonl"), **entry}]} | ({"rl": rl} if rl else {})
        (folder / "c.yml").write_text(json.dumps(keys))
        config = load(str(folder / "c.yml"))
        return RowComparison(config.data.datasets[0], config)

    return make


def compare(selected, *rows):
    """Return whether two rows are equal, and their similarity."""
    first, second = ([leaf for part in selected.parts(row) for leaf in part] for row in rows)
    similarity = make_record(first).similarity(make_record(second))
    assert similarity == make_record(second).similarity(make_record(first))
    return hash_leaves(first) == hash_leaves(second), similarity


def alpaca(**columns):
    return {"instruction": PROMPT, "input": "", "output": "It is so."} | columns


def chat(*changes, **columns):
    messages = [dict(message) for message in (*CHAT, CALL)]
    for index, key, value in changes:
        messages[index][key] = value
    return {"messages": messages, "tools": TOOLS} | columns


def with_call(**arguments):
    return chat((3, "tool_calls", [{"function": {"name": "f", "arguments": arguments}}]))


DIFFERENT = [
    ("alpaca", alpaca(input=1), alpaca(input=2)),
    ("alpaca", alpaca(input=0), alpaca(input="")),
    ("alpaca", alpaca(output=True), alpaca(output=False)),
    ("alpaca", alpaca(instruction="1+1=2"), alpaca(instruction="1+2=3")),
    ("alpaca", alpaca(output="yes"), alpaca(output="no")),
    ("alpaca", alpaca(output="print(A)"), alpaca(output="print(a)")),
    ("alpaca", alpaca(output="x = a[1]"), alpaca(output="x = a(1)")),
    ("alpaca", alpaca(instruction=PROMPT + " 5 kg"), alpaca(instruction=PROMPT + " 6 kg")),
    ("alpaca", alpaca(instruction="这是一加一的问题吗"), alpaca(instruction="这是一加二的问题吗")),
    ("alpaca", alpaca(note={"a": {"b": [1, 2]}}), alpaca(note={"a": {"b": [1, 3]}})),
    ("alpaca", alpaca(instruction="a", input="b"), alpaca(instruction="b", input="a")),
    ("chat_template", chat((0, "content", "Be kind.")), chat()),
    ("chat_template", chat((1, "role", "assistant")), chat()),
    ("chat_template", {"messages": CHAT}, {"messages": [CHAT[1], CHAT[0], CHAT[2]]}),
    ("chat_template", with_call(n=1), with_call(n=2)),
    ("chat_template", with_call(n=1), with_call(m=1)),
    ("chat_template", with_call(id=1), with_call(id=2)),
    ("chat_template", chat(), chat(tools=json.loads(json.dumps(TOOLS).replace("5", "6")))),
    ("chat_template", chat((2, "weight", 0)), chat((2, "weight", 1))),
    (
        {"field_instruction": "source", "field_output": "category"},
        {"source": "a", "category": "x"},
        {"source": "b", "category": "x"},
    ),
    (
        {"field_instruction": "source", "field_output": "category"},
        {"source": "a", "category": "x"},
        {"source": "a", "category": "y"},
    ),
]


@pytest.mark.parametrize(("kind", "one", "other"), DIFFERENT)
def test_rows_that_differ_in_anything_that_they_say_are_kept_apart(comparison, kind, one, other):
    assert compare(comparison(type=kind), one, other) == (False, 0)


@pytest.mark.parametrize("rl", ["dpo", "kto"])
def test_preference_rows_are_compared_by_answers_and_labels(comparison, rl):
    row = {"prompt": PROMPT, "chosen": "It is.", "rejected": "No.", "completion": "It is.", "label": True}
    selected = comparison(rl=rl, type="chatml.argilla" if rl == "kto" else "chatml.intel")
    for change in ({"chosen": "It isn't."}, {"rejected": "Never."}, {"completion": "So."}, {"label": False}):
        assert compare(selected, row, row | change) == (False, 0)
    messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": "Yes."}]
    other = [messages[0], {"role": "assistant", "content": "Perhaps."}]
    assert compare(selected, {"chosen": messages, "rejected": messages}, {"chosen": messages, "rejected": other}) == (
        False,
        0,
    )


@pytest.mark.parametrize("name", ["id", "uuid", "source", "timestamp", "index", "row_id", "annotator_id", "_line"])
def test_bookkeeping_is_not_compared_and_is_named(comparison, name):
    selected = comparison(type="alpaca")
    assert compare(selected, alpaca(**{name: 1}), alpaca(**{name: "b"}))[0]
    assert selected.left_out == ({} if name == "_line" else {name: 2})
    chats = comparison(type="chat_template")
    assert compare(chats, chat((1, name, 1)), chat((1, name, 2)))[0] == (name != "_line")
    own = comparison(type="alpaca", ignored_columns=["remark"])
    assert compare(own, alpaca(remark=1), alpaca(remark=2))[0]


def test_every_column_is_compared_if_the_type_is_unknown(comparison):
    selected = comparison(type="own.py:f")
    assert compare(selected, {"x": "a", "source": "b"}, {"x": "a", "source": "c"}) == (False, 0)


def test_what_says_the_same_is_the_same(comparison):
    selected = comparison(type="alpaca")
    assert compare(selected, alpaca(input=None), {"output": "it is  SO.\n", "instruction": PROMPT.upper()})[0]
    assert compare(selected, alpaca(input=1), alpaca(input="1"))[0]
    assert compare(selected, alpaca(input=1), alpaca(input=1.0))[0]
    sharegpt = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
    usual = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert compare(comparison(type="chat_template"), {"messages": sharegpt}, {"messages": usual})[0]


SCALARS = st.one_of(st.integers(0, 99), st.text(string.ascii_lowercase + "中文字", min_size=1, max_size=9))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
    max_leaves=5,
)


@settings(deadline=None, max_examples=60)
@given(
    row=st.fixed_dictionaries({"instruction": SCALARS, "input": SCALARS, "output": SCALARS, "notes": VALUES}),
    data=st.data(),
)
def test_a_change_of_one_value_makes_another_row_and_one_of_bookkeeping_does_not(comparison, row, data):
    selected = comparison(type="alpaca")
    assert compare(selected, row | {"id": data.draw(VALUES)}, row | {"id": data.draw(VALUES), "created_at": 5})[0]
    name = data.draw(st.sampled_from(sorted(row)))
    other = data.draw((VALUES if name == "notes" else SCALARS).filter(lambda value: plain(value) != plain(row[name])))
    assert compare(selected, row, row | {name: other}) == (False, 0)


def plain(value):
    """Return a value with numbers as text."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else str(value)


@settings(deadline=None, max_examples=8)
@given(order=st.permutations(range(18)))
def test_as_many_rows_are_dropped_in_any_order(tmp_path_factory, order):
    def text(seed):
        return " ".join(f"{letter}{seed}" for letter in string.ascii_lowercase * 3)

    rows = [{"id": seed, "instruction": text("abcdef"[seed % 6]), "output": 7 * (seed % 6)} for seed in range(12)]
    rows += [{**rows[seed], "id": -seed, "instruction": rows[seed]["instruction"] + " more"} for seed in range(3)]
    rows += [{**rows[seed], "id": -seed, "output": "other"} for seed in range(3)]
    folder = tmp_path_factory.mktemp("order")
    (folder / "rows.jsonl").write_text("".join(json.dumps(rows[index]) + "\n" for index in order))
    keys = {
        "base_model": "builtin/smollm2-135m-instruct",
        "learning_rate": 1e-4,
        "curate": {"output": str(folder / "c")},
    }
    (folder / "c.yml").write_text(
        json.dumps(keys | {"datasets": [{"path": str(folder / "rows.jsonl"), "type": "alpaca"}]})
    )
    summary = curate(load(str(folder / "c.yml")), None)
    assert sum(summary.counts.values()) == 9
    assert summary.not_compared == {"id": 18}
