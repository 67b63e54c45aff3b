"""The Honeycomb example: its rows obey its assertions, and its assertions find every planted fault."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "honeycomb"


def load(name):
    """Load a module of the example, which is no package, as running it there would."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location(f"honeycomb_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


assertions = load("assertions")
generate = load("generate")
vocabulary = load("vocabulary")

CHECKS = {name: check for name, check in vars(assertions).items() if name.startswith("test_")}
ROW = {"messages": [], "columns": ["duration_ms", "service.name", "error", "http.status_code"]}
COUNT, AVERAGE = {"op": "COUNT"}, {"op": "AVG", "column": "duration_ms"}
HEATMAP = {"op": "HEATMAP", "column": "duration_ms"}
GOOD = {
    "calculations": [COUNT, AVERAGE, HEATMAP],
    "filters": [
        {"column": "error", "op": "=", "value": True},
        {"column": "service.name", "op": "in", "value": ["api", "web"]},
        {"column": "http.status_code", "op": "exists"},
    ],
    "filter_combination": "OR",
    "breakdowns": ["service.name"],
    "orders": [{"column": "service.name", "order": "ascending"}, {**AVERAGE, "order": "descending"}],
    "havings": [{"calculate_op": "COUNT", "op": ">", "value": 10}],
    "limit": 10,
    "time_range": 7200,
    "start_time": 1700000000,
    "granularity": 60,
}


def failures(answer, row=ROW):
    """Map each check that fails to its message; any other exception ends the test."""
    found = {}
    for name, check in CHECKS.items():
        try:
            check(row, answer)
        except AssertionError as error:
            found[name] = str(error)
    return found


@pytest.fixture(scope="module")
def splits():
    return {"train": list(generate.draw_rows("train", 1500, 42)), "eval": list(generate.draw_rows("eval", 200, 42))}


def parts(row):
    """Split a row into its question, without the columns, and its query."""
    _, question = row["messages"][1]["content"].split("\n\n")
    return question, json.loads(row["messages"][2]["content"])


def test_every_row_passes_every_assertion(splits):
    for row in (*splits["train"], *splits["eval"]):
        assert failures(row["messages"][2]["content"], row) == {}, row


def test_rows_have_the_shape_the_example_documents(splits):
    for rows in splits.values():
        sizes = [len(row["columns"]) for row in rows]
        assert min(sizes) >= 8
        assert max(sizes) <= 20
        assert 10 <= sum(sizes) / len(sizes) <= 12
        for row in rows:
            system, user, assistant = row["messages"]
            assert [system["role"], user["role"], assistant["role"]] == ["system", "user", "assistant"]
            assert system["content"] == generate.SYSTEM
            assert user["content"].startswith("\n".join(["Columns:", *row["columns"], "", ""]))
            assert len(set(row["columns"])) == len(row["columns"])
            query = json.loads(assistant["content"])
            assert list(query) == [key for key in generate.KEYS if key in query]
            assert all(query.values())
            assert "{" not in parts(row)[0]


def test_a_question_names_its_values(splits):
    for row in (*splits["train"], *splits["eval"]):
        question, query = parts(row)
        values = [entry.get("value") for entry in query.get("filters", []) if not isinstance(entry.get("value"), list)]
        values += [entry["value"] for entry in query.get("havings", [])]
        values += [query.get(key) for key in ("limit", "start_time", "end_time")]
        for value in values:
            text = value if isinstance(value, str) else json.dumps(value)
            assert value is None or text in question, row


def test_a_name_in_a_question_fits_one_listed_column():
    rng = random.Random(1)
    for split in ("TRAIN", "HELD_OUT"):
        domains = generate.table(getattr(vocabulary, f"{split}_DOMAINS"))
        for _ in range(150):
            names = generate.draw_scene(rng, domains, {}).names
            for column, name in names.items():
                fitting = [other for other in names if name in generate.spoken_forms(other)]
                assert fitting == [column] or name == column, (name, fitting)


