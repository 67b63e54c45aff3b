"""A new objective is one record and one line of `OBJECTIVES`: config, data, trainer and notes follow."""

import json
from pathlib import Path

import pytest

from tunesmith.config.idle import idle_keys
from tunesmith.config.load import load
from tunesmith.config.schema import schema
from tunesmith.errors import ConfigError
from tunesmith.objectives import OBJECTIVES
from tunesmith.objectives.objective import Objective
from tunesmith.training.run import train

PAIRS = [{"prompt": f"Say {word}.", "chosen": f" {word}", "rejected": f" not {word}"} for word in ("one", "two", "six")]


def compute_margin_loss(chosen, rejected, section, kl):
    return (section.simpo_gamma - chosen.mean_logp + rejected.mean_logp).mean()


TOY = Objective("toy", rows="dpo", loss=compute_margin_loss, keys=frozenset({"simpo_gamma"}))


@pytest.fixture
def toy_config(monkeypatch, tmp_path, tiny_config, write_jsonl):
    """`toy_config(**keys)` loads a config with `rl: toy`."""
    monkeypatch.setitem(OBJECTIVES, "toy", TOY)
    rows = write_jsonl(tmp_path / "pairs.jsonl", PAIRS)

    def make(**keys):
        values = {"rl": "toy", "datasets": [{"path": str(rows)}], "max_steps": 2, "micro_batch_size": 3}
        prepared = str(tmp_path / "prepared")
        return load(str(tiny_config(tmp_path, **(values | {"dataset_prepared_path": prepared} | keys))))

    return make


def test_it_trains_and_logs_its_metrics(toy_config, metrics):
    config = toy_config()
    assert train(config).finished
    steps = [entry for entry in metrics(Path(config.training.output_dir)) if "loss" in entry]
    assert len(steps) == 2
    assert steps[0]["loss"] == pytest.approx(0.5 - steps[0]["reward_margin"] / 0.1, abs=1e-3)
    assert "reward_margin" in steps[0]


def test_its_keys_are_read_and_those_of_others_are_noted(toy_config):
    notes = idle_keys(toy_config(simpo_gamma=1.0, cpo_alpha=0.5))
    assert not any("simpo_gamma" in note for note in notes)
    assert any(note.startswith("`cpo_alpha`: ignored: only `rl: simpo` reads it") for note in notes)
    with pytest.raises(ConfigError, match="`dpo_loss_type` needs `rl: dpo`, found `rl: toy`"):
        toy_config(dpo_loss_type=["hinge"])


def test_an_unknown_objective_is_told_the_known_ones(toy_config):
    with pytest.raises(ConfigError, match=r"`rl: toyy` is none of .*toy; did you mean `toy`"):
        toy_config(rl="toyy")


def test_the_schema_lists_the_objectives():
    assert {"enum": list(OBJECTIVES)} in schema()["properties"]["rl"]["anyOf"]
    assert json.dumps(schema())
