"""Rules across keys of trackers and the Hub, and which of these keys change nothing."""

from collections.abc import Callable, Iterator

from tunesmith.config.problem import Idle, Problem, at
from tunesmith.sections import Config


def tracking_problems(config: Config) -> Iterator[Problem]:
    """Yield the problems between keys of trackers and of checkpoints."""
    tracking, training = config.tracking, config.training
    if tracking.comet_mode == "get" and not tracking.comet_experiment_key:
        yield at("comet_mode", "`comet_mode: get` goes on with an experiment: set `comet_experiment_key`")
    if training.save_only_model and training.auto_resume_from_checkpoints:
        yield at(
            "save_only_model",
            "`save_only_model: true` leaves nothing for `auto_resume_from_checkpoints: true` to go on from: keep one",
        )


def _off(tracker: str) -> Callable[[Config], bool]:
    return lambda config: not config.tracking.wants(tracker)


IDLE_TRACKING: list[Idle] = [
    ("wandb_", _off("wandb"), "W&B is off; `use_wandb: true` or `wandb_project` switches it on"),
    ("mlflow_ hf_mlflow_", _off("mlflow"), "MLflow is off; `use_mlflow: true` switches it on"),
    ("comet_", _off("comet_ml"), "Comet is off; `use_comet: true` switches it on"),
    ("trackio_", _off("trackio"), "Trackio is off; `use_trackio: true` switches it on"),
    ("swanlab_", _off("swanlab"), "SwanLab is off; `use_swanlab: true` switches it on"),
    (
        "mlflow_run_name trackio_run_name",
        lambda c: c.tracking.wants("wandb") and bool(c.tracking.wandb_name),
        "`wandb_name` names the run everywhere",
    ),
    ("hub_strategy hub_revision", lambda c: not c.tracking.hub_model_id, "there is no `hub_model_id` to push to"),
    ("profiler_steps_start", lambda c: not c.training.profiler_steps, "there is no `profiler_steps`"),
]
"""Keys, or how their names begin -> when they change nothing -> why."""
