"""What must not change the ids of a row does not, and what must does, for all types and over rows of the wild's shapes.

The order of columns, bookkeeping, another spelling, other rows before it, and another process change nothing. A change
of a value that a type reads, and a column whose name says that it matters, change the ids, or are refused or named.
"""

import json
from collections import Counter
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_invariants import OTHER_ROWS, TEXTS_OF_ANY_KIND, rows

import tunesmith
from tunesmith.config.load import load
from tunesmith.data.formats import find_format
from tunesmith.data.formats.format import FormatSpec, Preferences
from tunesmith.data.formats.preference import TYPES
from tunesmith.data.masks import format_of
from tunesmith.data.prepare import prepare
from tunesmith.data.row_access import TrackedRow
from tunesmith.data.tokenizer import chat_template
from tunesmith.data.unread import MEANINGS, read_row
from tunesmith.errors import DataError, UserError
from tunesmith.sections import Dataset, ModelSection

quick = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TRIED: Counter[str] = Counter()
"""Type -> rows that were tried and that it accepts."""


@pytest.fixture(scope="module", autouse=True)
def counts():
    """Print how many rows of each type were tried, after the last test."""
    yield
    print("\nrows per type:", ", ".join(f"{kind} {count}" for kind, count in sorted(TRIED.items())))


@pytest.fixture(scope="session")
def spec_of(tokenizer):
    """`spec_of(type, rl, template)` is the settings of a type; `rl` of one of preferences."""
    model = ModelSection(base_model="none", chat_template="chatml")

    def make(kind, rl=None, name="chatml"):
        template = chat_template(tokenizer, name, None, "config.yml")
        dataset = Dataset(path="x", type=kind or None)
        preferences = Preferences(rl, model, ()) if rl else None
        return FormatSpec(dataset, template=template, tokenizer=tokenizer, preferences=preferences)

    return make


def become(row, spec):
    """Return the segments or texts of a row with what is trained of them, and the names of what nothing reads.

    Raises:
        DataError: the row is refused.
    """
    record = format_of(spec) if spec.preferences else find_format(spec.dataset.kind, "config.yml")
    if spec.preferences:
        record_read = record.read
        samples, unread = read_row(lambda values, spec: [record_read(values, spec)], row, spec)
    else:
        samples, unread = read_row(record, row, spec)
    return [repr(sample) for sample in samples], unread


def only_read(row, spec):
    """Return the columns of a row that its type asks for; None if it refuses them."""
    tracked = TrackedRow(row)
    try:
        record = format_of(spec)
        record.read(tracked, spec) if spec.preferences else record(tracked, spec)
        own = {name: value for name, value in row.items() if name in tracked.read}
        return own if become(own, spec)[1] == [] else None
    except UserError:
        return None


