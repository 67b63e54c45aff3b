"""From a sweep file to trials: a checked config for each combination of its values. Nothing runs here."""

import json
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from hashlib import sha256
from itertools import chain, product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.config import overrides, yaml_source
from tunesmith.config.idle import idle
from tunesmith.config.load import load_values
from tunesmith.config.yaml_source import shown
from tunesmith.errors import ConfigError
from tunesmith.sections import Config
from tunesmith.sections.locations import KeyLocations, KeyPath

PAIRS = "_"
"""Key whose value is a list of mappings: values that go together."""

NOT_SWEPT = {
    "output_dir": "each trial has a folder in it",
    "resume_from_checkpoint": "a sweep resumes from the checkpoints of its trials",
    "auto_resume_from_checkpoints": "a sweep resumes from the checkpoints of its trials",
}
"""Key -> why it has no place in a sweep."""

LONGEST_NAME = 100
MOST_TRIALS = 1000


class Trial(NamedTuple):
    """One run of a sweep.

    Attributes:
        name: its values in words, such as `learning_rate=0.0001,lora_r=8`; also the name of its folder.
        values: value of each key of the sweep file.
        config: the config with these values, its `output_dir` below that of the file.
    """

    name: str
    values: dict[str, Any]
    config: Config

    @property
    def output(self) -> Path:
        """Where the trial leaves its weights and its record."""
        return Path(self.config.training.output_dir)


class Setting(NamedTuple):
    """One value of a key, and where it stands in the sweep file."""

    key: str
    value: Any
    location: str

    @property
    def path(self) -> KeyPath:
        """The path of the key in the config."""
        return overrides.key_path(self.key)


def read_sweep(file: str, sweep: str, arguments: Sequence[str] = ()) -> list[Trial]:
    """Return the trials of the config in `file`, in the order of the sweep file; the last key changes fastest.

    Raises:
        ConfigError: names every fault of the sweep file, or else every fault of all configs that it makes.
    """
    options = overrides.parse(arguments)
    choices = _choices(sweep, options)
    if (number := prod(map(len, choices))) > MOST_TRIALS:
        sizes = " x ".join(str(len(groups)) for groups in choices)
        raise ConfigError(f"{sweep}: {sizes} = {number:,} trials; {MOST_TRIALS:,} at most. Take fewer values")
    combinations = [list(chain(*groups)) for groups in product(*choices)]
    return make_trials(file, combinations, options, sweep)


def make_trials(file: str, combinations: list[list[Setting]], options: dict[KeyPath, Any], sweep: str) -> list[Trial]:
    """Return a trial of the config in `file` for each combination of settings, which win over `options`.

    Raises:
        ConfigError: names every fault of the configs; `sweep` is where the settings come from.
    """
    values, marks, repeated = yaml_source.read(file)
    trials: list[Trial] = []
    faults: dict[str, list[str]] = {}
    for settings in combinations:
        name = _name(settings)
        swept_values = {setting.path: setting.value for setting in settings}
        try:
            config = load_values(deepcopy(values), file, deepcopy(options | swept_values), marks, repeated)
            if config.training.resume_from_checkpoint:
                raise ConfigError(f"{file}: remove `resume_from_checkpoint`: {NOT_SWEPT['resume_from_checkpoint']}")
        except ConfigError as error:
            for fault in str(error).splitlines():
                faults.setdefault(_at_setting(fault, settings), []).append(name)
        else:
            for fault in _idle(config, settings):
                faults.setdefault(fault, []).append(name)
            trials.append(Trial(name, {item.key: item.value for item in settings}, _in_folder(config, name)))
    lines = [
        fault + ("" if len(names) == len(combinations) else f" (trial {names[0]}{', and others' * (len(names) > 1)})")
        for fault, names in faults.items()
    ]
    if lines := lines or list(dict.fromkeys(f"{sweep}: {fault}" for fault in _twins(trials))):
        raise ConfigError("\n".join(lines))
    return trials


