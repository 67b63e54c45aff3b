"""Training set and held-out set, and the words about them."""

import pytest

from tunesmith.config.load import load
from tunesmith.data.prepare import Prepared, Report
from tunesmith.data.splits import describe, held_out_count, prepare_splits, set_names, tokens_of_run
from tunesmith.data.types import BadRow
from tunesmith.errors import DataError
from tunesmith.sections import DataSection, Dataset, TrainingSection


@pytest.mark.parametrize(
    ("samples", "val_set_size", "expected"),
    [(100, 0, 0), (100, 0.05, 5), (100, 0.001, 1), (10, 0.25, 2), (100, 7, 7), (2, 0.5, 1)],
)
def test_a_share_or_a_number_is_held_out(samples, val_set_size, expected):
    assert held_out_count(samples, val_set_size) == expected


@pytest.mark.parametrize(("samples", "val_set_size"), [(1, 0.5), (5, 5), (5, 1.0), (3, 50)])
def test_holding_out_everything_is_refused(samples, val_set_size):
    with pytest.raises(DataError, match=rf"`val_set_size: {val_set_size:g}` holds out \d+ of {samples} samples"):
        held_out_count(samples, val_set_size)


@pytest.fixture
def split(tmp_path, tokenizer, write_config):
    def call(**keys):
        config = load(str(write_config(tmp_path, **keys)))
        return prepare_splits(config, tokenizer)

    return call


def test_the_held_out_rows_are_the_tail_and_are_not_trained(split):
    splits = split(val_set_size=0.25)
    train, held_out = list(splits.train["row"]), list(splits.held_out["row"])
    assert (len(train), len(held_out)) == (6, 2)
    assert sorted(train + held_out) == list(range(1, 9))
    assert list(split(val_set_size=0.25).held_out["row"]) == held_out


def test_data_seed_decides_order_and_split(split):
    def rows(**keys):
        splits = split(val_set_size=0.25, **keys)
        return list(splits.train["row"]), list(splits.held_out["row"])

    assert rows(seed=7, data_seed=42) == rows(seed=42)
    assert rows(seed=42, data_seed=7) == rows(seed=7) != rows(seed=42)


def test_without_either_key_nothing_is_held_out(split):
    splits = split()
    assert (len(splits.train), splits.held_out) == (8, None)


def test_test_datasets_are_held_out_whole(split, tmp_path, write_jsonl, chat_rows):
    write_jsonl(tmp_path / "test.jsonl", chat_rows(3))
    splits = split(test_datasets=[{"path": str(tmp_path / "test.jsonl"), "type": "chat_template"}])
    assert (len(splits.train), len(splits.held_out), len(splits.parts)) == (8, 3, 2)


def test_the_report_in_words_names_rows_and_reasons(tmp_path):
    bad = [BadRow("a.jsonl", number, "blank") for number in range(1, 9)]
    report = Report("a.jsonl", rows=1200, kept=1191, tokens=2000, trained=500, bad=bad, dropped=bad[:1])
    assert describe([Prepared(tmp_path, [report], cached=True)]) == [
        "a.jsonl: 1,200 rows -> 1,191 samples, 2,000 tokens, 500 of them trained (25%)",
        "  8 rows bad:",
        *[f"    a.jsonl:{number}: blank" for number in range(1, 6)],
        "    and 3 more in a.jsonl; all are in report.json",
        "  1 row left out for their length:",
        "    a.jsonl:1: blank",
        f"prepared data: {tmp_path} (made before)",
    ]


def test_a_run_of_max_steps_takes_so_many_tokens():
    data = DataSection(datasets=[{"path": "x"}], sequence_len=100)
    training = TrainingSection(learning_rate=1, max_steps=5, micro_batch_size=2, gradient_accumulation_steps=3)
    assert tokens_of_run(data, training, world_size=2) == 5 * 2 * 3 * 2 * 100
    assert tokens_of_run(data, training.model_copy(update={"batch_size": 4}), world_size=1) == 5 * 4 * 100
    assert tokens_of_run(data, training.model_copy(update={"max_steps": None}), world_size=1) is None


def test_several_test_datasets_keep_their_names(split, tmp_path, write_jsonl, chat_rows):
    for name, count in (("easy", 3), ("hard", 2)):
        write_jsonl(tmp_path / f"{name}.jsonl", chat_rows(count))
    entries = [{"path": str(tmp_path / f"{name}.jsonl"), "type": "chat_template"} for name in ("easy", "hard")]
    splits = split(test_datasets=entries)
    assert {name: len(part) for name, part in splits.tests.items()} == {"easy": 3, "hard": 2}
    assert (len(splits.held_out), len(splits.parts)) == (5, 3)
    one = split(test_datasets=entries[:1])
    assert (one.tests, len(one.held_out)) == ({}, 3)


def test_names_of_test_datasets_are_different():
    entries = [Dataset(path="a/x.jsonl"), Dataset(path="b/x.jsonl"), Dataset(path="bees/honey", name="dance")]
    assert set_names([*entries, Dataset(path="x-2"), Dataset(path="x")]) == ["x", "x-2", "dance", "x-2-2", "x-3"]
    patterns = [Dataset(path=path) for path in ("data/*.jsonl", ".", "a/**/[xy].*")]
    assert set_names(patterns) == ["data", "rows", "a"]


def test_a_list_of_names_stands_for_an_entry_each():
    data = DataSection(datasets=[{"path": "a/b", "name": ["x", "y"], "split": "test"}, {"path": "c"}])
    assert [(entry.path, entry.name, entry.split) for entry in data.datasets] == [
        ("a/b", "x", "test"),
        ("a/b", "y", "test"),
        ("c", None, None),
    ]


def test_test_rows_have_a_length_of_their_own(split, tmp_path, write_jsonl, chat_rows):
    path = str(write_jsonl(tmp_path / "test.jsonl", chat_rows(3)))
    test = {"test_datasets": [{"path": path, "type": "chat_template"}]}
    shortest = min(map(len, split(**test).held_out["input_ids"]))
    longest = max(map(len, split().train["input_ids"]))
    with pytest.raises(DataError, match=f"`sequence_len` is {shortest - 1}"):
        split(**test, eval_sequence_len=shortest - 1)
    with pytest.raises(DataError, match=r"`sequence_len` is 10"):
        split(**test, sequence_len=10, eval_sequence_len=longest)
    assert len(split(**test, eval_sequence_len=longest).held_out) == 3


def test_the_parts_of_the_prepared_data_make_the_whole(split):
    whole = list(split().train["row"])
    parts = [list(split(dataset_shard_num=3, dataset_shard_idx=index).train["row"]) for index in range(3)]
    assert [row for part in parts for row in part] == whole
    assert [len(part) for part in parts] == [3, 3, 2]
    held_out = split(dataset_shard_num=2, dataset_shard_idx=0, val_set_size=2)
    assert [*held_out.train["row"], *held_out.held_out["row"]] == whole[:4]


def test_an_empty_folder_of_prepared_data_is_the_default():
    for empty in (False, ""):
        data = DataSection(datasets=[{"path": "a"}], dataset_prepared_path=empty)
        assert data.dataset_prepared_path == "last_run_prepared"