def paths(value, start=()):
    """Yield the places of all values inside of a value."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*start, key))
    else:
        yield start


def changed(value, path):
    """Return a value with another one at a place."""
    if not path:
        return (
            not value
            if isinstance(value, bool) or value is None
            else value + (" zebra" if isinstance(value, str) else 1)
        )
    items = dict(value) if isinstance(value, dict) else list(value)
    items[path[0]] = changed(items[path[0]], path[1:])
    return items


BOOKKEEPING = {"id": "a1", "source": "bees/honey", "num_votes": 3, "quality_score": 0.5, "meta": {"n": 1}, "url": "x"}


def is_free(path):
    """Whether a value may change without a trace: a rank counts by its order, a result follows its call."""
    return path[-1] == "rank" or (path[0], path[-1]) == ("messages", "name") or path[-3::2] == ("tool_calls", "type")


def check_row(row, spec, order):
    """Check a row that has only what its type reads."""
    before, _ = become(row, spec)
    assert become({name: row[name] for name in order}, spec) == (before, [])
    extra = {name: value for name, value in BOOKKEEPING.items() if name not in row}
    assert become(extra | row, spec) == (before, [])
    for path in paths(row):
        if is_free(path):
            continue
        try:
            after, unread = become(changed(row, path), spec)
        except UserError:
            continue
        assert after != before or unread, f"{path} can change without a trace"


def check_tells(row, spec):
    """Check that a column which would change what is trained is read, refused or named."""
    before, _ = become(row, spec)
    for name in sorted({name for meaning in MEANINGS for name in meaning.names} - row.keys()):
        for value in ("zebra", [["zebra", "yes"]], 0):
            try:
                after, unread = become(row | {name: value}, spec)
            except UserError:
                continue
            assert after != before or name in unread, f"{name}: {value} is passed over"


def check_type(name, spec, strategy):
    """Check rows of a type; `name` is how they are counted."""
    accepted = []

    @quick
    @given(row=strategy, data=st.data())
    def check(row, data):
        own = only_read(row, spec)
        if own is not None:
            accepted.append(own)
            check_row(own, spec, data.draw(st.permutations(list(own))))

    check()
    TRIED[name] += len(accepted)
    assert accepted, f"no row of type {name} is accepted"
    check_tells(accepted[0], spec)


@pytest.mark.parametrize("kind", TEXTS_OF_ANY_KIND)
def test_a_row_of_each_type_changes_only_with_what_it_says(kind, spec_of):
    check_type(kind, spec_of(kind), rows)


@pytest.mark.parametrize("kind", OTHER_ROWS)
def test_so_does_a_row_of_the_types_with_columns_of_their_own(kind, spec_of):
    check_type(kind, spec_of(kind), st.just(OTHER_ROWS[kind]))


def said(*contents):
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(contents)]


words = st.text("abcdefgh ", min_size=3, max_size=12).filter(str.strip)
pairs = st.fixed_dictionaries(
    dict.fromkeys(("system", "prompt", "input", "question", "instruction", "completion"), words)
    | {"chosen": words, "rejected": words, "label": st.booleans()}
    | {"messages": words.map(lambda text: said(text))}
    | {"answers": st.tuples(words, words).map(lambda two: [{"answer": text, "rank": n} for n, text in enumerate(two)])}
)
chats = st.tuples(words, words, words).map(
    lambda texts: {
        "chosen": said(texts[0], texts[1]),
        "rejected": said(texts[0], texts[2]),
        "completion": said(texts[0], texts[1]),
        "label": True,
        "prompt": texts[0],
        "system": "Be brief.",
    }
)


@pytest.mark.parametrize(
    ("rl", "kind"), [(rl, kind) for rl, types in TYPES.items() for kind in types if kind != "user_defined"]
)
def test_so_does_a_row_of_preferences(rl, kind, spec_of):
    lists = kind.endswith(("argilla_chat", "chat_template.argilla")) or (rl, kind) == ("orpo", "chat_template")
    lists = lists or (kind.endswith("ultra") and rl == "dpo")
    strategy = chats if lists else pairs
    if kind == "":  # TRL's columns
        names = ("prompt", "completion", "label") if rl == "kto" else ("prompt", "chosen", "rejected")
        strategy = pairs.map(lambda row: {name: row[name] for name in names})
    check_type(f"{rl}:{kind}", spec_of(kind, rl), strategy)


texts = st.text("abcdefgh .,é\n'\"{}<", min_size=1, max_size=12).filter(str.strip)
values = st.recursive(
    texts | st.integers(-99, 99) | st.booleans() | st.none() | st.just(2.5), lambda inner: st.lists(inner, max_size=2)
)
calls = st.dictionaries(st.sampled_from(["hive", "unit", "note"]), values, max_size=3)


@st.composite
def conversations(draw, reasons=False, tools=False):
    """Return a row of messages, with tools and calls, or with reasoning."""
    messages = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(texts)})
        if tools and draw(st.booleans()):
            function = {"name": "weigh", "arguments": draw(calls)}
            messages.append(
                {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
            )
            messages.append({"role": "tool", "content": draw(texts), "name": "weigh"})
        messages.append({"role": "assistant", "content": draw(texts)})
    if reasons:
        messages[-1]["reasoning_content"] = draw(texts)
    properties = {name: {"type": "string"} for name in ("hive", "unit", "note")}
    function = {"name": "weigh", "description": "Weigh.", "parameters": {"type": "object", "properties": properties}}
    schemas = {"tools": [{"type": "function", "function": function}]} if tools else {}
    return {"messages": messages, **schemas}


def each_message(row, change):
    return row | {"messages": [change(dict(message)) for message in row["messages"]]}


def renamed(names):
    return lambda row: each_message(row, lambda message: {names.get(key, key): value for key, value in message.items()})


def with_padding(row):
    """Return a row whose messages have all keys, with null where they lack one, as Parquet and servers write them."""
    keys = dict.fromkeys(
        ("name", "tool_calls", "tool_call_id", "refusal", "function_call", "reasoning_content", "weight")
    )
    return each_message(row, lambda message: keys | message)


def as_conversations(row):
    people = {"user": "human", "assistant": "gpt"}
    turns = renamed({"role": "from", "content": "value"})(row)["messages"]
    turns = [turn | {"from": people.get(turn["from"], turn["from"])} for turn in turns]
    return {"conversations": turns, **{name: value for name, value in row.items() if name != "messages"}}


def with_system_column(row):
    first, *rest = row["messages"]
    return row | {"messages": rest, "system": first["content"]} if first["role"] == "system" else row


def with_text_arguments(row):
    def change(message):
        calls = [
            call | {"function": call["function"] | {"arguments": json.dumps(call["function"]["arguments"])}}
            for call in message.get("tool_calls", [])
        ]
        return message | ({"tool_calls": calls} if calls else {})

    return each_message(row, change)


def as_legacy(row):
    """Return a row in OpenAI's older form."""

    def change(message):
        if calls := message.pop("tool_calls", []):
            message |= {"content": None, "function_call": calls[0]["function"]}
        return message | ({"role": "function"} if message["role"] == "tool" and calls_tools else {})

    calls_tools = any(message.get("tool_calls") for message in row["messages"])
    functions = [tool["function"] for tool in row["tools"]]
    return {"functions": functions, **each_message({"messages": row["messages"]}, change)}


