"""`tunesmith config`: the resolved file can be used again, tells each value's origin, and drops no key in silence."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tunesmith.cli.config import main
from tunesmith.config.load import load
from tunesmith.config.yaml_source import Dumper, Loader, flow
from tunesmith.sections import SECTIONS

FILE = """base_model: some-org/some-model
datasets:
  - path: rows.jsonl   # beside this file
    type: alpaca
    preprocess_shards: 4
flash_attention: true
pad_to_sequence_len: true
use_pose: false
lora_dropout:
learning_rate: 1e-4
step: &text "1e-4"
special_tokens:
  pad_token: *text
chat_template: jinja
chat_template_jinja: |
  {% for m in messages %}
  {{ m.content }}  # no comment
  {% endfor %}
adam_beta1: 0.8
lora_r: 8
""".replace("step: &text", "wandb_name: &text")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/rows.jsonl").touch()
    (tmp_path / "deep/a.yml").write_text(FILE)
    return "deep/a.yml"


def printed(capsys, *arguments):
    assert main([*arguments]) == 0
    seen = capsys.readouterr()
    assert seen.err == ""
    return seen.out


def sections(config):
    return {name: getattr(config, name) for name in SECTIONS}


def test_every_line_has_its_origin(file, capsys):
    rows = [line.partition("  # ") for line in printed(capsys, file, "--seed", "7").split("\n\n")[0].splitlines()]
    origins = {text.strip(): origin for text, _, origin in rows if text.strip()}
    assert origins["base_model: some-org/some-model"] == "deep/a.yml:1"
    assert origins["- path: deep/rows.jsonl"] == "deep/a.yml:3"
    assert origins["type: alpaca"] == "deep/a.yml:4"
    assert origins["attn_implementation: flash_attention_2"] == "from flash_attention, deep/a.yml:6"
    assert origins["pad_token: '1e-4'"] == "deep/a.yml:13"
    assert origins["seed: 7"] == "--seed"


def test_every_key_of_the_file_is_in_the_result_or_in_the_tail(file, capsys):
    text = printed(capsys, file)
    result, tail = yaml.load(text, Loader), text.split("\n\n# ")[1]
    for key in yaml.load(FILE, Loader):
        assert key in result or f": {key}: " in tail, key
    assert "deep/a.yml:5:5: datasets.0.preprocess_shards: ignored: rows are read in small parts anyway" in tail
    assert "deep/a.yml:8:1: use_pose: is false: nothing to do" in tail
    assert "deep/a.yml:9:1: lora_dropout: has no value" in tail
    assert "`lora_r`: ignored: only with `adapter`" in tail


@pytest.mark.parametrize("all_keys", [[], ["--all"]])
def test_the_output_is_the_same_config_again(file, capsys, monkeypatch, tmp_path, all_keys):
    text = printed(capsys, file, "--seed", "7", *all_keys)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    again = load("-")
    first = load(file, ["--seed", "7", "--datasets.0.path", "deep/rows.jsonl"])
    assert sections(again) == sections(first)
    assert again.model.chat_template_jinja == first.model.chat_template_jinja
    assert {key: part.model_fields_set for key, part in sections(again).items()} == {
        key: part.model_fields_set for key, part in sections(first).items()
    }


def test_all_shows_the_defaults_of_all_other_keys_as_comments(file, capsys):
    text = printed(capsys, file, "--all")
    keys = {key for section in SECTIONS.values() for key in section.model_fields}
    shown = {line.removeprefix("# ").split(":")[0] for line in text.splitlines()}
    assert keys <= shown
    assert "\n# weight_decay: 0.0 " in text


def test_the_folder_of_a_run_shows_the_config_that_it_began_with(tmp_path, write_config, capsys):
    (tmp_path / "run").mkdir()
    write_config(tmp_path, seed=5).rename(tmp_path / "run/config.yml")
    assert f"# {tmp_path}/run/config.yml:" in printed(capsys, str(tmp_path))


def test_a_fault_is_named_with_its_line(file, capsys, tmp_path):
    (tmp_path / "bad.yml").write_text(FILE + "lora_rr: 1\n")
    assert main(["bad.yml"]) == 2
    assert capsys.readouterr().err == "error: bad.yml:21:1: unknown key `lora_rr`; did you mean `lora_r`?\n"


@pytest.mark.parametrize(
    "value", ["1e-4", "no", "a: b", "x\n# y\n", "", "# x", "日本", 1e-8, [], {}, [{"a": [1]}], True]
)
def test_a_value_in_one_line_is_read_as_it_was(value):
    assert yaml.load(f"key: {flow(value)}  # comment", Loader) == {"key": value}
    assert yaml.load(yaml.dump({"key": value}, Dumper=Dumper), Loader) == {"key": value}


def test_it_loads_nothing_heavy(file):
    code = f"import sys, json; from tunesmith.cli.config import main; code = main([{file!r}]); print(json.dumps([code, "
    code += "[name for name in ('torch', 'transformers', 'datasets') if name in sys.modules]]))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == [0, []]


def test_the_page_shows_what_the_command_prints(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs/config.md").read_text()
    monkeypatch.chdir(tmp_path)
    Path("lora.yml").write_text(page.split("```yaml\n")[1].split("```")[0])
    expected = page.split("it is\n\n```text\n")[1].split("```")[0]
    assert printed(capsys, "lora.yml", "--seed", "7") == expected
