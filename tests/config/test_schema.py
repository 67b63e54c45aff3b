"""The JSON schema takes what the loader takes, and marks what it refuses."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tunesmith.cli.config_schema import main
from tunesmith.config.key_status import reasons
from tunesmith.config.keys import RENAMED
from tunesmith.config.load import load
from tunesmith.config.reference import supported
from tunesmith.config.schema import schema
from tunesmith.config.yaml_source import Loader
from tunesmith.errors import ConfigError

EXAMPLES = sorted(Path(__file__).parents[2].glob("examples/**/*.y*ml"))
BASE = "base_model: a/b\ndatasets: [{path: a/b, type: alpaca}]\nlearning_rate: 1e-4\n"


def faults(text: str) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema()).iter_errors(yaml.load(text, Loader))]


def test_it_is_a_schema():
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_example_is_valid(file):
    assert faults(file.read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wandb_project:\nlora_model_dir: ~\nfsdp:\nfsdp_config:\n",
        "save_strategy: no\neval_strategy: off\ndata_checks: off\nwandb_watch: false\n",
        "flash_attention: true\nwandb_run_name: x\nevaluation_strategy: steps\nval_set_size: 0.1\n",
        "pad_to_sequence_len: true\nlocal_rank: 3\n",
        "relora: true\nadapter: lora\nlora_r: 8\nlora_target_linear: true\njagged_restart_steps: 50\n"
        "jagged_restart_anneal_steps: false\nrl: false\n",
        "accelerator_config: {even_batches: true}\ndeepspeed: {zero_optimization: {stage: 2}}\n",
        "use_pose: false\ntokens: {pad_token: x}\ncontext_parallel_size: 1\nkd_beta: 0.0\nsequence_parallel_degree:\n",
        "bf16: auto\nlora_target_modules: [a, b]\nadapter: lora\nlora_r: 8\nlora_alpha: 16\n",
        "fsdp: [full_shard, auto_wrap]\nfsdp_config: {fsdp_offload_params: true, fsdp_sharding_strategy: FULL_SHARD}\n",
        "fsdp: full_shard\nfsdp_config: {version: 2, fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer}\n",
        "special_tokens: {pad_token: x}\nadam_epsilon: 1e-8\nwarmup_steps: 10\n",
        "test_datasets: [{path: a/b, split: test, preprocess_shards: 2, roles: {assistant: [gpt]}}]\n",
    ],
)
def test_what_the_loader_takes_is_valid(tmp_path, text):
    (tmp_path / "a.yml").write_text(BASE + text)
    load(str(tmp_path / "a.yml"))
    assert faults(BASE + text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (BASE + "lora_rr: 8\n", "$"),
        (BASE + "lora_r: eight\n", "$.lora_r"),
        (BASE + "lora_r: 0\n", "$.lora_r"),
        (BASE + "adapter: loha\n", "$.adapter"),
        (BASE + "save_strategy: never\n", "$.save_strategy"),
        (BASE + "use_pose: true\n", "$.use_pose"),
        (BASE + "special_tokens: {pad: x}\n", "$.special_tokens"),
        (BASE.replace("type:", "typ:"), "$.datasets"),
        (BASE.replace("type: alpaca", "length: 5"), "$.datasets"),
        (BASE.replace("path: a/b, ", ""), "$.datasets"),
        (BASE.replace("base_model: a/b\n", ""), "$"),
        (BASE.replace("datasets:", "test_datasets:"), "$"),
    ],
)
def test_what_the_loader_refuses_is_invalid(tmp_path, text, path):
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(ConfigError):
        load(str(tmp_path / "a.yml"))
    assert faults(text) == [path]


def test_pretraining_data_takes_the_place_of_datasets():
    assert faults(BASE.replace("datasets: [{path: a/b, type: alpaca}]", "pretraining_dataset: a/b")) == []


def test_every_key_is_in_it_with_its_text():
    properties = schema()["properties"]
    for name, key in supported().items():
        if "." not in name:
            assert properties[name]["description"].startswith(key.field.description)
    for name in [*RENAMED, *(name for name in reasons() if "." not in name)]:
        assert properties[name]["deprecated"]
        assert properties[name]["description"]
    assert properties["sequence_len"]["default"] == 512
    assert schema()["$defs"]["Dataset"]["properties"]["preprocess_shards"]["deprecated"]


def test_the_command_prints_or_writes_it(tmp_path, capsys):
    assert main([]) == 0
    assert json.loads(capsys.readouterr().out) == schema()
    assert main(["--output", str(tmp_path / "s.json")]) == 0
    assert json.loads((tmp_path / "s.json").read_text()) == schema()
    with pytest.raises(SystemExit):
        main(["--nonsense"])
    capsys.readouterr()
    assert main(["--output", str(tmp_path / "none/s.json")]) == 2
    assert capsys.readouterr().err == f"error: --output {tmp_path}/none/s.json: No such file or directory\n"