def as_call_roles(row):
    """Return a row in LLaMA-Factory's form."""

    def change(message):
        if calls := message.pop("tool_calls", []):
            return {"role": "function_call", "content": json.dumps(calls[0]["function"])}
        return message | ({"role": "observation"} if message["role"] == "tool" else {})

    return each_message(row, change)


PLAIN_SPELLINGS = {
    "from and value": as_conversations,
    "messages as JSON text": lambda row: row | {"messages": json.dumps(row["messages"])},
    "system column": with_system_column,
    "padding of nulls": with_padding,
    "content as parts": lambda row: each_message(
        row, lambda message: message | {"content": [{"type": "text", "text": message["content"]}]}
    ),
    "capital roles": lambda row: each_message(row, lambda message: message | {"role": message["role"].title()}),
    "weight of 1": lambda row: each_message(
        row, lambda message: message | ({"weight": 1} if message["role"] == "assistant" else {})
    ),
    "empty tools": lambda row: {"tools": [], "functions": None} | row,
}
TOOL_SPELLINGS = PLAIN_SPELLINGS | {
    "tools as JSON text": lambda row: row | {"tools": json.dumps(row["tools"])},
    "tools as JSON texts": lambda row: row | {"tools": [json.dumps(tool) for tool in row["tools"]]},
    "arguments as JSON text": with_text_arguments,
    "legacy functions": as_legacy,
    "roles of calls": as_call_roles,
}
REASON_SPELLINGS = PLAIN_SPELLINGS | {
    "reasoning": renamed({"reasoning_content": "reasoning"}),
    "thinking": renamed({"reasoning_content": "thinking"}),
}
SPELLINGS = [
    *((("chatml", {}), spelling) for spelling in PLAIN_SPELLINGS.items()),
    *((("qwen_25", {"tools": True}), spelling) for spelling in TOOL_SPELLINGS.items()),
    *((("trl:qwen3_training", {"reasons": True}), spelling) for spelling in REASON_SPELLINGS.items()),
]


