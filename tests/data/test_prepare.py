"""The prepared dataset: what is kept, what is left out and why, and what the cache goes by."""

import json
import os
import signal
import subprocess
import sys

import datasets
import pytest

from tunesmith.config.load import load
from tunesmith.data.prepare import format_specs, prepare
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import DataSection, Dataset, ModelSection

GOOD = {"instruction": "Say a.", "output": "a"}


@pytest.fixture
def build(tmp_path, tokenizer, write_config):
    """`build(**keys of the config)` prepares the datasets of a small config; `rebuild` and `seed` go to prepare."""

    def call(rebuild=False, seed=1, tokenizer=tokenizer, **keys):
        config = load(str(write_config(tmp_path, **keys)))
        return prepare(
            config.data.datasets,
            config.data,
            config.model,
            tokenizer=tokenizer,
            seed=seed,
            source=config.source,
            rebuild=rebuild,
        )

    return call


@pytest.fixture
def alpaca(tmp_path, write_jsonl):
    """`alpaca(rows)` writes rows and returns the value of `datasets` for them."""

    def call(rows, **keys):
        write_jsonl(tmp_path / "a.jsonl", rows)
        return [{"path": str(tmp_path / "a.jsonl"), "type": "alpaca", **keys}]

    return call


def test_load_from_disk_gives_tokens_labels_and_the_place_of_each_row(build, tmp_path, tokenizer):
    prepared = build(shuffle_merged_datasets=False)
    loaded = datasets.load_from_disk(str(prepared.folder))
    assert loaded.column_names == ["input_ids", "labels", "file", "row"]
    assert list(loaded["row"]) == list(range(1, 9))
    assert set(loaded["file"]) == {str(tmp_path / "rows.jsonl")}
    assert "It is 0.<|im_end|>" in tokenizer.decode(loaded[0]["input_ids"])
    trained = [label for label in loaded[0]["labels"] if label != -100]
    assert tokenizer.decode(trained) == "It is 0.<|im_end|>"
    assert prepared.load()[0] == loaded[0]


def test_the_report_counts_rows_samples_and_tokens(build):
    prepared = build()
    (report,) = prepared.reports
    loaded = prepared.load()
    assert (report.rows, report.kept, report.bad, report.dropped) == (8, 8, [], [])
    assert report.tokens == sum(map(len, loaded["input_ids"]))
    assert report.trained == sum(label != -100 for labels in loaded["labels"] for label in labels)
    assert json.loads((prepared.folder / "report.json").read_text())[0]["tokens"] == report.tokens


def test_the_same_content_is_made_once_and_reported_alike(build):
    first, again = build(), build()
    assert (first.cached, again.cached) == (False, True)
    assert (first.folder, first.reports) == (again.folder, again.reports)


def test_rebuild_makes_it_anew_in_the_same_place(build):
    first, again = build(), build(rebuild=True)
    assert not again.cached
    assert again.folder == first.folder
    assert len(again.load()) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence_len": 128},
        {"train_on_inputs": True},
        {"excess_length_strategy": "truncate"},
        {"min_sample_len": 3},
        {"bad_rows": "error"},
        {"shuffle_merged_datasets": False},
        {"chat_template": "chatml"},
        {"seed": 2},
    ],
)
def test_a_setting_that_decides_the_tokens_makes_another_dataset(build, changes):
    assert build(**changes).folder != build().folder
    assert not build(rebuild=True, **changes).cached


@pytest.mark.parametrize("changes", [{"learning_rate": 1.0}, {"output_dir": "b"}, {"sample_packing": True}])
def test_a_setting_that_does_not_decide_the_tokens_finds_the_same_dataset(build, changes):
    first = build()
    assert build(**changes).folder == first.folder


def test_changed_bytes_of_the_data_make_another_dataset(build, tmp_path):
    first = build()
    keys = {"datasets": [{"path": str(tmp_path / "rows.jsonl"), "type": "chat_template"}]}
    assert build(**keys).folder == first.folder
    text = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(text.replace("It is 0.", "It is O."))
    assert build(**keys).folder != first.folder


