"""The files of a folder by split, by README.md, and by patterns, as the `datasets` library finds them."""

import datasets
import pytest

from tunesmith.data.source import locate, read_rows
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


def names(path, source="config.yml", **keys):
    return [row.values["a"] for row in read_rows(Dataset(path=str(path), type="completion", **keys), source)]


def fault(path, **keys) -> str:
    with pytest.raises(DataError) as caught:
        names(path, **keys)
    return str(caught.value).replace(f"{path}/", "")


@pytest.fixture
def folder(tmp_path):
    """`folder(names)` writes JSONL files, each with one row that holds its name, and returns their folder."""

    def write(*files):
        for name in files:
            path = tmp_path / "repo" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{{"a": "{name}"}}\n')
        return tmp_path / "repo"

    return write


@pytest.mark.parametrize(
    "files",
    [
        ["train.jsonl", "test.jsonl", "contest.jsonl"],
        ["my_train_file.jsonl", "dev.jsonl", "eval-0.jsonl"],
        ["training-1.jsonl", "training-2.jsonl", "evaluation.jsonl", "val.jsonl"],
        ["train/x.jsonl", "test/train.jsonl", "top.jsonl"],
        ["en-train/deep/x.jsonl", "valid/y.jsonl"],
        ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/test-00000-of-00001.jsonl"],
        ["data/train_sft-00000-of-00001-abc.jsonl", "data/train-00000-of-00001.jsonl", "extra.jsonl"],
        ["b.jsonl", "a.jsonl", "sub/c.jsonl", ".hidden/train.jsonl", "__cache__/d.jsonl"],
        ["latest.jsonl", "attest/x.jsonl", "a__b.jsonl"],
    ],
)
def test_each_split_has_the_files_that_datasets_finds(folder, tmp_path, files):
    path = folder(*files)
    reference = datasets.load_dataset(str(path), cache_dir=str(tmp_path / "cache"))
    assert {split: names(path, split=split) for split in reference} == {
        split: list(rows["a"]) for split, rows in reference.items()
    }
    assert names(path) == list(reference["train"]["a"])


def test_the_files_of_other_splits_are_not_trained_and_a_note_names_them(folder, capsys):
    path = folder("rows.jsonl", "test.jsonl", "Validation.jsonl")
    assert names(path) == names(path, split="train[:100%]") == ["rows.jsonl"]
    assert names(path, split="test") == ["test.jsonl"]
    assert names(path, split="val") == ["Validation.jsonl"]
    assert capsys.readouterr().err == f"{path}: not read: Validation.jsonl (validation), test.jsonl (test)\n"
    (path / "rows.jsonl").unlink()
    assert fault(path).endswith(
        "has no file of `split: train`; it has Validation.jsonl (validation), test.jsonl (test). "
        "Set `split` or `data_files`"
    )


def test_a_split_may_be_a_word_of_ones_own(folder):
    path = folder("sft.jsonl", "rl-1.jsonl")
    assert names(path, split="rl") == ["rl-1.jsonl"]
    assert "has no file of `split: dpo`; it has rl-1.jsonl (train), sft.jsonl (train)" in fault(path, split="dpo")


def test_kinds_may_be_mixed_and_what_describes_the_data_is_no_data(folder):
    path = folder("b.json", "a.jsonl", "README.md", "notes.txt", "dataset_info.json")
    assert names(path) == ["a.jsonl", "b.json"]


def test_prepared_data_models_and_runs_beside_the_data_are_no_data(folder):
    path = folder(
        "rows.jsonl",
        "config.json",
        "prep/key/state.json",
        "prep/key/report.json",
        "out/run/run.json",
        "out/run/metrics.jsonl",
        "out/adapter_config.json",
        "out/tokenizer.json",
        "out/checkpoint-3/trainer_state.json",
    )
    assert names(path) == ["rows.jsonl"]


def test_an_empty_folder_names_the_kinds_it_looked_for(tmp_path):
    assert fault(tmp_path).endswith("` holds no .jsonl/.ndjson/.json/.csv/.parquet/.arrow/.txt file")


