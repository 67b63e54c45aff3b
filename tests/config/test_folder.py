"""A folder of weights as a config."""

import json

import pytest
import yaml

from tunesmith.config.folder import load_folder
from tunesmith.config.load import load
from tunesmith.errors import ConfigError


@pytest.fixture
def run_folder(tmp_path, write_config):
    """The folder of a finished LoRA run, as far as the config goes."""
    source = write_config(tmp_path)
    folder = tmp_path / "out"
    (folder / "run").mkdir(parents=True)
    (folder / "run/config.yml").write_text(yaml.safe_dump(load(str(source)).values))
    (folder / "run/run.json").write_text(json.dumps({"source": str(source)}))
    (folder / "adapter_config.json").write_text("{}")
    return folder


def test_the_folder_of_a_run_is_its_config_with_the_adapter(run_folder, tmp_path):
    config = load_folder(str(run_folder))
    assert config.adapter.lora_model_dir == str(run_folder)
    assert config.adapter.lora_r == 8
    assert config.source == str(tmp_path / "config.yml")


def test_a_checkpoint_uses_the_record_of_its_run(run_folder):
    checkpoint = run_folder / "checkpoint-5"
    checkpoint.mkdir()
    (checkpoint / "adapter_config.json").write_text("{}")
    assert load_folder(str(checkpoint)).adapter.lora_model_dir == str(checkpoint)


def test_a_merged_model_has_no_adapter(run_folder):
    (run_folder / "adapter_config.json").rename(run_folder / "config.json")
    config = load_folder(str(run_folder))
    assert config.adapter.adapter is None
    assert config.training.output_dir == config.model.tokenizer_config == str(run_folder)


def test_arguments_change_the_config_of_a_folder(run_folder):
    assert load_folder(str(run_folder), ["--seed", "9"]).training.seed == 9


def test_a_folder_without_weights_or_record_is_refused(run_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"it is neither an adapter nor a model"):
        load_folder(str(run_folder / "run"))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no run/config\.yml; name the YAML file"):
        load_folder(str(bare))