def test_a_changed_template_file_makes_another_dataset(build, tmp_path, tokenizer):
    file = tmp_path / "a.jinja"
    file.write_text(tokenizer.chat_template)
    keys = {"chat_template": "jinja", "chat_template_jinja": str(file)}
    first = build(**keys)
    file.write_text("{# a note #}" + tokenizer.chat_template)
    assert build(**keys).folder != first.folder


def test_a_changed_format_of_the_users_own_makes_another_dataset(build, alpaca, tmp_path):
    rows = alpaca([GOOD], type="mine.py:short")
    body = "def short(row, spec):\n    return [({}, False), (row['output'], True)]\n"
    (tmp_path / "mine.py").write_text(body.format("row['instruction']"))
    first = build(datasets=rows)
    (tmp_path / "mine.py").write_text(body.format("'Q: ' + row['instruction']"))
    second = build(datasets=rows)
    assert second.folder != first.folder
    assert len(second.load()[0]["input_ids"]) > len(first.load()[0]["input_ids"])


def test_a_changed_module_that_a_format_or_filter_imports_makes_another_dataset(build, alpaca, tmp_path):
    (tmp_path / "mine.py").write_text("import mine_words\n\ndef short(row, spec):\n    return mine_words.parts(row)\n")
    (tmp_path / "keep.py").write_text("import mine_limit\n\ndef short(answer):\n    assert answer\n")
    (tmp_path / "mine_words.py").write_text("def parts(row):\n    return [('Q', False), (row['output'], True)]\n")
    (tmp_path / "mine_limit.py").write_text("")
    folders = []
    for name in ("mine_words.py", "mine_limit.py", ""):
        folders.append(build(datasets=alpaca([GOOD], type="mine.py:short", filters="keep.py:short")).folder)
        if name:
            (tmp_path / name).write_text(f"{(tmp_path / name).read_text()}# a note\n")
    assert len(set(folders)) == 3


@pytest.mark.parametrize("restore", ["", "file.write_text(old)"])
def test_data_that_changes_while_it_is_prepared_leaves_nothing_behind(build, alpaca, tmp_path, restore):
    body = f"""
from pathlib import Path

def change(row, spec):
    file = Path({str(tmp_path / "a.jsonl")!r})
    old = file.read_text()
    file.write_text(old * 2)
    {restore}
    return [("Q", False), (row["output"], True)]
"""
    (tmp_path / "mine.py").write_text(body)
    with pytest.raises(DataError, match="changed while it was read; run the command again when nothing writes to it"):
        build(datasets=alpaca([GOOD], type="mine.py:change"))
    assert not list(tmp_path.glob("**/report.json"))


def test_another_tokenizer_makes_another_dataset(build, model_folder):
    from tunesmith.data.tokenizer import load_tokenizer
    from tunesmith.sections import SpecialTokens

    other = load_tokenizer(model_folder, special_tokens=SpecialTokens(eos_token="<|endoftext|>"))
    assert build(tokenizer=other).folder != build().folder


def test_bad_rows_are_counted_and_named_by_file_and_line(build, alpaca, tmp_path):
    rows = [GOOD] * 30
    rows[4] = {"instruction": "no answer", "output": " "}
    rows[16] = {"instruction": "other column", "response": "a"}
    (report,) = build(datasets=alpaca(rows)).reports
    file = str(tmp_path / "a.jsonl")
    assert (report.rows, report.kept) == (30, 28)
    assert [tuple(bad) for bad in report.bad] == [
        (file, 5, "column output is blank: there is nothing to train"),
        (file, 17, "type alpaca needs column output; found instruction, response. Set field_output: response"),
    ]


