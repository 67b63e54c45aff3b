"""Experiment trackers and the Hub."""

import re
from typing import Annotated, Any, Literal

from pydantic import field_validator

from tunesmith.sections.fields import OnlyFor, OutputPath, Requires, Secret
from tunesmith.sections.section import Section

SWITCHES = {
    "wandb": ("use_wandb", "wandb_project"),
    "mlflow": ("use_mlflow", "mlflow_experiment_name"),
    "comet_ml": ("use_comet", "comet_project_name"),
    "tensorboard": ("use_tensorboard", None),
    "trackio": ("use_trackio", "trackio_project_name"),
    "swanlab": ("use_swanlab", "swanlab_project"),
}
"""Tracker, by the name that transformers gives it -> the key that says whether, and the one that implies it."""


class TrackingSection(Section):
    """Where metrics and weights go in addition to `output_dir`: experiment trackers and the Hub."""

    use_wandb: bool | None = None
    """Send metrics to Weights & Biases; `wandb_project` implies it."""
    wandb_project: str | None = None
    """W&B: project."""
    wandb_entity: str | None = None
    """W&B: team."""
    wandb_name: str | None = None
    """W&B: name of the run."""
    wandb_run_id: str | None = None
    """W&B: id of the run; an existing run is continued."""
    wandb_mode: Literal["online", "offline", "disabled"] | None = None
    """W&B: offline writes to ./wandb for `wandb sync`. Without an API key or a connection, it is offline."""
    wandb_watch: Literal["gradients", "parameters", "all", "false"] | None = None
    """W&B: histograms of gradients or weights."""
    wandb_log_model: Literal["end", "checkpoint", "false"] | None = None
    """W&B: upload the weights at the end, or every checkpoint."""
    use_mlflow: bool | None = None
    """Send metrics to MLflow; `mlflow_experiment_name` implies it."""
    mlflow_tracking_uri: Annotated[str | None, OutputPath()] = None
    """MLflow: address of the server, or a file such as sqlite:///mlflow.db."""
    mlflow_experiment_name: str | None = None
    """MLflow: experiment."""
    mlflow_run_name: str | None = None
    """MLflow: name of the run."""
    hf_mlflow_log_artifacts: bool | None = None
    """MLflow: upload every checkpoint."""
    use_comet: bool | None = None
    """Send metrics to Comet; `comet_project_name` implies it."""
    comet_api_key: Annotated[str | None, Secret()] = None
    """Comet: API key. It is not recorded; `comet login` keeps it out of the file too."""
    comet_workspace: str | None = None
    """Comet: workspace."""
    comet_project_name: str | None = None
    """Comet: project."""
    comet_experiment_key: str | None = None
    """Comet: id of an experiment to continue."""
    comet_mode: Annotated[
        Literal["create", "get", "get_or_create"] | None, Requires("get", comet_experiment_key=True)
    ] = None
    """Comet: create a new experiment, or continue `comet_experiment_key`."""
    comet_online: bool | None = None
    """Comet: false writes to files, for `comet upload`. Without an API key it is false."""
    use_tensorboard: bool | None = None
    """Write TensorBoard's files to runs/ of output_dir."""
    use_trackio: bool | None = None
    """Send metrics to Trackio, on this machine; `trackio_project_name` implies it."""
    trackio_project_name: str | None = None
    """Trackio: project."""
    trackio_run_name: str | None = None
    """Trackio: name of the run."""
    trackio_space_id: str | None = None
    """Trackio: Space on the Hub that shows the metrics, private if it is new."""
    use_swanlab: bool | None = None
    """Send metrics to SwanLab; `swanlab_project` implies it."""
    swanlab_project: str | None = None
    """SwanLab: project."""
    swanlab_workspace: str | None = None
    """SwanLab: workspace."""
    swanlab_experiment_name: str | None = None
    """SwanLab: name of the run."""
    swanlab_description: str | None = None
    """SwanLab: description of the run."""
    swanlab_mode: Literal["cloud", "local", "offline", "disabled"] | None = None
    """SwanLab: where metrics go. Without an API key it is offline: files in ./swanlog, for `swanlab sync`."""
    swanlab_api_key: Annotated[str | None, Secret()] = None
    """SwanLab: API key. It is not recorded."""
    swanlab_web_host: str | None = None
    """SwanLab: web address of a self-hosted server."""
    swanlab_api_host: str | None = None
    """SwanLab: API address of a self-hosted server."""
    hub_model_id: str | None = None
    """Push the final model to this Hub repository, private if it is new."""
    hub_strategy: Annotated[
        Literal["end", "every_save", "checkpoint", "all_checkpoints"], OnlyFor(hub_model_id=True)
    ] = "every_save"
    """When to push: the final model at the end, or weights at every save too, with the last or all checkpoints."""
    hub_revision: Annotated[str | None, OnlyFor(hub_model_id=True)] = None
    """Branch to push to; it is created if it doesn't exist."""

    @field_validator("wandb_watch", "wandb_log_model", mode="before")
    @classmethod
    def _bare_false(cls, value: Any) -> Any:
        """YAML reads a bare `false` as a boolean."""
        return "false" if value is False else value

    def wants(self, tracker: str) -> bool:
        """Return whether metrics go to a tracker."""
        if {"wandb": self.wandb_mode, "swanlab": self.swanlab_mode}.get(tracker) == "disabled":
            return False
        switch, implied_by = SWITCHES[tracker]
        value = getattr(self, switch)
        return bool(getattr(self, implied_by)) if value is None and implied_by else bool(value)


def without_secrets(values: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a config as they may be written down: API keys and passwords in addresses are hidden."""
    secrets = {key for key, field in TrackingSection.model_fields.items() if Secret() in field.metadata}
    return {
        key: "***" if key in secrets else re.sub(r"//[^/@]+@", "//***@", value) if key.endswith("_uri") else value
        for key, value in values.items()
    }
