"""Experiment trackers: which of those that a config asks for run here, and the config beside their metrics.

Metrics are sent by transformers' own callbacks, which read the environment that is set here. Whatever becomes of a
tracker, `run/metrics.jsonl` holds the metrics.
"""

import netrc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from tunesmith.hub import answers
from tunesmith.sections import Config, TrackingSection
from tunesmith.sections.tracking import SWITCHES, without_secrets
from tunesmith.training.arguments import Decision
from tunesmith.world import World

_PREFIXES: dict[str, tuple[str, ...]] = {
    "wandb": ("wandb_",),
    "mlflow": ("mlflow_", "hf_mlflow_"),
    "comet_ml": ("comet_",),
    "swanlab": ("swanlab_api_", "swanlab_web_", "swanlab_mode"),
}
"""Tracker -> how the keys begin whose names, in capitals, are those of its environment."""

_OFFLINE = {
    "wandb": ("WANDB_MODE", "offline", "wandb sync"),
    "comet_ml": ("COMET_START_ONLINE", "false", "comet upload"),
    "swanlab": ("SWANLAB_MODE", "offline", "swanlab sync"),
}
"""Tracker -> what makes it write to files, and the command that sends them later."""

_ATTACH: dict[str, Callable[[Any, dict[str, Any], str], object]] = {
    "wandb": lambda wandb, values, text: wandb.config.update({"tunesmith": values}, allow_val_change=True),
    "mlflow": lambda mlflow, values, text: mlflow.log_text(text, "config.yml"),
    "comet_ml": lambda comet, values, text: comet.get_running_experiment().log_asset_data(text, name="config.yml"),
    "trackio": lambda trackio, values, text: trackio.config.update({"tunesmith": values}),
    "swanlab": lambda swanlab, values, text: swanlab.config.update({"tunesmith": values}),
}
"""Tracker -> how its run gets the config, as values or as YAML."""

_END: dict[str, Callable[[Any, bool], object]] = {
    "wandb": lambda wandb, failed: wandb.finish(exit_code=int(failed)),
    "mlflow": lambda mlflow, failed: mlflow.end_run("FAILED" if failed else "FINISHED"),
    "comet_ml": lambda comet, failed: comet.end(),
    "swanlab": lambda swanlab, failed: swanlab.finish(state="crashed" if failed else "success"),
}
"""Tracker -> how its run ends, where transformers does not end it."""


class Trackers(NamedTuple):
    """The trackers that run in this process, transformers' arguments for them, and what was decided."""

    names: list[str]
    arguments: dict[str, Any]
    decisions: list[Decision]


def choose_trackers(tracking: TrackingSection, output: Path, world: World) -> Trackers:
    """Return the trackers that can run here, and set the environment that configures them.

    A tracker never changes the result: one that is not installed is left out, one without its server writes to files.
    """
    names, decisions = [], []
    for name in filter(tracking.wants, SWITCHES):
        if find_spec(name) is None:
            reason = f"not installed: pip install {name.replace('_', '-')}; the metrics are in run/metrics.jsonl"
            decisions.append(Decision(name, "off", reason))
            continue
        reason = _why_offline(name, tracking)
        if reason and name not in _OFFLINE:
            decisions.append(Decision(name, "off", f"{reason}; the metrics are in run/metrics.jsonl"))
            continue
        os.environ.update(environment(name, tracking, output))
        if reason:
            variable, value, command = _OFFLINE[name]
            os.environ.update({variable: value})
            reason += f"; `{command}` sends the run later"
        decisions.append(Decision(name, "offline" if reason else "on", reason or "it gets the metrics and the config"))
        names.append(name)
    if not world.is_main:
        names = []
    return Trackers(names, report_arguments(tracking, names), decisions)


def _why_offline(name: str, tracking: TrackingSection) -> str:
    """Return why a tracker cannot send to its server, if it is to."""
    server = _server(name, tracking)
    if not server:
        return ""
    if not _has_key(name, tracking, server):
        return f"no API key: `{name.replace('_ml', '')} login`"
    server = re.sub("//[^/@]+@", "//", server)  # without a password
    return "" if answers(server) else f"{server} does not answer"


