"""The same rows give the same token ids and labels, whichever kind of file they are in.

Rows have different keys, also in their structs, and one file has its columns in another order.
"""

import csv
import json
from random import Random

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tunesmith.config.load import load
from tunesmith.data.prepare import prepare

TOOLS = [
    {"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", None]}}, "required": ["city"]},
    {"type": "object", "properties": {"expression": {"type": "string"}, "digits": {"type": "integer"}}},
    {"type": "object", "properties": {}},
]


def make_chat(number: int) -> dict:
    names, arguments = ("weather", "sum", "now"), ({"city": f"Town {number}"}, {"expression": f"{number}+1"}, {})
    name, call = names[number % 3], {"name": names[number % 3], "arguments": arguments[number % 3]}
    tools = [{"type": "function", "function": {"name": name, "parameters": TOOLS[number % 3]}}]
    start = [{"role": "system", "content": "Be brief."}] if number % 2 else []
    turns = [
        *start,
        {"role": "user", "content": f"Question {number}?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
        {"role": "tool", "content": f"{number}", "name": name},
        {"role": "assistant", "content": f"Answer {number}."},
    ]
    if number % 4 == 3:
        return {"messages": [*start, *({"role": role, "content": f"Hi {role}"} for role in ("user", "assistant"))]}
    return {"messages": turns, "tools": tools, "meta": {"source": "x", **({"score": 1.5} if number % 2 else {})}}


def make_pair(number: int) -> dict:
    extra = {"name": "bee"} if number % 2 else {}
    chosen, rejected = ({"role": "assistant", "content": f"{word} {number}", **extra} for word in ("Good", "Bad"))
    return {"messages": [{"role": "user", "content": f"Question {number}?"}], "chosen": chosen, "rejected": rejected}


ROWS = {
    "alpaca": [
        {"instruction": f"Say {n}.", "output": f"It is {n}.", **({"input": f"Word {n}"} if n % 2 else {}), "id": n}
        | ({"note": "Be brief."} if n % 3 == 1 else {})
        for n in range(6)
    ],
    "chat_template": [make_chat(n) for n in range(12)],
    "sharegpt": [
        {
            "conversations": [
                {"from": "human", "value": f"Question {n}?", **({"lang": "en"} if n % 2 else {})},
                {
                    "from": "gpt",
                    "value": f"Answer {n}.",
                    **({"score": {"a": n} if n % 3 else {"b": "x"}} if n % 2 else {}),
                },
            ]
        }
        for n in range(6)
    ],
    "prompt_completion": [
        {"prompt": f"Question {n}?", "completion": f" Answer {n}.", **({"note": "x"} if n % 2 else {})}
        for n in range(6)
    ],
    "completion": [{"text": f"Some text {n}.", **({"meta": {"n": n}} if n % 2 else {})} for n in range(6)],
    "dpo": [make_pair(n) for n in range(6)],
    "kto": [{"prompt": f"Question {n}?", "completion": f"Answer {n}.", "label": n % 2 == 0} for n in range(6)],
}
KEYS = {
    "chat_template": {"chat_template": "qwen_25", "sequence_len": 1024},
    "sharegpt": {"chat_template": "chatml"},
    "dpo": {"rl": "dpo", "chat_template": "chatml"},
    "kto": {"rl": "kto", "micro_batch_size": 2, "chat_template": "chatml"},
}
TYPES = {"dpo": "chat_template.default", "kto": "chatml.ultra"}


def shuffled(rows: list[dict]) -> list[dict]:
    """Return the rows with their columns in another order."""
    orders = [Random(number).sample([*row], len(row)) for number, row in enumerate(rows)]
    return [{name: row[name] for name in order} for row, order in zip(rows, orders, strict=True)]


def with_all_columns(rows: list[dict]) -> list[dict]:
    """Return the rows with the columns of all of them, null where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def as_table(rows: list[dict]) -> pyarrow.Table:
    return pyarrow.Table.from_pylist(with_all_columns(rows))


def write_arrow(path, table, layout):
    with pyarrow.OSFile(str(path), "wb") as sink, layout(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*dict.fromkeys(name for row in rows for name in row)])
        writer.writeheader()
        writer.writerows(rows)


def write_with_datasets(path, rows):
    """Save as `datasets` does what it reads from JSON: columns of mixed types are JSON text in it."""
    source = path.with_suffix(".source.jsonl")
    source.write_text("\n".join(map(json.dumps, rows)))
    loaded = datasets.load_dataset("json", data_files=str(source), split="train", cache_dir=str(path.parent / "cache"))
    loaded.with_format("numpy").save_to_disk(str(path))


CONTAINERS = {
    "list.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "pretty.jsonl": lambda path, rows: path.write_text("\n".join(json.dumps(row, indent=1) for row in rows)),
    "shuffled.jsonl": lambda path, rows: path.write_text("\n".join(map(json.dumps, shuffled(rows)))),
    "nulls.jsonl": lambda path, rows: path.write_text("\n".join(map(json.dumps, with_all_columns(rows)))),
    "rows.parquet": lambda path, rows: pyarrow.parquet.write_table(as_table(rows), path),
    "shuffled.parquet": lambda path, rows: pyarrow.parquet.write_table(as_table(shuffled(rows)), path),
    "pandas.parquet": lambda path, rows: as_table(rows).to_pandas().to_parquet(path),
    "stream.arrow": lambda path, rows: write_arrow(path, as_table(rows), pyarrow.ipc.new_stream),
    "file.arrow": lambda path, rows: write_arrow(path, as_table(rows), pyarrow.ipc.new_file),
    "saved": lambda path, rows: datasets.Dataset(as_table(rows)).save_to_disk(str(path)),
    "saved-by-datasets": write_with_datasets,
    "rows.csv": write_csv,
}
FLAT = ("alpaca", "prompt_completion", "completion")


@pytest.fixture(scope="module", autouse=True)
def no_bars():
    datasets.disable_progress_bars()


@pytest.mark.parametrize("name", ROWS)
def test_every_kind_of_file_gives_the_same_ids_and_labels(tmp_path, tokenizer, write_config, name):
    def samples(path):
        entry = {"path": str(path), "type": TYPES.get(name, name)}
        config = load(
            str(write_config(tmp_path, datasets=[entry], shuffle_merged_datasets=False, **KEYS.get(name, {})))
        )
        prepared = prepare(
            config.data.datasets, config.data, config.model, tokenizer=tokenizer, seed=1, source=config.source
        )
        assert not prepared.reports[0].bad
        return prepared.load().remove_columns(["file", "row"])[:]

    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS[name])))
    expected = samples(tmp_path / "rows.jsonl")
    assert len(expected["input_ids"]) == len(ROWS[name])
    for container, write in CONTAINERS.items():
        if container != "rows.csv" or name in FLAT:
            write(tmp_path / container, ROWS[name])
            assert samples(tmp_path / container) == expected, container