def _choices(sweep: str, options: dict[KeyPath, Any]) -> list[list[list[Setting]]]:
    """Return for each key of the sweep file what there is to choose from: settings that go together."""
    sweep_values, marks, faults = yaml_source.read(sweep)  # a key that is repeated changes what is swept
    locations = KeyLocations(sweep, marks, {})
    choices: list[list[list[Setting]]] = []
    key_locations = dict.fromkeys(options, "on the command line")
    for key, value in {str(key): value for key, value in sweep_values.items()}.items():
        if fault := _fault(key, value):
            faults.append(f"{locations(key)}: {fault}")
            continue
        entries = value if isinstance(value, list) else [value]
        groups = entries if key == PAIRS else [{key: entry} for entry in entries]
        choices.append(
            [
                [Setting(str(name), item, locations(key, index, str(name))) for name, item in group.items()]
                for index, group in enumerate(groups)
            ]
        )
        for setting in {setting.path: setting for group in choices[-1][::-1] for setting in group}.values():
            faults += _taken(setting, key_locations)
    if faults:
        raise ConfigError("\n".join(faults))
    return choices


def _fault(key: str, value: object) -> str | None:
    """Return what is wrong with the value of a key of the sweep file."""
    if value in (None, [], {}):
        return f"`{key}` has no values; give a list, or remove it"
    if key == PAIRS and not (isinstance(value, list) and all(isinstance(item, dict) and item for item in value)):
        return "`_` takes a list of mappings, such as `- {lora_r: 8, lora_alpha: 16}`"
    if key != PAIRS and isinstance(value, dict):
        return f"`{key}` is a mapping; write `{key}.{next(iter(value))}: [...]`"
    return None


def _taken(setting: Setting, key_locations: dict[KeyPath, str]) -> Iterator[str]:
    """Yield why a key can't be swept, and take it, so that it is not set twice."""
    if reason := NOT_SWEPT.get(str(setting.path[0])):
        yield f"{setting.location}: `{setting.key}` can't be swept: {reason}"
    for path, location in key_locations.items():
        shorter = min(len(path), len(setting.path))
        if path[:shorter] == setting.path[:shorter]:
            yield f"{setting.location}: `{setting.key}` is also set {location}; use only one"
    key_locations[setting.path] = f"at {setting.location}"


def _name(settings: list[Setting]) -> str:
    """Return a name for a folder that says the values and depends on nothing else."""
    text = ",".join(f"{item.key}={_text(item.value)}" for item in settings)
    safe = re.sub(r"[^\w.,=+-]+", "-", text)[:LONGEST_NAME]
    return safe if safe == text else f"{safe}-{sha256(text.encode()).hexdigest()[:8]}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _in_folder(config: Config, name: str) -> Config:
    """Return the config of a trial with an output folder of its own."""
    output = str(Path(config.training.output_dir) / name)
    training = config.training.model_copy(update={"output_dir": output})
    return config.model_copy(update={"training": training, "values": {**config.values, "output_dir": output}})


def _at_setting(fault: str, settings: list[Setting]) -> str:
    """Return a fault with the place in the sweep file, where `load_values` names the option that it takes a key for."""
    for setting in settings:
        option = "--" + ".".join(map(str, setting.path))
        if fault.startswith((f"{option}:", f"{option}.")):
            return f"{setting.location}: {fault.partition(': ')[2]}"
    return fault


def _idle(config: Config, settings: list[Setting]) -> Iterator[str]:
    """Yield the swept keys that change nothing in a trial."""
    reasons = {item.key: item.text for item in config.statuses if item.status == "ignored"}
    for keys, text in idle(config):
        reasons |= {config.locations.renamed.get(key, key): text for key in keys}
    for setting in settings:
        if reason := reasons.get(".".join(map(str, setting.path))):
            yield f"{setting.location}: `{setting.key}: {shown(setting.value)}` would be ignored: {reason}"


def _twins(trials: list[Trial]) -> Iterator[str]:
    """Yield the trials that are the same run as an earlier one, or would push to the same place."""
    names_by_mark: dict[str, str] = {}
    for trial in trials:
        content = json.dumps(trial.config.settings() | {"output_dir": ""}, default=str)
        hub = trial.config.tracking.hub_model_id
        for mark, text in (
            (trial.name, "are the same run"),
            (content, "are the same run"),
            (hub, f"push to the same repository, `hub_model_id: {hub}`"),
        ):
            if mark in names_by_mark:
                yield f"trials {names_by_mark[mark]} and {trial.name} {text}; remove one of the values"
            elif mark:
                names_by_mark[mark] = trial.name
