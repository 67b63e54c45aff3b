"""`tunesmith explain`: every key has a meaning, what it takes, and an example that is true."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tunesmith.cli.explain import main
from tunesmith.config.key_status import reasons
from tunesmith.config.keys import RENAMED
from tunesmith.config.reference import old_names, supported
from tunesmith.config.yaml_source import Loader
from tunesmith.sections import SECTIONS


def told(capsys, *keys):
    assert main([*keys]) == 0
    return capsys.readouterr().out


def test_a_key(capsys):
    assert told(capsys, "--learning-rate") == (
        "learning_rate (section training)\n"
        "  Peak learning rate. 2e-4 suits LoRA, 1e-5 to 2e-5 full fine-tuning.\n"
        "  takes     number, above 0\n"
        "  default   required\n"
        "  example   learning_rate: 0.0002\n"
    )


@pytest.mark.parametrize("name", ["datasets.type", "datasets[].type", "datasets.0.type"])
def test_a_key_inside_a_block(capsys, name):
    text = told(capsys, name)
    assert text.startswith("datasets[].type (section data, inside `datasets[]`)\n")
    assert "  example   datasets:\n              - type: chat_template\n" in text


def test_the_last_word_alone_is_found(capsys):
    assert told(capsys, "loftq_bits").startswith("peft.loftq_config.loftq_bits (section adapter")


def test_keys_of_axolotl_with_another_status(capsys):
    text = told(capsys, "flash_attention", "pad_to_sequence_len", "use_pose", "wandb_run_name", "pretraining_dataset")
    assert "flash_attention: old name; true is taken as `attn_implementation: flash_attention_2`" in text
    assert "\nattn_implementation (section model)\n" in text
    assert "old names flash_attention, sdp_attention" in text
    assert f"\npad_to_sequence_len: accepted and ignored: {reasons()['pad_to_sequence_len'].text}\n" in text
    assert f"\nuse_pose: refused: {reasons()['use_pose'].text}\n" in text
    assert "\nwandb_run_name: old name; taken as `wandb_name`\n" in text
    assert "\npretraining_dataset: old name; taken as `datasets`\n" in text


def test_every_key_of_axolotl_is_explained_by_itself_or_by_the_mapping_around_it(capsys):
    rows = (Path(__file__).parents[1] / "data/axolotl_keys.tsv").read_text().splitlines()[1:]
    told(capsys, *(row.split("\t")[0] for row in rows))
    assert told(capsys, "accelerator_config.even_batches").startswith("accelerator_config (section training)")
    assert told(capsys, "test_datasets[].path", "pretraining_dataset.0.skip").count("inside `datasets[]`") == 2
    assert main(["datasets.pth"]) == 2
    assert "unknown key `datasets.pth`; near are `datasets.path`" in capsys.readouterr().err


def test_where_a_key_does_nothing(capsys):
    assert "  rules     Only with `adapter`." in told(capsys, "lora_r")


@pytest.mark.parametrize(
    ("name", "near"), [("learnin_rate", "`learning_rate`"), ("datasets.pth", "`datasets.path`"), ("loraR", "`lora_r`")]
)
def test_an_unknown_key_gets_the_nearest_names(capsys, name, near):
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: unknown key `{name}`")
    assert near in error


def test_without_a_key_all_are_listed_by_section(capsys):
    text = told(capsys)
    for name, section in SECTIONS.items():
        assert f"\n{name}: {section.__doc__}\n" in f"\n{text}"
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert listed == [key for section in SECTIONS.values() for key in section.model_fields]


def test_every_key_is_explained(capsys):
    for name in [*supported(), *RENAMED, *reasons()]:
        assert told(capsys, name), name
    assert {old for olds in old_names().values() for old in olds} == set(RENAMED)


@pytest.mark.parametrize("name", supported())
def test_the_example_of_a_key_is_taken(capsys, name):
    """The types take it; what goes together is the matter of other tests."""
    key = supported()[name]
    lines = told(capsys, name).split("  example   ")[1].splitlines()
    text = "\n".join([lines[0], *(line[12:] for line in lines[1:] if line.startswith(" " * 12))])
    values: dict[str, Any] = yaml.load(text, Loader)
    try:
        SECTIONS[key.section].model_validate(values)
    except ValidationError as error:
        faults = error.errors()
    else:
        faults = []
    assert [fault for fault in faults if fault["type"] != "missing"] == []


def test_it_loads_nothing_heavy():
    code = "from tunesmith.cli.explain import main; main(['lora_r']); import sys"
    code += "; assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_list_may_go_to_a_reader_that_has_left():
    command = f"{sys.executable} -m tunesmith.cli.explain | head -1"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (result.stdout.splitlines()[0], result.stderr) == (f"model: {SECTIONS['model'].__doc__}", "")