def test_the_rows_use_the_whole_language(splits):
    queries = [parts(row)[1] for row in splits["train"]]
    used = {key for query in queries for key in query}
    assert used == set(assertions.KEYS)
    for key, field, known in (
        ("calculations", "op", assertions.CALCULATIONS),
        ("filters", "op", assertions.FILTERS),
        ("havings", "op", assertions.COMPARISONS),
    ):
        assert {entry[field] for query in queries for entry in query.get(key, [])} == set(known)


def test_the_splits_share_no_question_domain_column_set_or_phrase(splits):
    train, held_out = splits["train"], splits["eval"]
    contents = [row["messages"][1]["content"] for row in (*train, *held_out)]
    assert len(set(contents)) == len(contents)
    assert not {parts(row)[0] for row in train} & {parts(row)[0] for row in held_out}
    assert not {frozenset(row["columns"]) for row in train} & {frozenset(row["columns"]) for row in held_out}

    domains = generate.table(vocabulary.TRAIN_DOMAINS), generate.table(vocabulary.HELD_OUT_DOMAINS)
    assert not set(domains[0]) & set(domains[1])
    common = set(generate.read_columns(generate.table(vocabulary.COMMON_COLUMNS)["common"]))
    own = [{name for items in entries.values() for name in generate.read_columns(items)} for entries in domains]
    assert not own[0] & own[1]
    assert not common & (own[0] | own[1])
    invented = {name for row in train for name in row["columns"]} - own[0] - common
    assert len(invented) > len(own[0])
    words = {word for name in own[1] | common for word in re.split("[._]", name)}
    assert not words & set(vocabulary.INVENTED_WORDS.split())
    assert {name for row in held_out for name in row["columns"]} <= own[1] | common

    phrases = generate.table(vocabulary.TRAIN_PHRASES), generate.table(vocabulary.HELD_OUT_PHRASES)
    assert {*generate.KINDS, "by", "where", "scope", "when"} == set(phrases[1])  # every sentence, not the operators
    for part in phrases[1]:
        assert not set(phrases[0][part]) & set(phrases[1][part]), part
    assert all(len(phrases[0][kind]) >= 8 for kind in generate.KINDS)


def test_words_are_not_taken_for_other_json_values():
    for block in (vocabulary.TRAIN_DOMAINS, vocabulary.HELD_OUT_DOMAINS, vocabulary.COMMON_COLUMNS):
        for items in generate.table(block).values():
            for values in generate.read_columns(items).values():
                assert len({type(value) is str for value in values}) == 1
                assert not {"true", "false", "null", "and", "or"} & set(map(str, values)), values


def test_two_runs_write_the_same_bytes(tmp_path, capsys):
    wanted = ["--train", "60", "--eval", "20"]
    for folder in ("one", "two"):
        generate.main([*wanted, "--out", str(tmp_path / folder)])
    assert "train.jsonl: 60 rows" in capsys.readouterr().out
    for name in ("train.jsonl", "eval.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["eval.jsonl", "train.jsonl"]

    generate.main([*wanted, "--out", str(tmp_path / "one")])
    assert capsys.readouterr().out.count("unchanged") == 2
    generate.main([*wanted, "--seed", "7", "--out", str(tmp_path / "one")])
    assert capsys.readouterr().out.count("written") == 2
    assert (tmp_path / "one" / "train.jsonl").read_bytes() != (tmp_path / "two" / "train.jsonl").read_bytes()


def test_the_committed_sample_is_the_start_of_the_training_rows(splits):
    sample = [json.loads(line) for line in (FOLDER / "sample.jsonl").read_text().splitlines()]
    assert sample == splits["train"][: generate.SAMPLE_ROWS]


def test_a_good_query_passes():
    assert failures(json.dumps(GOOD)) == {}
    assert failures(f"\n {json.dumps(GOOD)}\n") == {}
    assert failures('{"orders": [{"op": "COUNT", "order": "ascending"}]}') == {}  # COUNT is what is computed by default


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "not JSON: Expecting value"),
        ("{'limit': 1}", "not JSON"),
        ('```json\n{"limit": 1}\n```', "not JSON"),
        ('{"limit": 1} {"limit": 1}', "not JSON: Extra data"),
        ('{"limit": 1', "not JSON"),
        ('{"limit": NaN}', "not JSON: NaN is not a JSON value"),
        ('{"limit": -Infinity}', "not JSON: -Infinity"),
        ('{"limit": 1, "limit": 2}', 'key "limit" is given twice'),
        ("[" * 100_000, "not JSON"),
        ("1" * 10_000, "not JSON"),
        ("[{}]", "not a JSON object: found a list of 1"),
        ("null", "not a JSON object: found null"),
        ('"COUNT"', 'not a JSON object: found "COUNT"'),
    ],
)
def test_what_is_not_one_object_fails_every_check(answer, message):
    found = failures(answer)
    assert list(found) == list(CHECKS)
    assert all(message in text for text in found.values()), found


