"""From a sweep file to trials: products, pairs, names; and every way to write one wrong."""

import pytest

from tunesmith.config.trials import read_sweep
from tunesmith.errors import ConfigError


@pytest.fixture
def sweep(tmp_path, write_config):
    """`sweep(text, *arguments, **keys)` reads a sweep file of a small LoRA config."""

    def read(text, *arguments, **keys):
        file = tmp_path / "sweep.yml"
        file.write_text(text)
        return read_sweep(str(write_config(tmp_path, **keys)), str(file), arguments)

    return read


def test_lists_make_a_product_in_the_order_of_the_file(sweep, tmp_path):
    trials = sweep("learning_rate: [1e-4, 3e-4]\nlora_r: [8, 16]\n")
    assert [trial.name for trial in trials] == [
        "learning_rate=0.0001,lora_r=8",
        "learning_rate=0.0001,lora_r=16",
        "learning_rate=0.0003,lora_r=8",
        "learning_rate=0.0003,lora_r=16",
    ]
    assert [trial.config.adapter.lora_r for trial in trials] == [8, 16, 8, 16]
    assert trials[2].values == {"learning_rate": 3e-4, "lora_r": 8}
    assert trials[2].output == tmp_path / "out/learning_rate=0.0003,lora_r=8"
    assert trials[2].config.values["output_dir"] == str(trials[2].output)


def test_pairs_go_together(sweep):
    trials = sweep("_:\n- {lora_r: 8, lora_alpha: 16}\n- {lora_r: 16, lora_alpha: 32}\nseed: [1, 2]\n")
    assert [(t.config.adapter.lora_r, t.config.adapter.lora_alpha, t.config.training.seed) for t in trials] == [
        (8, 16, 1),
        (8, 16, 2),
        (16, 32, 1),
        (16, 32, 2),
    ]


def test_the_file_may_lack_what_the_sweep_sets(sweep):
    assert [trial.config.training.learning_rate for trial in sweep("learning_rate: [1, 2]", learning_rate=None)] == [
        1,
        2,
    ]


def test_a_single_value_and_options_hold_for_all_trials(sweep, tmp_path):
    trials = sweep("seed: [1, 2]\nlora-dropout: 0.5\n", "--lora-r", "4", "--output-dir", str(tmp_path / "other"))
    assert {(t.config.adapter.lora_r, t.config.adapter.lora_dropout) for t in trials} == {(4, 0.5)}
    assert trials[0].output == tmp_path / "other/seed=1,lora-dropout=0.5"


def test_a_key_with_dots_reaches_inside(sweep):
    trials = sweep("evaluation.max_new_tokens: [8, 16]\ndatasets.0.type: [chat_template]\n")
    assert [trial.config.evaluation.evaluation.max_new_tokens for trial in trials] == [8, 16]
    assert trials[0].config.data.datasets[0].type == "chat_template"


def test_lists_and_mappings_can_be_values(sweep):
    trials = sweep(
        "lora_target_modules: [[q_proj], [q_proj, v_proj]]\nevaluation: [{batch_size: 2}]", lora_target_linear=None
    )
    assert [trial.config.adapter.lora_target_modules for trial in trials] == [["q_proj"], ["q_proj", "v_proj"]]
    assert trials[0].config.evaluation.evaluation.batch_size == 2


def test_an_odd_or_long_name_is_made_fit_for_a_folder_and_stays_different(sweep):
    long = ", ".join(["x" * 200 + "1", "x" * 200 + "2", "a/b c", "'a/b?c'"])
    names = [trial.name for trial in sweep(f"wandb_name: [{long}]", use_wandb=True)]
    assert len(set(names)) == 4
    assert names[2].startswith("wandb_name=a-b-c-")
    assert all(len(name) < 120 and "/" not in name for name in names)
    assert names == [trial.name for trial in sweep(f"wandb_name: [{long}]", use_wandb=True)]


