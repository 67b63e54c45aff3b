"""The exporters by name. A new one is a file in this folder and a line in `EXPORTERS`."""

from collections.abc import Callable
from pathlib import Path

from tunesmith.errors import ConfigError, RunError, did_you_mean
from tunesmith.export.merged import export_merged
from tunesmith.modeling.precision import Format
from tunesmith.sections import Config

Exporter = Callable[[Config, Path, Format], str]
"""Writes a model in a data type to a folder, and returns a line that says what was written."""

EXPORTERS: dict[str, Exporter] = {"merged": export_merged}


def export_model(name: str, config: Config, folder: Path, dtype: Format) -> str:
    """Export the tuned model of a config with the exporter `name`; return a line about the result.

    Raises:
        ConfigError: there is no such exporter.
        RunError: `folder` is a file, or is not empty.
    """
    if name not in EXPORTERS:
        raise ConfigError(f"no exporter `{name}`{did_you_mean(name, EXPORTERS) or f'; there are {list(EXPORTERS)}'}")
    if folder.is_file():
        raise RunError(f"{folder} is a file; choose a folder with --output DIR")
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty; choose another with --output DIR")
    return EXPORTERS[name](config, folder, dtype)
