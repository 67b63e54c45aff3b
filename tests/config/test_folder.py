"""A folder of weights as a config."""

import json
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from tunesmith.config.folder import load_folder
from tunesmith.config.load import load
from tunesmith.errors import ConfigError, ModelError
from tunesmith.modeling.tokenizer import model_tokenizer


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
    assert config.adapter.lora_r is None, "the adapter has its own"
    assert config.training.output_dir == str(run_folder)
    assert config.source == str(tmp_path / "config.yml")


def test_a_checkpoint_uses_the_record_of_its_run(run_folder):
    checkpoint = run_folder / "checkpoint-5"
    checkpoint.mkdir()
    (checkpoint / "adapter_config.json").write_text("{}")
    assert load_folder(str(checkpoint)).adapter.lora_model_dir == str(checkpoint)


def test_a_copy_of_a_run_writes_into_the_copy(run_folder, tmp_path):
    copy = copytree(run_folder, tmp_path / "elsewhere/copy")
    (copy / "checkpoint-5").mkdir()
    (copy / "checkpoint-5/adapter_config.json").write_text("{}")
    assert load_folder(str(copy)).training.output_dir == str(copy)
    assert load_folder(str(copy / "checkpoint-5")).training.output_dir == str(copy)


@pytest.mark.parametrize("model", ["models/base", "../base", "elsewhere/models/base"])
def test_the_base_model_of_a_moved_run_is_found_around_it(run_folder, tmp_path, monkeypatch, model):
    record = run_folder / "run/config.yml"
    record.write_text(yaml.safe_dump(yaml.safe_load(record.read_text()) | {"base_model": model}))
    run = copytree(run_folder, tmp_path / "elsewhere/outputs/run")
    base = (
        run / model if model.startswith("..") else tmp_path / "elsewhere" / model.removeprefix("elsewhere/")
    ).resolve()
    base.mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert Path(load_folder(str(run)).model.base_model).resolve() == base


def test_a_base_model_that_is_nowhere_keeps_its_name(run_folder):
    record = run_folder / "run/config.yml"
    record.write_text(yaml.safe_dump(yaml.safe_load(record.read_text()) | {"base_model": "./gone"}))
    config = load_folder(str(run_folder))
    with pytest.raises(ModelError, match=r"\./gone: no such folder; if it was moved, set --base-model FOLDER"):
        model_tokenizer(config.model)


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