def test_all_faults_of_the_sweep_file_are_told_with_their_lines(sweep, tmp_path):
    with pytest.raises(ConfigError) as error:
        sweep(
            "output_dir: [a, b]\nlora_r: []\nevaluation: {max_rows: [1, 2]}\n_: [1]\nseed: 1\nlearning-rate: [2]\n"
            "learning_rate: 3\ndatasets.0.path: x\ndatasets.0: [{path: y}]\nlora_alpha:\n",
            "--seed",
            "3",
        )
    file = tmp_path / "sweep.yml"
    assert str(error.value).splitlines() == [
        f"{file}:1:14: `output_dir` can't be swept: each trial has a folder in it",
        f"{file}:2:1: `lora_r` has no values; give a list, or remove it",
        f"{file}:3:1: `evaluation` is a mapping; write `evaluation.max_rows: [...]`",
        f"{file}:4:1: `_` takes a list of mappings, such as `- {{lora_r: 8, lora_alpha: 16}}`",
        f"{file}:5:1: `seed` is also set on the command line; use only one",
        f"{file}:7:1: `learning_rate` is also set at {file}:6:17; use only one",
        f"{file}:9:14: `datasets.0` is also set at {file}:8:1; use only one",
        f"{file}:10:1: `lora_alpha` has no values; give a list, or remove it",
    ]


def test_a_key_that_stands_in_a_pair_and_by_itself_is_a_fault(sweep, tmp_path):
    with pytest.raises(ConfigError, match=r"sweep\.yml:2:6: `lora_r` is also set at .*sweep\.yml:1:10; use only one"):
        sweep("lora_r: [4]\n_: [{lora_r: 8}]\n")


def test_the_configs_of_all_trials_are_checked_with_the_lines_of_the_sweep_file(sweep, tmp_path):
    with pytest.raises(ConfigError) as error:
        sweep("lora_r: [8,\n  0]\nlearning_rat: [1, 2]\n_:\n- seed: x\n- seed: 1\n")
    file = tmp_path / "sweep.yml"
    lines = str(error.value).splitlines()
    assert f"{file}:3:16: unknown key `learning_rat`; did you mean `learning_rate`?" in "\n".join(lines)
    assert any(line.startswith(f"{file}:2:3: `lora_r` must be at least 1, found 0 (trial lora_r=0,") for line in lines)
    assert any(line.startswith(f"{file}:5:3: `seed` expects a whole number, found 'x' (trial") for line in lines)


def test_a_fault_of_the_file_is_told_once(sweep, tmp_path):
    with pytest.raises(ConfigError) as error:
        sweep("seed: [1, 2]\n", lora_r=0)
    assert str(error.value).count("must be at least 1") == 1
    assert "trial" not in str(error.value)


def test_a_sweep_does_not_begin_with_the_checkpoint_of_another_run(sweep):
    with pytest.raises(
        ConfigError, match="remove `resume_from_checkpoint`: a sweep resumes from the checkpoints of its"
    ):
        sweep("seed: [1, 2]\n", "--resume-from-checkpoint", "out/checkpoint-3")


def test_a_place_that_the_file_does_not_have_is_a_fault(sweep):
    with pytest.raises(ConfigError, match=r"sweep\.yml:1:19: the file has no such place"):
        sweep("datasets.7.path: [x]\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("seed: [1, 1]", "trials seed=1 and seed=1 are the same run"),
        ("sdp_attention: [true, true]", "are the same run"),
        ("learning_rate: [1e-4, 0.0001]", "are the same run"),
        ("save_total_limit: [4, null]", "trials save_total_limit=4 and save_total_limit=null are the same run"),
        ("hub_model_id: [me/x]\nseed: [1, 2]", "push to the same repository, `hub_model_id: me/x`"),
    ],
)
def test_trials_that_would_be_the_same_are_a_fault(text, why, sweep):
    with pytest.raises(ConfigError, match=why):
        sweep(text, adapter=None, lora_target_linear=None, lora_r=None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("eval_sample_packing_size: [1, 2]", r"sweep.yml:1:28: `eval_sample_packing_size: 1` would be ignored: "),
        ("lr_div_factor: [5, 10]", r"`lr_div_factor: 5` would be ignored: only with `lr_scheduler: one_cycle`"),
        ("datasets.0.text_column: [a, b]", r"`datasets.0.text_column: a` would be ignored: `type: chat_template`"),
        ("optimizer: [adamw_torch, sgd]\nadam_beta1: [0.8]", r"2:14: .*no such argument \(trial optimizer=sgd,.*\)$"),
    ],
)
def test_a_key_that_changes_nothing_cannot_be_swept(text, why, sweep):
    with pytest.raises(ConfigError, match=why):
        sweep(text)


def test_too_many_trials_are_refused_with_their_number(sweep):
    with pytest.raises(ConfigError, match=r"sweep.yml: 50 x 50 = 2,500 trials; 1,000 at most"):
        sweep(f"seed: {[*range(50)]}\nlora_r: {[*range(1, 51)]}\n")
