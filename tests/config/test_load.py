"""From values to a checked Config: every fault has its place, and all are reported together."""

import pytest
from pydantic import ValidationError

from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.references import resolve_file

BASE = "base_model: m\nlearning_rate: 1e-4\ndatasets:\n  - path: a.jsonl\n    type: alpaca\n"
"""Five lines, so that a test's own text starts on line 6."""


def write(tmp_path, text: str) -> str:
    (tmp_path / "a.yml").write_text(text)
    return str(tmp_path / "a.yml")


def message(tmp_path, text: str, *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), arguments)
    return str(caught.value).replace(str(tmp_path) + "/", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rat: 1", "a.yml:6:1: unknown key `learning_rat`; did you mean `learning_rate`?"),
        ("lora_rank: 8", "a.yml:6:1: unknown key `lora_rank`; did you mean `lora_r`?"),
        ("zzzzzz: 1", "a.yml:6:1: unknown key `zzzzzz`"),
        ("micro_batch_size: two", "a.yml:6:1: `micro_batch_size` expects a whole number, found 'two'"),
        ("lora_r: 8.5", "a.yml:6:1: `lora_r` expects a whole number, found 8.5"),
        ("lora_r: true", "a.yml:6:1: `lora_r` does not take true or false"),
        ("weight_decay: 0,1", "a.yml:6:1: `weight_decay` expects a number, found '0,1'"),
        ("num_epochs: .inf", "a.yml:6:1: `num_epochs` expects a finite number, found .inf"),
        ("warmup_steps: 1.5",
         "a.yml:6:1: `warmup_steps` expects a whole number or must be less than 1, found 1.5"),
        ("lora_r: 1" + 40 * "0", "a.yml:6:1: `lora_r` is too large a number"),
        ("sequence_len: '1" + 5000 * "0" + "'",
         "a.yml:6:1: `sequence_len` expects a whole number, found '1" + 78 * "0" + "..."),
        ("seed: -1", "a.yml:6:1: `seed` must be at least 0, found -1"),
        ("seed: 4294967296", "a.yml:6:1: `seed` must be at most 4.29497e+09, found 4294967296"),
        ("fix_untrained_tokens: -1",
         "a.yml:6:1: `fix_untrained_tokens` expects a list or must be at least 0, found -1"),
        ("val_set_size: 1.5",
         "a.yml:6:1: `val_set_size` is a fraction up to 1, or a whole number of rows; found 1.5"),
        ("lora_target_modules: {a: [null, true]}",
         "a.yml:6:1: `lora_target_modules` expects a list or text, found {a: [null, true]}"),
        ("lr: 1", "a.yml:6:1: unknown key `lr`; did you mean `learning_rate`?"),
        ("qlora: true", "a.yml:6:1: unknown key `qlora`; did you mean `adapter: qlora`?"),
        ("num_epochs: 0", "a.yml:6:1: `num_epochs` must be greater than 0, found 0"),
        ("lora_dropout: 2", "a.yml:6:1: `lora_dropout` must be at most 1, found 2"),
        ("val_set_size: -1", "a.yml:6:1: `val_set_size` must be at least 0, found -1"),
        ("output_dir: [x]",
         "a.yml:6:1: `output_dir` expects text, found [x]; a text that starts with `[` needs quotes"),
        ("test_datasets: [{path: x, type: {format: {instruction}}}]",
         "a.yml:6:34: `format` in `datasets.type` expects text, found {}; a text that starts with `{` needs quotes"),
        ("output_dir: 5", "a.yml:6:1: `output_dir` expects text, found 5"),
        ("sample_packing: 2", "a.yml:6:1: `sample_packing` expects true or false, found 2"),
        ("save_strategy: never", "a.yml:6:1: `save_strategy` expects 'no', 'steps', 'epoch' or 'best', found 'never'"),
        ("bf16: maybe", "a.yml:6:1: `bf16` expects true or false or 'auto' or 'full', found 'maybe'"),
        ("lora_target_modules: 5", "a.yml:6:1: `lora_target_modules` expects a list or text, found 5"),
        ("lora_target_modules: [a, 1]", "a.yml:6:26: `lora_target_modules.1` expects text, found 1"),
        ("lr_scheduler_kwargs: 3", "a.yml:6:1: `lr_scheduler_kwargs` expects a mapping, found 3"),
        ("test_datasets: a.jsonl", "a.yml:6:1: `test_datasets` expects a list, found 'a.jsonl'"),
        ("test_datasets: [a.jsonl]", "a.yml:6:17: `test_datasets.0` expects a mapping, found 'a.jsonl'"),
        ("evaluation: {batch: 1}", "a.yml:6:14: unknown key `batch` in `evaluation`; did you mean `batch_size`?"),
        ("special_tokens:\n  zz: a", "a.yml:7:3: unknown key `zz` in `special_tokens`; known are bos_token, eos_token, "
         "pad_token, unk_token, additional_special_tokens"),
        ("flash_attention: maybe", "a.yml:6:1: `flash_attention` expects true or false, found 'maybe'"),
        ("noisy_embedding_alpha: x", "a.yml:6:1: `neftune_noise_alpha` expects a number, found 'x'"),
        ("tokens: {pad_tokn: x}",
         "a.yml:6:10: unknown key `pad_tokn` in `special_tokens`; did you mean `pad_token`?"),
        ("tokens: {pad_token: x}\nspecial_tokens: {pad_token: y}",
         "a.yml:6:1: `tokens: {pad_token: x}` and `special_tokens: {pad_token: y}`: use only one"),
        ("plugins: 3", "a.yml:6:1: `plugins` expects a list, found 3"),
        ("plugins:\n  - a.MoraPlugin", "a.yml:7:5: plugin `MoraPlugin`: MoRA is not supported; use `adapter: lora`, "
         "or `relora: true` for updates of high rank"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_file_line_and_column(tmp_path, text, expected):
    assert message(tmp_path, BASE + text) == expected


def test_a_misspelt_key_of_a_dataset_is_found_with_its_line(tmp_path):
    text = BASE.replace("    type: alpaca", "    typ: alpaca")
    assert message(tmp_path, text).splitlines() == [
        "a.yml:5:5: unknown key `typ` in `datasets.0`; did you mean `type`?",
    ]


def test_keys_that_must_be_there_are_all_named(tmp_path):
    model, data, rate = message(tmp_path, "seed: 1").splitlines()
    assert model.startswith("a.yml: `base_model` is missing; set a Hub repository or a folder, such as ")
    assert data.startswith("a.yml: `datasets` is missing; add the data to train on, such as ")
    assert rate == "a.yml: `learning_rate` is missing; set `learning_rate: 2e-4` for LoRA, 2e-5 for full fine-tuning"


def test_an_empty_list_of_datasets_is_refused(tmp_path):
    text = "base_model: m\nlearning_rate: 1\ndatasets: []"
    assert message(tmp_path, text) == "a.yml:3:1: `datasets` needs at least 1 entry"


def test_all_faults_are_reported_together(tmp_path):
    lines = message(tmp_path, BASE + "lora_r: x\nuse_pose: true\nbogus: 1\nseed: []\nplugins: [b]").splitlines()
    assert [line.split(":")[1] for line in lines] == ["6", "7", "8", "9", "10"]


def test_a_fault_from_the_command_line_names_the_option(tmp_path):
    assert message(tmp_path, BASE, "--seed", "x") == "--seed: `seed` expects a whole number, found 'x'"
    assert message(tmp_path, BASE, "--datasets.0.typ", "x") == (
        "--datasets.0.typ: unknown key `typ` in `datasets.0`; did you mean `type`?"
    )


@pytest.mark.parametrize(
    "option", ["--learning-rate", "--no-lora-r", "--output-dir", "--datasets.0.path", "--wandb-run-name"]
)
def test_an_option_without_its_value_is_named(tmp_path, option):
    key = option[2:].removeprefix("no-").replace("-", "_")
    found = "false" if option.startswith("--no-") else "true"
    expected = f"--{key}: `{key.replace('run_', '')}` needs a value, found {found}"
    assert message(tmp_path, BASE, option, "--seed", "3") == expected


def test_long_values_are_cut_and_line_breaks_shown(tmp_path):
    text = message(tmp_path, BASE + f'optimizer: "a\\n{"b" * 500}"')
    assert "`optimizer: a\\nbbb" in text
    assert "b" * 100 not in text
    assert text.count("\n") == 0


def test_keys_without_a_value_are_unset_at_every_level(tmp_path):
    config = load(
        write(tmp_path, BASE + "    split:\nadapter:\nwandb_project:\nspecial_tokens:\n  pad_token:\nseed:\n")
    )
    assert config.adapter.adapter is None
    assert config.training.seed == 42
    assert config.model.special_tokens.pad_token is None
    assert "seed" not in config.training.model_fields_set
    assert config.notes == ()


@pytest.mark.parametrize("value", ["no", "false", "'no'"])
def test_a_bare_no_is_a_strategy(tmp_path, value):
    config = load(write(tmp_path, f"{BASE}save_strategy: {value}\neval_strategy: {value}\n"))
    assert (config.training.save_strategy, config.training.eval_strategy) == ("no", "no")


def test_a_true_strategy_is_refused(tmp_path):
    assert message(tmp_path, BASE + "save_strategy: yes") == "a.yml:6:1: `save_strategy` does not take true or false"


def test_an_exponent_makes_a_number_in_every_key(tmp_path):
    config = load(write(tmp_path, BASE + "optim_args: {alpha: 1e-6}\nadam_epsilon: 1e-7\n"), ["--weight-decay", "1e-2"])
    assert config.training.learning_rate == 1e-4
    assert config.training.optim_args == {"alpha": 1e-6}
    assert config.training.adam_epsilon == 1e-7
    assert config.training.weight_decay == 1e-2


def test_the_config_is_frozen(tmp_path):
    config = load(write(tmp_path, BASE))
    with pytest.raises(ValidationError, match="frozen"):
        config.training.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        config.training = config.training


def test_the_record_of_values_makes_the_same_config_again(tmp_path):
    import yaml

    config = load(write(tmp_path, BASE + "flash_attention: true\nevaluation: {max_rows: 3}\n"), ["--seed", "7"])
    again = load(write(tmp_path, yaml.safe_dump(config.values)))
    assert (
        again.model_copy(update={name: getattr(config, name) for name in ("notes", "statuses", "locations")}) == config
    )


def test_a_file_beside_the_config_is_found_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/rows.jsonl").touch()
    config_file = str(tmp_path / "deep/a.yml")
    assert resolve_file("rows.jsonl", config_file) == str(tmp_path / "deep/rows.jsonl")
    assert resolve_file("none.jsonl", config_file) == "none.jsonl"
    (tmp_path / "rows.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve_file("rows.jsonl", config_file) == "rows.jsonl"
