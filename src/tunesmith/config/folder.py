"""A folder of weights as a config: a run's output, a checkpoint of it, or a merged model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tunesmith.config import overrides
from tunesmith.config.load import load_values
from tunesmith.config.local_paths import ALLOWED
from tunesmith.config.model_rules import IN_SAVED
from tunesmith.errors import ConfigError
from tunesmith.sections import AdapterSection, Config
from tunesmith.sections.adapter import FROM_SAVED

_ADAPTER_KEYS = ("adapter", "lora_", "peft", "relora", "load_in_", "bnb_config", "model_quantization")


def _find_record(folder: Path) -> Path:
    """Return the config of the run that made a folder of weights, in it or beside it."""
    for file in (folder / "run/config.yml", folder.parent / "run/config.yml"):
        if file.exists():
            return file
    raise ConfigError(
        f"{folder} has no run/config.yml; name the YAML file, with --lora-model-dir or --base-model {folder}"
    )


def _find_moved(name: str, source: str, record: Path) -> str:
    """Return a model's relative path as seen from the config, or from a folder around the run, if it is not here."""
    if Path(name).is_absolute() or Path(name).exists():
        return name
    folders = [Path(source).parent, *record.absolute().parents]
    return next((str(folder / name) for folder in folders if (folder / name).is_dir()), name)


def load_folder(folder: str, arguments: Sequence[str] = ()) -> Config:
    """Return the config that made the weights in `folder`, changed so that it uses them.

    Raises:
        ConfigError: the folder holds neither an adapter nor a model, or has no record of the config.
    """
    path = Path(folder)
    has_adapter = (path / "adapter_config.json").exists()
    if not has_adapter and not (path / "config.json").exists():
        raise ConfigError(
            f"{folder} has no adapter_config.json and no config.json: it is neither an adapter nor a model"
        )
    record = _find_record(path)
    values: dict[str, Any] = yaml.safe_load(record.read_text())
    run_file = record.with_name("run.json")
    run_record = json.loads(run_file.read_text()) if run_file.exists() else {"source": str(record)}
    for key in ("resume_from_checkpoint", "auto_resume_from_checkpoints"):
        values.pop(key, None)
    if has_adapter:
        from_saved = {key for key, field in AdapterSection.model_fields.items() if FROM_SAVED in field.metadata}
        values = {key: value for key, value in values.items() if key not in from_saved | IN_SAVED.keys()}
        values |= {"lora_model_dir": folder, "output_dir": str(record.parent.parent)}
    else:
        values = {key: value for key, value in values.items() if not key.startswith(_ADAPTER_KEYS)}
        values |= {"output_dir": folder, "tokenizer_config": folder}
    for key in ("base_model", "base_model_config", "tokenizer_config"):
        if key in values:
            values[key] = _find_moved(values[key], run_record["source"], record)
    return load_values(
        values, run_record["source"], {**overrides.parse(arguments), ALLOWED: True}
    )  # Tunesmith wrote the record