def test_over_a_tenth_of_bad_rows_ends_with_examples(build, alpaca, tmp_path):
    rows = alpaca([GOOD] * 8 + [{"a": 1}])
    with pytest.raises(DataError) as caught:
        build(datasets=rows)
    first, second = str(caught.value).splitlines()
    assert first == f"1 of 9 rows of {tmp_path}/a.jsonl are bad, over a tenth:"
    assert second.startswith(f"  {tmp_path}/a.jsonl:9: type alpaca needs column instruction; found a")
    assert [item.suffix for item in (tmp_path / "prepared").iterdir()] == [".lock"]


def test_bad_rows_error_ends_at_the_first(build, alpaca):
    with pytest.raises(DataError, match=r"a\.jsonl:3: type alpaca needs column instruction"):
        build(datasets=alpaca([GOOD] * 2 + [{"a": 1}] + [GOOD] * 20), bad_rows="error")


def test_a_row_without_a_trained_token_is_bad(build, write_jsonl, tmp_path):
    # SmolLM2's vocabulary has no token for this control character
    rows = [{"segments": [{"label": False, "text": "a"}, {"label": True, "text": text}]} for text in "b" * 20 + "\x16"]
    write_jsonl(tmp_path / "a.jsonl", rows)
    kind = {"path": str(tmp_path / "a.jsonl"), "type": "input_output"}
    (report,) = build(datasets=[kind], min_sample_len=1).reports
    assert [(bad.number, bad.reason) for bad in report.bad] == [(21, "none of its tokens is trained")]


LONG = {"instruction": "Say a.", "output": "word " * 200}
LONG_PROMPT = {"instruction": "word " * 200, "output": "a"}


def test_long_rows_are_dropped_and_named(build, alpaca):
    (report,) = build(datasets=alpaca([GOOD, LONG]), sequence_len=64).reports
    assert (report.kept, report.bad) == (1, [])
    assert report.dropped[0].number == 2
    assert report.dropped[0].reason == "235 tokens, over sequence_len 64"


def test_long_rows_are_truncated_as_long_as_something_trained_is_left(build, alpaca):
    keys = {"excess_length_strategy": "truncate", "sequence_len": 64, "shuffle_merged_datasets": False}
    prepared = build(datasets=alpaca([LONG, LONG_PROMPT]), **keys)
    (report,) = prepared.reports
    assert [len(ids) for ids in prepared.load()["input_ids"]] == [64]
    assert report.dropped[0].reason.endswith("nothing trained is left after truncation")


def test_a_long_row_can_end_the_run(build, alpaca):
    with pytest.raises(DataError, match=r"a\.jsonl:2: 235 tokens, over sequence_len 64; raise sequence_len"):
        build(datasets=alpaca([GOOD, LONG]), sequence_len=64, excess_length_strategy="raise")


def test_a_completion_is_cut_into_pieces_without_loss(build, write_jsonl, tmp_path, tokenizer):
    text = " ".join(str(number) for number in range(200))
    write_jsonl(tmp_path / "a.jsonl", [{"text": text}])
    kind = {"path": str(tmp_path / "a.jsonl"), "type": "completion"}
    prepared = build(datasets=[kind], sequence_len=50, shuffle_merged_datasets=False, min_sample_len=1)
    pieces = list(prepared.load()["input_ids"])
    assert all(len(piece) == 50 for piece in pieces[:-1])
    assert [token for piece in pieces for token in piece] == [*tokenizer(text).input_ids, tokenizer.eos_token_id]
    assert prepared.reports[0].kept == len(pieces)


def test_short_rows_are_left_out(build, alpaca):
    kind = alpaca([{"instruction": "a", "output": "a"}, LONG])
    (report,) = build(datasets=kind, min_sample_len=100).reports
    assert [row.number for row in report.dropped] == [1]
    assert report.dropped[0].reason.endswith("tokens, under min_sample_len 100")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([], "a.jsonl` holds no rows"), ([LONG], "is left; `sequence_len` is 64:\n  ")],
)
def test_nothing_to_train_on_is_refused(build, alpaca, rows, expected):
    with pytest.raises(DataError) as caught:
        build(datasets=alpaca(rows), sequence_len=64)
    assert expected in str(caught.value)


