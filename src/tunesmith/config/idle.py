"""Keys that are supported but ignored in this run, because of other keys.

Most follow from the markers of their fields (`OnlyFor`, `IgnoredIf`); here are those that take more than that.
"""

from collections.abc import Callable, Iterator
from glob import has_magic
from pathlib import Path
from typing import Any

from tunesmith.config.conditions import ignored_by_markers
from tunesmith.config.data_rules import IDLE_DATA
from tunesmith.config.preference_rules import IDLE_PREFERENCE
from tunesmith.config.problem import Idle
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.answers import PREFERENCES, find_preference_format
from tunesmith.objectives import OBJECTIVES
from tunesmith.references import resolve_file
from tunesmith.sections import Config, Dataset
from tunesmith.sections.locations import KeyPath


def _tracker_off(tracker: str) -> Callable[[Config], bool]:
    return lambda config: not config.tracking.wants(tracker)


def _splits(config: Config) -> bool:
    return config.distribution.sharded or bool(config.distribution.deepspeed)


IDLE: list[Idle] = [
    ("mean_resizing_embeddings", lambda c: not c.model.changes_vocabulary, "no key adds tokens"),
    (
        "revision_of_model",
        lambda c: c.model.base_model.startswith("builtin/") or Path(c.model.base_model).is_dir(),
        "`base_model` is not a repository of the Hub",
    ),
    ("fsdp_version dp_shard_size dp_replicate_size", lambda c: not c.distribution.sharded, "FSDP is off"),
    ("ddp_bucket_cap_mb ddp_broadcast_buffers", _splits, "FSDP and DeepSpeed exchange gradients themselves"),
    ("wandb_", _tracker_off("wandb"), "W&B is off; `use_wandb: true` or `wandb_project` switches it on"),
    ("mlflow_ hf_mlflow_", _tracker_off("mlflow"), "MLflow is off; `use_mlflow: true` switches it on"),
    ("comet_", _tracker_off("comet_ml"), "Comet is off; `use_comet: true` switches it on"),
    ("trackio_", _tracker_off("trackio"), "Trackio is off; `use_trackio: true` switches it on"),
    ("swanlab_", _tracker_off("swanlab"), "SwanLab is off; `use_swanlab: true` switches it on"),
    (
        "mlflow_run_name trackio_run_name",
        lambda c: c.tracking.wants("wandb") and bool(c.tracking.wandb_name),
        "`wandb_name` is the name of the run for every tracker",
    ),
    *IDLE_PREFERENCE,
    *IDLE_DATA,
]
"""Keys, or how their names begin -> when they are ignored -> why, where it takes more than a marker of the field."""

_RECORDS = [*FORMATS.values(), *(record for formats in PREFERENCES.values() for record in formats.values())]
TYPE_KEYS = frozenset().union(*(record.keys or () for record in _RECORDS))
"""Keys of an entry of `datasets` that not every type reads; the record of a type has those that it reads."""


def fits(key: str, names: str) -> bool:
    """Return whether a key is one of `names`, of which those with `_` at the end stand for all that begin so."""
    return any(key == name or (name.endswith("_") and key.startswith(name)) for name in names.split())


def idle(config: Config) -> Iterator[tuple[list[str], str]]:
    """Yield keys that the file sets and that are ignored in this run, with the reason."""
    order = list(config.values)
    for reason, keys in _idle_settings(config).items():
        yield sorted(dict.fromkeys(keys), key=lambda key: order.index(key.partition(".")[0])), reason
    for name, entries in (("datasets", config.data.datasets), ("test_datasets", config.data.test_datasets)):
        for index, entry in enumerate(entries):
            for names, reason in _idle_in(entry, config, is_test=name == "test_datasets"):
                if keys := [f"{name}.{index}.{key}" for key in names.split() if key in entry.model_fields_set]:
                    yield keys, reason


def _idle_settings(config: Config) -> dict[str, list[str]]:
    """Return the ignored keys by their reason, except those of datasets that their type does not read."""
    keys_by_reason: dict[str, list[str]] = {}
    for path, reason in ignored_by_markers(config):
        if _is_set(config.values, path):
            keys_by_reason.setdefault(reason, []).append(".".join(map(str, path)))
    for names, when, reason in IDLE:
        keys = [key for key in config.values if _is_set(config.values, (key,)) and fits(key, names)]
        if keys and when(config):
            keys_by_reason.setdefault(reason, []).extend(keys)
    return keys_by_reason


def _is_set(values: Any, path: KeyPath) -> bool:
    """Return whether the file has a value at `path` that switches something on."""
    for part in path:
        if isinstance(values, dict) and part not in values:
            return False
        values = values[part]
    return values not in (False, None, "", [], {})


def idle_keys(config: Config) -> list[str]:
    """Return a line for each reason why keys that the file sets are ignored."""
    return [f"{', '.join(f'`{key}`' for key in keys)}: ignored: {reason}" for keys, reason in idle(config)]


def _idle_in(entry: Dataset, config: Config, *, is_test: bool) -> Iterator[tuple[str, str]]:
    """Yield keys of one dataset that its type or its path does not use; a custom type may use all."""
    keys_read = _keys_read(entry, config.data.rl)
    if keys_read is not None:
        unread = [key for key in Dataset.model_fields if key in TYPE_KEYS - keys_read]
        yield " ".join(unread), f"`type: {entry.kind}` does not read it"
    path = Path(resolve_file(entry.path, config.source))
    names = "revision" if is_test else "name revision"  # `name` is that of the loss too
    is_pattern = "://" not in entry.path and has_magic(entry.path) and not path.exists()
    if path.is_file() or "://" in entry.path or is_pattern:
        is_part = entry.split in (None, "train") or "[" in str(entry.split)
        kind = "a pattern" if is_pattern else "a single file"
        yield f"{names} data_files{'' if is_part else ' split'}", f"`path` is {kind}"
    elif path.is_dir():
        has_card = (path / "README.md").is_file()  # its `configs` have names
        yield "revision" if has_card else names, "`path` is a folder"


def _keys_read(entry: Dataset, rl: str | None) -> frozenset[str] | None:
    """Return the keys that the type of a dataset reads; None if it may read all, or if its type is not known yet."""
    if rl and rl not in OBJECTIVES:
        return None
    record = find_preference_format(entry.kind, rl) if rl else FORMATS.get(entry.kind)
    return record.keys if record else None