FAULTS = [
    ({"groupby": ["error"]}, "test_only_known_keys", 'unknown key "groupby"'),
    ({"breakdown": ["error"]}, "test_only_known_keys", "nearest is `breakdowns`"),
    ({"calculations": [{"op": "COUNT", "name": "n"}]}, "test_only_known_keys", 'calculations[0]: unknown key "name"'),
    ({"calculations": {"op": "COUNT"}}, "test_calculations", "calculations: must be a list, found an object of 1"),
    ({"calculations": ["COUNT"]}, "test_calculations", 'calculations[0]: must be an object, found "COUNT"'),
    ({"calculations": [{"column": "error"}]}, "test_calculations", "calculations[0]: `op` is missing"),
    ({"calculations": [{"op": "MEAN", "column": "error"}]}, "test_calculations", '"MEAN" is not a known `op`'),
    ({"calculations": [{"op": ["AVG"]}]}, "test_calculations", "a list of 1 is not a known `op`"),
    ({"calculations": [{"op": "COUNT", "column": "error"}]}, "test_calculations", 'takes no column, found "error"'),
    ({"calculations": [COUNT, {"op": "P95"}]}, "test_calculations", "calculations[1]: P95 needs a column"),
    ({"calculations": [{"op": "MAX", "column": 3}]}, "test_calculations", "`column` must be a string, found 3"),
    ({"filters": None}, "test_filters", "filters: must be a list, found null"),
    ({"filters": [{"op": "=", "value": 1}]}, "test_filters", "filters[0]: a filter needs a column"),
    ({"filters": [{"column": "error", "value": 1}]}, "test_filters", "filters[0]: `op` is missing"),
    ({"filters": [{"column": "error", "op": "=="}]}, "test_filters", '"==" is not a known `op`; nearest is'),
    ({"filters": [{"column": "error", "op": "="}]}, "test_filters", "filters[0]: = needs a value"),
    ({"filters": [{"column": "error", "op": "=", "value": None}]}, "test_filters", "found null"),
    ({"filters": [{"column": "error", "op": "=", "value": [1]}]}, "test_filters", "takes one string, number or"),
    ({"filters": [{"column": "error", "op": "exists", "value": 1}]}, "test_filters", "exists takes no value, found 1"),
    ({"filters": [{"column": "error", "op": "in", "value": "a"}]}, "test_filters", "in takes a list of one or more"),
    ({"filters": [{"column": "error", "op": "not-in", "value": []}]}, "test_filters", "found a list of 0"),
    ({"filters": [{"column": "error", "op": "in", "value": [[1]]}]}, "test_filters", "in takes a list"),
    ({"filter_combination": "and"}, "test_filters", 'must be "AND" or "OR", found "and"'),
    ({"breakdowns": "error"}, "test_breakdowns", 'breakdowns: must be a list, found "error"'),
    ({"breakdowns": [{"column": "error"}]}, "test_breakdowns", "breakdowns[0]: must be a column name, found an object"),
    ({"orders": [{"op": "COUNT"}]}, "test_orders", "orders[0]: `order` is missing"),
    ({"orders": [{"op": "COUNT", "order": "desc"}]}, "test_orders", "nearest is `descending`"),
    ({"orders": [{"order": "ascending"}]}, "test_orders", "an order without an op needs a column"),
    ({"orders": [{"column": "error", "order": "ascending"}]}, "test_orders", "is not among the query's breakdowns"),
    (
        {"calculations": [COUNT], "orders": [{**AVERAGE, "order": "ascending"}]},
        "test_orders",
        "AVG(duration_ms) is not among the query's calculations",
    ),
    (
        {"calculations": [HEATMAP], "orders": [{**HEATMAP, "order": "ascending"}]},
        "test_orders",
        "a HEATMAP has no single value",
    ),
    ({"havings": [{"op": ">", "value": 1}]}, "test_havings", "havings[0]: `calculate_op` is missing"),
    ({"havings": [{"calculate_op": "COUNT", "op": "in", "value": 1}]}, "test_havings", '"in" is not a known `op`'),
    ({"havings": [{"calculate_op": "COUNT", "op": ">"}]}, "test_havings", "havings[0]: `value` is missing"),
    ({"havings": [{"calculate_op": "COUNT", "op": ">", "value": True}]}, "test_havings", "found true"),
    ({"havings": [{"calculate_op": "COUNT", "op": ">", "value": "1"}]}, "test_havings", 'found "1"'),
    (
        {"havings": [{"calculate_op": "SUM", "column": "duration_ms", "op": ">", "value": 1}]},
        "test_havings",
        "SUM(duration_ms) is not among",
    ),
    (
        {"calculations": [HEATMAP], "havings": [{"calculate_op": "HEATMAP", "column": "duration_ms", "op": ">"}]},
        "test_havings",
        "a HEATMAP has no single value",
    ),
    ({"time_range": 0}, "test_time", "time_range: must be a whole number >= 1, found 0"),
    ({"time_range": "2h"}, "test_time", 'found "2h"'),
    ({"time_range": 7200.0}, "test_time", "found 7200.0"),
    ({"time_range": True}, "test_time", "found true"),
    ({"granularity": -1}, "test_time", "granularity: must be a whole number >= 0, found -1"),
    ({"start_time": 20, "end_time": 20}, "test_time", "start_time: 20 is not before end_time 20"),
    ({"start_time": 10, "end_time": 20, "time_range": 5}, "test_time", "but both are given"),
    ({"limit": 0}, "test_limit", "found 0"),
    ({"limit": 1001}, "test_limit", "from 1 to 1000, found 1001"),
    ({"limit": None}, "test_limit", "found null"),
    (
        {"filters": [COUNT, {"column": "dur", "op": "exists"}]},
        "test_columns_exist",
        "filters[1]: column `dur` is not in the list; nearest is `duration_ms`",
    ),
    ({"breakdowns": ["service"]}, "test_columns_exist", "breakdowns[0]: column `service` is not in the list"),
    ({"calculations": [{"op": "MAX", "column": "speed"}]}, "test_columns_exist", "calculations[0]: column `speed`"),
    ({"orders": [{"column": "speed"}]}, "test_columns_exist", "orders[0]: column `speed`"),
    ({"havings": [{"column": "speed"}]}, "test_columns_exist", "havings[0]: column `speed`"),
]