def _server(name: str, tracking: TrackingSection) -> str:
    """Return the address of the server that a tracker is set to send to, or "" if it writes files only."""
    variable = os.environ.get
    if name == "wandb" and (tracking.wandb_mode or variable("WANDB_MODE", "online")) == "online":
        return variable("WANDB_BASE_URL", "https://api.wandb.ai")
    if name == "comet_ml" and tracking.comet_online is not False:
        return variable("COMET_URL_OVERRIDE", "https://www.comet.com")
    if name == "swanlab" and (tracking.swanlab_mode or variable("SWANLAB_MODE", "cloud")) in ("cloud", "online"):
        return tracking.swanlab_api_host or variable("SWANLAB_API_HOST", "https://api.swanlab.cn")
    if name == "mlflow" and tracking.mlflow_tracking_uri and tracking.mlflow_tracking_uri.startswith("http"):
        return tracking.mlflow_tracking_uri
    return ""


def _has_key(name: str, tracking: TrackingSection, server: str) -> bool:
    """Return whether there is an API key for the server of a tracker; MLflow needs none."""
    if name == "wandb":
        return bool(os.environ.get("WANDB_API_KEY")) or _in_netrc(Path.home() / ".netrc", server)
    if name == "comet_ml":
        return bool(tracking.comet_api_key or import_module(name).config.get_config("comet.api_key"))
    if name == "swanlab":
        key = tracking.swanlab_api_key or os.environ.get("SWANLAB_API_KEY")
        return bool(key) or _in_netrc(Path.home() / ".swanlab/.netrc", server)
    return True


def _in_netrc(file: Path, server: str) -> bool:
    """Whether the file in which a tracker's login is kept has one for a server."""
    return file.exists() and netrc.netrc(file).authenticators(urlsplit(server).hostname or server) is not None


def environment(name: str, tracking: TrackingSection, output: Path) -> dict[str, str]:
    """Return the variables by which a tracker is configured."""
    variables = {
        key.upper(): str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in tracking
        if value is not None and key.startswith(_PREFIXES.get(name, ()))
    }
    if "COMET_ONLINE" in variables:
        variables["COMET_START_ONLINE"] = variables["COMET_ONLINE"]
    if "WANDB_RUN_ID" in variables:
        variables["WANDB_RESUME"] = "allow"
    return variables | ({"TENSORBOARD_LOGGING_DIR": str(output / "runs")} if name == "tensorboard" else {})


def report_arguments(tracking: TrackingSection, names: list[str]) -> dict[str, Any]:
    """Return transformers' arguments about trackers."""
    run_names = (tracking.wandb_name, tracking.mlflow_run_name, tracking.trackio_run_name)
    arguments = {"report_to": names or "none", "run_name": next(filter(None, run_names), None)}
    if "trackio" not in names:
        return arguments
    return arguments | {
        "project": tracking.trackio_project_name or "tunesmith",
        "trackio_space_id": tracking.trackio_space_id,
        "trackio_static_space_id": False,  # to push weights is no wish to show the metrics on the Hub
        "hub_private_repo": True,
    }


class ConfigAttached(TrainerCallback):
    """Puts the config beside the metrics, once the trackers' own callbacks have begun their runs."""

    def __init__(self, names: list[str], values: dict[str, Any]) -> None:
        self.names, self.values = names, values

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Hand over the config."""
        text = yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True)
        for name in self.names:
            if name in _ATTACH:
                _ATTACH[name](import_module(name), self.values, text)
            else:
                from torch.utils.tensorboard import SummaryWriter

                with SummaryWriter(os.environ["TENSORBOARD_LOGGING_DIR"]) as writer:
                    writer.add_text("config", f"```yaml\n{text}```")


@contextmanager
def tracked(trainer: Trainer, names: list[str], config: Config) -> Iterator[None]:
    """Let the trackers follow what is trained in here, with its config, and tell them how it ended."""
    tracking = config.tracking
    for kind in get_reporting_integration_callbacks(names):
        if callback := trainer.pop_callback(kind):
            trainer.add_callback(callback)  # behind our own, which adds to the metrics
    trainer.add_callback(ConfigAttached(names, without_secrets(config.values)))
    if "swanlab" in names:  # it takes no name and no workspace from the environment
        import_module("swanlab").init(
            project=tracking.swanlab_project,
            workspace=tracking.swanlab_workspace,
            experiment_name=tracking.swanlab_experiment_name,
            description=tracking.swanlab_description,
            mode=os.environ.get("SWANLAB_MODE"),
        )
    failed = True
    try:
        yield
        failed = False
    finally:
        for name in names:
            if name in _END:
                _END[name](import_module(name), failed)
