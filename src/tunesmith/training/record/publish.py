"""The result on the Hugging Face Hub: the repository before anything slow, the weights and their card at the end."""

import os
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from tunesmith import __version__
from tunesmith.errors import RunError
from tunesmith.files import write_text
from tunesmith.hub import is_offline, is_reachable
from tunesmith.log import note
from tunesmith.sections import Config, TrackingSection
from tunesmith.sections.tracking import without_secrets
from tunesmith.training.record.run_record import RunRecord
from tunesmith.world import World

NOT_PUSHED = ["checkpoint-*", "_*", "profiler_trace.json", "evaluation/*", "learning-curve/*"]


def hub_arguments(tracking: TrackingSection, world: World) -> dict[str, Any]:
    """Make the repository that the weights are to be pushed to, and return transformers' arguments for it.

    Raises:
        RunError: there is no token, no Hub, or no right to write there.
    """
    name = tracking.hub_model_id
    if not name:
        return {}
    if world.is_main:
        key = f"`hub_model_id: {name}`"
        if is_offline():
            raise RunError(f"{key} and HF_HUB_OFFLINE=1: remove one of them")
        if get_token() is None:
            raise RunError(f"{key} needs a token of the Hub: `hf auth login`, or the variable HF_TOKEN")
        if not is_reachable():
            raise RunError(f"{key}: the Hub does not answer; remove the key, and push later with `hf upload`")
        try:
            api = HfApi(os.environ.get("HF_ENDPOINT"))
            api.create_repo(name, private=True, exist_ok=True)
            if tracking.hub_revision:
                api.create_branch(name, branch=tracking.hub_revision, exist_ok=True)
        except (HfHubHTTPError, HFValidationError) as error:
            raise RunError(f"{key} cannot be pushed to: {_reason(error)}") from error
    return {
        "push_to_hub": True,
        "hub_model_id": name,
        "hub_strategy": tracking.hub_strategy,
        "hub_revision": tracking.hub_revision,
        "hub_private_repo": True,
        "hub_always_push": True,
    }


def publish(config: Config, record: RunRecord) -> None:
    """Push the result, with its record and a card, if the config says so.

    Raises:
        RunError: the Hub did not take it; the weights are in the output folder.
    """
    tracking, output = config.tracking, record.folder.parent
    if not tracking.hub_model_id:
        return
    write_text(output / "README.md", model_card(without_secrets(config.values), record))
    try:
        HfApi(os.environ.get("HF_ENDPOINT")).upload_folder(
            repo_id=tracking.hub_model_id,
            revision=tracking.hub_revision,
            folder_path=output,
            ignore_patterns=NOT_PUSHED,
            commit_message="Trained with Tunesmith",
        )
    except (HfHubHTTPError, OSError) as error:
        raise RunError(
            f"the weights are in {output}, but the Hub did not take them: {_reason(error)}. "
            f"Push them with: hf upload {tracking.hub_model_id} {output}"
        ) from error
    note(f"pushed to {tracking.hub_model_id}" + (f", branch {tracking.hub_revision}" * bool(tracking.hub_revision)))


def model_card(values: dict[str, Any], record: RunRecord) -> str:
    """Return the README of a result: how good it is, and the YAML that made it."""
    base, metrics = str(values["base_model"]), record.metrics()
    about: dict[str, Any] = {"library_name": "peft" if values.get("adapter") else "transformers", "tags": ["tunesmith"]}
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base) and not base.startswith("builtin/") and not Path(base).exists():
        about["base_model"] = base
    lines = [f"Trained from `{base}` with Tunesmith {__version__}."]
    for key, text in (("loss", "Last training loss"), ("eval_loss", "Last eval loss")):
        losses = [entry[key] for entry in metrics if key in entry]
        lines += [f"{text}: {losses[-1]:.4f}."] if losses else []
    head, config = (yaml.safe_dump(item, sort_keys=False, allow_unicode=True) for item in (about, values))
    return (
        f"---\n{head}---\n\n# {record.folder.parent.resolve().name}\n\n" + "\n".join(lines) + "\n\n"
        f"## The config\n\n```yaml\n{config}```\n"
    )


def _reason(error: Exception) -> str:
    message = error.server_message if isinstance(error, HfHubHTTPError) else None
    return message or str(error).strip().splitlines()[0]