def test_an_unknown_type_leaves_nothing_behind(build, alpaca, tmp_path):
    from tunesmith.errors import ConfigError

    with pytest.raises(ConfigError, match=r"`datasets\.type: alpca` is none of"):
        build(datasets=alpaca([GOOD], type="alpca"))
    assert not (tmp_path / "prepared").exists()


def test_datasets_are_mixed_by_the_seed_and_lose_nothing(build, alpaca, write_jsonl, tmp_path):
    write_jsonl(tmp_path / "b.jsonl", [{"instruction": "Say b.", "output": "b"}] * 5)
    kinds = [*alpaca([GOOD] * 7), {"path": str(tmp_path / "b.jsonl"), "type": "alpaca"}]
    plain, mixed, other = (
        build(datasets=kinds, shuffle_merged_datasets=shuffled, seed=seed)
        for shuffled, seed in ((False, 1), (True, 1), (True, 2))
    )
    order = [list(zip(item.load()["file"], item.load()["row"], strict=True)) for item in (plain, mixed, other)]
    assert order[0] == [(str(tmp_path / "a.jsonl"), n + 1) for n in range(7)] + [
        (str(tmp_path / "b.jsonl"), n + 1) for n in range(5)
    ]
    assert sorted(order[1]) == sorted(order[2]) == order[0]
    assert order[1] != order[0] != order[2] != order[1]


PROCESS = """
import sys, time
from tunesmith.config.load import load
from tunesmith.data import prepare, samples
from tunesmith.data.tokenizer import load_tokenizer

config = load(sys.argv[1])
tokenizer = load_tokenizer(sys.argv[2])
read = samples.filtered_rows

def slowly(*arguments):
    print("building", flush=True)
    time.sleep(float(sys.argv[3]))
    return read(*arguments)

samples.filtered_rows = slowly
result = prepare.prepare(
    config.data.datasets, config.data, config.model, tokenizer=tokenizer, seed=1, source=config.source
)
print("cached" if result.cached else "built", len(result.load()), flush=True)
"""


def start(config, model_folder, pause):
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(config), model_folder, str(pause)], stdout=subprocess.PIPE, text=True
    )


def test_of_two_processes_one_builds_and_the_other_waits(tmp_path, write_config, model_folder):
    config = write_config(tmp_path)
    processes = [start(config, model_folder, 1.0) for _ in range(2)]
    output = sorted(process.communicate(timeout=60)[0].split("\n")[-2] for process in processes)
    assert output == ["built 8", "cached 8"]


def test_a_killed_process_leaves_nothing_that_is_taken_for_a_dataset(tmp_path, write_config, model_folder, build):
    killed = start(write_config(tmp_path), model_folder, 60)
    assert killed.stdout.readline() == "building\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    again = build()
    assert not again.cached
    assert len(again.load()) == 8
    assert sorted(item.suffix for item in (tmp_path / "prepared").iterdir()) == ["", ".lock"]


def test_prepared_data_lie_where_the_config_says(tmp_path, build):
    prepared = build(dataset_prepared_path=str(tmp_path / "elsewhere"))
    assert prepared.folder.parent == tmp_path / "elsewhere"
    assert build(dataset_prepared_path=str(tmp_path / "elsewhere")).cached
    assert not build().cached


def test_a_template_without_an_end_for_answers_is_refused(tokenizer):
    def specs(**keys):
        dataset = Dataset(path="x", type="chat_template", **keys)
        model = ModelSection(base_model="builtin/smollm2-135m-instruct")
        return format_specs([dataset], DataSection(datasets=[dataset]), model, tokenizer, "config.yml")

    with pytest.raises(ConfigError, match="`chat_template: gemma`: no token of the vocabulary ends an answer"):
        specs(chat_template="gemma")
    assert specs(chat_template="gemma", train_on_eos="none")
    assert specs(chat_template="chatml")