CARD = """---
configs:
- config_name: english
  default: true
  data_files:
  - split: train
    path: [en/*.jsonl]
  - split: test
    path: held/en.jsonl
- config_name: french
  data_files: "fr/*.jsonl"
- config_name: german
  data_dir: de
---
# Rows
"""


def test_the_card_of_a_cloned_dataset_names_its_files(folder, tmp_path):
    path = folder("en/a.jsonl", "en/test.jsonl", "held/en.jsonl", "fr/a.jsonl", "de/train.jsonl", "de/test.jsonl")
    (path / "README.md").write_text(CARD)
    cases = [(None, "train"), (None, "test"), ("english", "test"), ("french", "train"), ("german", "test")]
    for name, split in cases:
        reference = datasets.load_dataset(str(path), name, split=split, cache_dir=str(tmp_path / "cache"))
        assert names(path, name=name, split=split) == list(reference["a"])
    assert fault(path, name="dutch") == "README.md has no config dutch; set `name` to one of english, french, german"
    (path / "README.md").write_text(CARD.replace("  default: true\n", ""))
    assert "has no config by default; set `name` to one of english" in fault(path)
    (path / "README.md").write_text(CARD.replace("[en/*.jsonl]", "3"))
    assert fault(path).startswith("README.md: its `configs` cannot be read: Expected data_files in YAML")
    (path / "README.md").write_text("# No metadata\n")
    assert names(path, split="test") == ["de/test.jsonl", "en/test.jsonl"]


def test_data_files_are_names_patterns_lists_of_them_or_a_mapping_of_splits(folder):
    path = folder("a.jsonl", "b.jsonl", "c.jsonl", "deep/d.jsonl")
    assert names(path, data_files="[ab]*") == ["a.jsonl", "b.jsonl"]
    assert names(path, data_files=["c.jsonl", "a.jsonl", "*.jsonl"]) == ["c.jsonl", "a.jsonl", "b.jsonl"]
    assert names(path, data_files="**/d*.jsonl") == ["deep/d.jsonl"]
    assert names(path, data_files=str(path / "b.jsonl")) == ["b.jsonl"]
    mapping = {"train": ["a.jsonl", "deep/*"], "test": "b.jsonl"}
    assert names(path, data_files=mapping) == ["a.jsonl", "deep/d.jsonl"]
    assert names(path, data_files=mapping, split="test") == ["b.jsonl"]
    assert "has no file of `split: dev`; it has a.jsonl (train), b.jsonl (test)" in fault(
        path, data_files=mapping, split="dev"
    )
    assert fault(path, data_files="*.csv").endswith("holds no *.csv file")


def test_the_path_may_be_a_pattern_from_here_or_from_beside_the_config(folder, tmp_path, monkeypatch):
    path = folder("x.jsonl", "y.jsonl", "deep/test.jsonl")
    assert names(path / "*.jsonl") == ["x.jsonl", "y.jsonl"]
    assert names("repo/**/*.jsonl", source=str(tmp_path / "config.yml")) == ["deep/test.jsonl", "x.jsonl", "y.jsonl"]
    monkeypatch.chdir(path)
    assert names("[x]*") == ["x.jsonl"]
    assert fault("*.csv") == "`datasets.path: *.csv`: no file matches (looked here and beside config.yml)"


def test_a_kind_of_file_may_stand_in_place_of_a_path(tmp_path, monkeypatch):
    (tmp_path / "a.rows").write_text('{"a": 1}\n')
    monkeypatch.chdir(tmp_path)
    assert names("json", data_files="*.rows") == names("json", data_files=[str(tmp_path / "a.rows")]) == [1]
    assert names("json", data_files={"test": "*.rows"}, split="test") == [1]
    monkeypatch.chdir("/")
    assert names("json", source=str(tmp_path / "config.yml"), data_files="a.rows") == [1]
    assert len(locate(Dataset(path="json", data_files={"train": "a.rows"}), str(tmp_path / "config.yml"))) == 1
