"""A whole learning curve of a tiny model: nested shares, the same held-out rows, and no work done twice."""

import json

import pytest

from tunesmith.cli.learning_curve import main
from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.errors import ConfigError
from tunesmith.evals.learning import make_curve_trials

RULES = "def test_is_a_sum(answer):\n    assert answer.startswith('It is')\n"


@pytest.fixture(scope="module")
def curve_config(tmp_path_factory, tiny_config, write_jsonl, chat_rows):
    """`curve_config(**keys)` writes a config that trains on 20 chats, four more are held out."""

    def write(**keys):
        folder = tmp_path_factory.mktemp("curve")
        rows = write_jsonl(folder / "chats.jsonl", chat_rows(24))
        (folder / "rules.py").write_text(RULES)
        values = {
            "datasets": [{"path": str(rows), "type": "chat_template"}],
            "val_set_size": 4,
            "dataset_prepared_path": str(folder / "prepared"),
            "evaluation": {"assertions": "rules.py", "max_new_tokens": 4},
        }
        return tiny_config(folder, **values | keys)

    return write


def places(dataset):
    return list(zip(dataset["file"], dataset["row"], strict=True))


@pytest.mark.parametrize("keys", [{}, {"curriculum_sampling": True, "shuffle_merged_datasets": False}])
def test_a_smaller_share_lies_in_a_larger_one_and_the_held_out_rows_stay(curve_config, tokenizer, keys):
    file = curve_config(**keys)
    splits = [
        prepare_splits(load(str(file), ["--train-share", share]), tokenizer) for share in ("0.25", "0.5", "1", "0.001")
    ]
    quarter, half, whole, least = (places(item.train) for item in splits)
    assert (len(quarter), len(half), len(whole), len(least)) == (5, 10, 20, 1)
    assert set(least) < set(quarter) < set(half) < set(whole)
    assert [place for place in whole if place in half] == half  # in the same order
    assert len({tuple(places(item.held_out)) for item in splits}) == 1
    assert half != whole[:10]


def test_epochs_are_the_same_for_all_shares(curve_config):
    file = str(curve_config(max_steps=10))
    trials = make_curve_trials(file, load(file), [1.0, 0.25, 0.5], {})
    assert [trial.values for trial in trials] == [
        {"train_share": 0.25, "max_steps": 2},
        {"train_share": 0.5, "max_steps": 5},
        {"train_share": 1.0, "max_steps": 10},
    ]
    file = str(curve_config(num_epochs=2))
    assert [trial.values for trial in make_curve_trials(file, load(file), [0.5], {})] == [{"train_share": 0.5}]


@pytest.mark.slow
def test_a_curve_is_trained_evaluated_and_gone_on_with(curve_config, capsys):
    file = curve_config()
    folder = file.parent / "out/learning-curve"
    assert main([str(file), "--shares", "50,100"]) == 0
    content = json.loads((folder / "curve.json").read_text())
    assert [(point["rows"], point["steps"]) for point in content["points"]] == [(0, 0), (10, 10), (20, 20)]
    assert all(len(point["passes"]) == 4 for point in content["points"])
    assert content["points"][2]["loss"] < content["points"][0]["loss"]
    assert content["advice"] in capsys.readouterr().out

    (folder / "train_share=1.0/evaluation/report.json").unlink()
    earlier = (folder / "train_share=0.5/evaluation/report.json").stat().st_mtime
    assert main([str(file), "--shares", "50,100"]) == 0
    told = capsys.readouterr().err
    assert "trial 2/2: train_share=1.0 (finished)" in told
    assert "evaluating train_share=1.0" in told
    assert "evaluating train_share=0.5" not in told
    assert (folder / "train_share=0.5/evaluation/report.json").stat().st_mtime == earlier
    assert json.loads((folder / "curve.json").read_text()) == content


def test_wrong_ways_to_ask_for_a_curve(curve_config, tmp_path, capsys):
    file = str(curve_config())
    for arguments, message in (
        ([file, "--shares", "50"], "at least two different percentages"),
        ([file, "--shares", "0,50"], "at least two different percentages"),
        ([file, "--shares", "50,200"], "at least two different percentages"),
        ([file, "--shares", "a,b"], "--shares a,b: expected"),
        ([str(tmp_path)], "name the YAML file"),
        ([str(curve_config(val_set_size=0))], "nothing to evaluate on"),
        ([file, "--evaluation.assertions", "none.py"], "none.py: no such file"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_a_share_of_a_stream_is_refused(curve_config):
    with pytest.raises(ConfigError, match=r"`streaming: true` and `train_share: 0\.5`"):
        load(str(curve_config(streaming=True, train_share=0.5, max_steps=2, val_set_size=0)))