def encoded(row, template, tokenizer, **keys):
    """Return ids and labels of the samples of a row whose columns tell its type, or that it is refused."""
    try:
        samples = tunesmith.encode(row, dataset={"chat_template": template, **keys}, tokenizer=tokenizer)
    except DataError:
        return None
    return [(sample.input_ids, sample.labels) for sample in samples]


@pytest.mark.parametrize(("kind", "spelling"), SPELLINGS, ids=lambda item: str(item[0]))
def test_another_spelling_of_the_same_gives_the_same_ids(kind, spelling, tokenizer):
    (template, options), (name, spell) = kind, spelling
    accepted = 0

    @settings(quick, max_examples=12)
    @given(row=conversations(**options))
    def check(row):
        nonlocal accepted
        expected = encoded(row, template, tokenizer)
        if expected is not None:
            accepted += 1
            assert encoded(spell(row), template, tokenizer) == expected

    check()
    TRIED[f"{template}, {name}"] += accepted
    assert accepted >= 4, f"{accepted} rows of {name} are accepted"


@pytest.mark.parametrize(
    ("template", "options"), [("qwen_25", {"tools": True}), ("trl:qwen3_training", {"reasons": True})]
)
def test_a_chat_with_tools_or_reasoning_changes_with_each_of_its_values(template, options, spec_of):
    check_type(f"{template} {options}", spec_of("chat_template", name=template), conversations(**options))


@settings(quick, max_examples=30)
@given(row=conversations())
def test_pairs_of_history_are_the_messages_that_they_stand_for(tokenizer, row):
    system = [message["content"] for message in row["messages"] if message["role"] == "system"]
    turns = [message["content"] for message in row["messages"] if message["role"] != "system"]
    pairs = [list(pair) for pair in zip(turns[:-2:2], turns[1:-2:2], strict=True)]
    exchange = {"instruction": turns[-2], "output": turns[-1], "history": pairs or None}
    exchange |= {"system": system[0]} if system else {}
    expected = encoded(row, "chatml", tokenizer)
    assert encoded(exchange, "chatml", tokenizer, type="chat_template.instruction") == expected


@pytest.mark.parametrize("kind", ["chat_template", "alpaca", "completion"])
def test_order_and_number_of_rows_and_processes_change_no_sample(
    kind, spec_of, tokenizer, tmp_path, write_config, write_jsonl
):
    """3,500 rows are more than one process works on alone."""
    made = [
        {
            "chat_template": {"messages": said(f"Weigh hive {n}.", f"It is {n * 7} kg.")},
            "alpaca": {"instruction": f"Weigh hive {n}.", "output": f"It is {n * 7} kg."},
            "completion": {"text": f"Hive {n} is {n * 7} kg."},
        }[kind]
        for n in range(3500)
    ]

    def samples_of(rows, name):
        file = write_jsonl(tmp_path / f"{name}.jsonl", rows)
        datasets = [{"path": str(file), "type": kind}]
        config = load(str(write_config(tmp_path, datasets=datasets, chat_template="chatml")))
        arguments = {"tokenizer": tokenizer, "seed": 1, "source": config.source}
        prepared = prepare(config.data.datasets, config.data, config.model, **arguments)
        assert prepared.reports[0].rows == prepared.reports[0].kept == len(rows)
        return Counter((tuple(row["input_ids"]), tuple(row["labels"])) for row in prepared.load())

    spec = spec_of(kind)
    record = find_format(kind, "config.yml")
    rendered = [read_row(record, row, spec)[0][0] for row in made]
    alone = chain.from_iterable(record.encode(rendered, tokenizer, sequence_len=256))
    expected = Counter((tuple(sample.input_ids), tuple(sample.labels)) for sample in alone)
    assert samples_of(made, "rows") == expected
    assert samples_of(made[::-1][1000:] + made[::-1][:1000], "shuffled") == expected
