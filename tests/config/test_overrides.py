"""`--key value` in place of the file's values."""

import pytest

from tunesmith.config.overrides import apply, parse
from tunesmith.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--lora-r", "4"], {("lora_r",): 4}),
        (["--lora_r=16"], {("lora_r",): 16}),
        (["--datasets.0.path", "x.jsonl"], {("datasets", 0, "path"): "x.jsonl"}),
        (["--evaluation.max-rows=5"], {("evaluation", "max_rows"): 5}),
        (["--sample-packing"], {("sample_packing",): True}),
        (["--no-sample-packing", "--bf16"], {("sample_packing",): False, ("bf16",): True}),
        (["--lora-target-modules", "[a, b]"], {("lora_target_modules",): ["a", "b"]}),
        (["--learning-rate", "1e-4"], {("learning_rate",): 1e-4}),
        (["--val-set-size", "-1"], {("val_set_size",): -1}),
        (["--max-steps", "null"], {("max_steps",): None}),
        (["--max-steps="], {("max_steps",): None}),
        (["--output-dir", "a=b"], {("output_dir",): "a=b"}),
        (["--output-dir=a=b"], {("output_dir",): "a=b"}),
        (["--seed", "1", "--seed", "2"], {("seed",): 2}),
        ([], {}),
    ],
)
def test_arguments_are_read_as_keys_and_yaml_values(arguments, expected):
    assert parse(arguments) == expected


@pytest.mark.parametrize("argument", ["x", "-x", "--"])
def test_what_is_no_key_is_refused(argument):
    with pytest.raises(ConfigError, match=r"expected --key value; see --help"):
        parse([argument])


def test_a_value_that_is_no_yaml_is_refused():
    with pytest.raises(ConfigError, match=r"--base_model: `\[a` is no YAML value; put it in quotes"):
        parse(["--base_model", "[a"])


def test_overrides_change_only_the_place_they_name():
    values = {"seed": 1, "datasets": [{"path": "a", "type": "alpaca"}]}
    apply(values, {("datasets", 0, "path"): "b", ("evaluation", "max_rows"): 3, ("lora_r",): 4})
    assert values == {
        "seed": 1,
        "datasets": [{"path": "b", "type": "alpaca"}],
        "evaluation": {"max_rows": 3},
        "lora_r": 4,
    }


def test_an_entry_of_a_list_can_be_replaced():
    values = {"lora_target_modules": ["a", "b"]}
    apply(values, {("lora_target_modules", 1): "c"})
    assert values == {"lora_target_modules": ["a", "c"]}


@pytest.mark.parametrize("path", [("datasets", 1, "path"), ("datasets", "x"), ("seed", "x"), ("datasets", 5)])
def test_a_place_that_the_file_lacks_is_refused(path):
    with pytest.raises(ConfigError, match="the file has no such place"):
        apply({"seed": 1, "datasets": [{"path": "a"}]}, {path: "x"})