@pytest.mark.parametrize(("query", "check", "message"), FAULTS)
def test_a_planted_fault_fails_its_check_with_a_message_that_names_it(query, check, message):
    found = failures(json.dumps(query))
    assert message in found.get(check, ""), found
    if check != "test_columns_exist":  # its examples are otherwise incomplete, to plant them in every place
        assert list(found) == [check]


def test_a_number_too_large_for_json_readers_is_no_number():
    answer = '{"havings": [{"calculate_op": "COUNT", "op": ">", "value": 1e999}]}'
    assert "must be a number" in failures(answer)["test_havings"]


def test_without_listed_columns_every_column_is_unknown():
    assert list(failures(json.dumps(GOOD), {"columns": []})) == ["test_columns_exist"]


SCRAPS = [None, True, False, 0, -1, 1.5, 10**30, "", "COUNT", "AVG", "=", "duration_ms", "\ud800", [], {}, [[]], [{}]]


def mutate(value, rng):
    """Return the value with scraps of JSON put, or whole parts moved, anywhere in it."""
    if rng.random() < 0.12:
        return rng.choice([*SCRAPS, GOOD, GOOD["filters"], list(GOOD), [value], {"op": value, "column": value}])
    if isinstance(value, dict):
        keys = [*assertions.KEYS, "op", "column", "value", "order"]
        return {(rng.choice(keys) if rng.random() < 0.05 else key): mutate(item, rng) for key, item in value.items()}
    if isinstance(value, list):
        return [mutate(item, rng) for item in value for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    return value


def test_no_json_raises_anything_but_an_assertion_error():
    rng = random.Random(3)
    failed = set()
    for _ in range(2000):
        query = mutate(GOOD, rng)
        failed |= set(failures(json.dumps(query)))
    assert failed == set(CHECKS)


def test_no_cut_or_deep_text_raises_anything_but_an_assertion_error():
    text = json.dumps(GOOD)
    for end in range(len(text)):
        assert list(failures(text[:end])) == list(CHECKS)
    for depth in (10, 500, 900, 950, 980, 5000):
        deep = "[" * depth + "]" * depth
        for template in ('{"calculations": %s}', '{"calculations": [{"op": "MAX", "column": %s}], "orders": %s}'):
            answer = template.replace("%s", deep)
            assert failures(answer)
        order = f'{{"op": "MAX", "column": {deep}, "order": "ascending"}}'
        assert failures(f'{{"calculations": [{order}], "orders": [{order}], "breakdowns": [{deep}], "limit": {deep}}}')


def planted(row, change):
    """Return a row whose answer is changed."""
    *before, answer = row["messages"]
    return row | {"messages": [*before, answer | {"content": change(answer["content"])}]}


def test_planted_rows_are_left_out_with_the_right_reason_and_all_good_ones_are_kept(tmp_path, monkeypatch, write_jsonl):
    from tunesmith.cli.filter import main

    good = [json.loads(line) for line in (FOLDER / "sample.jsonl").read_text().splitlines()]
    column = planted(good[0], lambda text: text.replace('"planner.cost"', '"planner.price"'))
    op = planted(good[1], lambda text: text.replace('"P99"', '"P98"'))
    broken = planted(good[2], lambda text: text[:-1])
    write_jsonl(tmp_path / "mixed.jsonl", [*good[:10], column, op, broken, *good[10:]])
    monkeypatch.chdir(tmp_path)
    assert main(["mixed.jsonl", "--assertions", str(FOLDER / "assertions.py")]) == 0
    kept, dropped = (
        [json.loads(line) for line in (tmp_path / f"mixed.{name}.jsonl").read_text().splitlines()]
        for name in ("kept", "dropped")
    )
    assert kept == good
    assert [row["place"] for row in dropped] == ["mixed.jsonl:11", "mixed.jsonl:12", "mixed.jsonl:13"]
    reasons = [row["reasons"] for row in dropped]
    assert "column `planner.price` is not in the list; nearest is `planner.cost`" in reasons[0]["test_columns_exist"]
    assert list(reasons[0]) == ["test_columns_exist"]
    assert '"P98" is not a known `op`' in reasons[1]["test_calculations"]
    assert list(reasons[2]) == list(CHECKS)
    assert all(reason.startswith("not JSON") for reason in reasons[2].values())
