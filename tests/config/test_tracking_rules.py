"""Rules across keys of trackers and the Hub, and which of them change nothing."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"wandb_entity": "x"}, "`wandb_entity`: ignored: W&B is off"),
        ({"wandb_project": "x", "use_wandb": False}, "`wandb_project`: ignored: W&B is off"),
        ({"hf_mlflow_log_artifacts": True}, "`hf_mlflow_log_artifacts`: ignored: MLflow is off"),
        ({"comet_workspace": "x"}, "`comet_workspace`: ignored: Comet is off"),
        ({"trackio_space_id": "x"}, "`trackio_space_id`: ignored: Trackio is off"),
        ({"swanlab_mode": "local"}, "`swanlab_mode`: ignored: SwanLab is off"),
        ({"hub_strategy": "end"}, "`hub_strategy`: ignored: only with `hub_model_id`"),
        ({"profiler_steps_start": 2}, "`profiler_steps_start`: ignored: only with `profiler_steps`"),
        (
            {"use_mlflow": True, "mlflow_run_name": "a", "use_wandb": True, "wandb_name": "b"},
            "`mlflow_run_name`: ignored: `wandb_name` is the name of the run for every tracker",
        ),
    ],
)
def test_a_key_of_what_is_off_is_named(tmp_path, write_config, keys, expected):
    (note,) = load(str(write_config(tmp_path, **keys))).notes
    assert note.startswith(expected)


def test_keys_of_what_is_on_are_not_named(tmp_path, write_config):
    keys = {
        "wandb_project": "x",
        "wandb_watch": False,
        "wandb_log_model": False,
        "hub_model_id": "y",
        "hub_revision": "z",
    }
    config = load(str(write_config(tmp_path, **keys, gc_steps=-1)))
    assert config.notes == ()
    assert (config.tracking.wandb_watch, config.tracking.wandb_log_model) == ("false", "false")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"use_comet": True, "comet_mode": "get"}, "`comet_mode: get` needs `comet_experiment_key`"),
        ({"save_only_model": True, "auto_resume_from_checkpoints": True}, "`save_only_model: true` and"),
        ({"wandb_mode": "sometimes"}, "`wandb_mode` expects 'online', 'offline' or 'disabled', found 'sometimes'"),
    ],
)
def test_keys_that_do_not_go_together_are_faults(tmp_path, write_config, keys, expected):
    with pytest.raises(ConfigError, match=expected):
        load(str(write_config(tmp_path, **keys)))