def test_a_stream_is_read_until_it_has_given_the_tokens_of_the_run(tokenizer, tmp_path, write_jsonl):
    rows = [{"text": f"line {n} of the stream"} for n in range(5000)]
    dataset = Dataset(path=str(write_jsonl(tmp_path / "rows.jsonl", rows)), type="pretrain", skip=10)
    data = DataSection(datasets=[dataset], dataset_prepared_path=str(tmp_path / "prepared"), sequence_len=32)
    model = ModelSection(base_model="builtin/smollm2-135m-instruct")
    options = {"tokenizer": tokenizer, "seed": 1, "source": "config.yml"}
    part = prepare([dataset], data, model, stream_tokens=500, **options)
    assert part.reports[0].rows == 1000  # one batch
    assert min(part.load()["row"]) == 11
    whole = prepare([dataset], data, model, **options)
    assert whole.reports[0].rows == 4990
    assert whole.folder != part.folder


def places(prepared):
    """The first letter of the file, and the row, of each sample in order."""
    loaded = prepared.load()
    return [(file.rpartition("/")[2][0], row) for file, row in zip(loaded["file"], loaded["row"], strict=True)]


@pytest.fixture
def two_files(tmp_path, write_jsonl):
    rows = [{"instruction": f"Say {n}.", "output": "x"} for n in range(9)]
    files = [write_jsonl(tmp_path / f"{name}.jsonl", rows) for name in "ab"]
    return [{"path": str(file), "type": "alpaca"} for file in files]


def test_each_dataset_may_be_shuffled_by_itself(build, two_files):
    order = {"shuffle_merged_datasets": False, "shuffle_before_merging_datasets": True}
    plain = places(build(datasets=two_files, shuffle_merged_datasets=False))
    one, again, other = (places(build(datasets=two_files, seed=seed, **order)) for seed in (1, 1, 2))
    assert [name for name, _ in one] == [name for name, _ in plain] == ["a"] * 9 + ["b"] * 9
    assert sorted(one) == plain
    assert one == again != other != plain != one
    assert [row for _, row in one[:9]] != [row for _, row in one[9:]]


def test_samples_that_are_the_same_are_kept_once(build, two_files):
    plain = build(datasets=two_files)
    once = build(datasets=two_files, dataset_exact_deduplication=True, shuffle_merged_datasets=False)
    assert (len(plain.load()), len(once.load())) == (18, 9)
    assert places(once) == [("a", n + 1) for n in range(9)]
    first, second = once.reports
    assert (first.kept, first.twins, second.kept, second.twins, second.tokens) == (9, 0, 0, 9, 0)
    assert first.tokens == sum(map(len, once.load()["input_ids"]))


def test_the_same_tokens_with_other_labels_are_no_double(build, write_jsonl, tmp_path):
    text = {"prompt": "a b", "completion": " c"}
    rows = [text, text, {"prompt": "a", "completion": " b c"}]
    path = str(write_jsonl(tmp_path / "a.jsonl", rows))
    prepared = build(datasets=[{"path": path, "type": "prompt_completion"}], dataset_exact_deduplication=True)
    assert sorted(prepared.load()["row"]) == [1, 3]


def test_a_file_may_be_read_as_far_as_the_run_needs_it(tokenizer, tmp_path, write_jsonl):
    rows = [{"text": f"line {n} of the stream"} for n in range(3000)]
    path = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    given = {"datasets": [{"path": path, "type": "completion"}], "dataset_prepared_path": str(tmp_path / "prepared")}
    model = ModelSection(base_model="builtin/smollm2-135m-instruct")
    options = {"tokenizer": tokenizer, "seed": 1, "source": "config.yml", "stream_tokens": 500}
    for streaming, read in ((True, 1000), (False, 3000)):
        data = DataSection(**given, streaming=streaming)
        assert prepare(data.datasets, data, model, **options).reports[0].rows == read


def test_a_token_that_is_missing_ends_the_run_before_any_reading(build, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(DataError, match=r"`hf_use_auth_token: true`, but there is no token"):
        build(datasets=[{"path": "a/b", "type": "alpaca"}], hf_use_auth_token=True)
    assert build(hf_use_auth_token=True)
