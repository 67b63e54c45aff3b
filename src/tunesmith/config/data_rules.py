"""Rules across the keys of data and of several devices; and which of them change nothing."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tunesmith.config.problem import Idle, Problem, at
from tunesmith.config.yaml_source import quotes_advice, shown
from tunesmith.data.formats import FORMATS, is_custom, unknown_type
from tunesmith.data.formats.answers import PREFERENCES, find_preference_format, unknown_preference_type
from tunesmith.data.formats.format import Format
from tunesmith.data.formats.instruct import MAPPING_KEYS
from tunesmith.data.formats.preference import MAPPING_KEYS as PREFERENCE_MAPPING_KEYS
from tunesmith.errors import did_you_mean
from tunesmith.objectives import OBJECTIVES, find_objective
from tunesmith.sections import Config, DataSection, Dataset, DistributionSection
from tunesmith.sections.types import template_fault


def data_problems(data: DataSection) -> Iterator[Problem]:
    """Yield the problems between keys of data."""
    if data.min_sample_len > data.sequence_len:
        sentence = f"`min_sample_len: {data.min_sample_len}` must not be above `sequence_len: {data.sequence_len}`"
        yield at("min_sample_len", sentence)
    if data.streaming and data.train_share < 1:
        sentence = f"`streaming: true` and `train_share: {data.train_share:g}`"
        yield at("train_share", f"{sentence}: a stream is read only as far as `max_steps` needs; lower `max_steps`")
    yield from _parts(data)


def _parts(data: DataSection) -> Iterator[Problem]:
    number, index = data.dataset_shard_num, data.dataset_shard_idx
    if number is not None and index is not None and index >= number:
        yield at("dataset_shard_idx", f"`dataset_shard_idx: {index}` must be below `dataset_shard_num: {number}`")
    for name, entries in (("datasets", data.datasets), ("test_datasets", data.test_datasets)):
        for position, entry in enumerate(entries):
            shard, key = f"`shards_idx: {entry.shards_idx}`", (name, position, "shards_idx")
            if fault := _type_problem(entry, data.rl):
                yield (name, position, "type", *filter(None, fault[:1])), fault[1]
            if text := template_fault(entry.chat_template):
                yield (name, position, "chat_template"), text
            if entry.shards is not None and entry.shards_idx >= entry.shards:
                yield key, f"{shard} must be below `shards: {entry.shards}`"


def distribution_problems(section: DistributionSection) -> Iterator[Problem]:
    """Yield the problems between keys of distribution."""
    block, version = section.fsdp_config, section.fsdp_version
    if section.sharded and section.deepspeed:
        key = "fsdp" if section.fsdp else "fsdp_config"
        yield at("deepspeed", f"`deepspeed` and `{key}`: use only one; both shard the model")
    if version is not None and block.fsdp_version not in (None, version):
        yield at(
            "fsdp_version",
            f"`fsdp_version: {version}` and `fsdp_config.fsdp_version: {block.fsdp_version}`: use only one",
        )
    reshards = {"full_shard": True, "shard_grad_op": False}.get(block.sharding_strategy or "")
    if None not in (reshards, block.reshard_after_forward) and reshards != block.reshard_after_forward:
        setting = f"`reshard_after_forward: {str(block.reshard_after_forward).lower()}`"
        yield at("fsdp_config", f"{setting} and `sharding_strategy: {block.sharding_strategy}`: use only one")


def _type_problem(entry: Dataset, rl: str | None) -> tuple[str, str] | None:
    """Return a key inside `type` (or nothing) and what is wrong there; None if the type is known."""
    if rl is not None and rl not in OBJECTIVES:  # an error of its own
        return None
    group, kind = find_objective(rl).rows, entry.kind
    if isinstance(entry.type, dict):
        return _mapping_problem(entry.type, rl, PREFERENCE_MAPPING_KEYS.get(group, ()) if group else MAPPING_KEYS)
    if not kind:
        return None
    if rl and group:
        return None if find_preference_format(kind, rl) else ("", unknown_preference_type(kind, rl))
    if kind in FORMATS or is_custom(kind):
        return None
    if any(kind in formats for formats in PREFERENCES.values()):
        return "", f"`datasets.type: {kind}` is for preference data; set `rl: dpo` (or another)"
    return "", unknown_type(kind)


def _mapping_problem(mapping: dict[str, Any], rl: str | None, known_keys: Sequence[str]) -> tuple[str, str] | None:
    for key, value in mapping.items():
        if key not in known_keys:
            names = f"known are {', '.join(known_keys)}" if known_keys else f"`rl: {rl}` takes no mapping"
            return key, f"unknown key `{key}` in `datasets.type`; {names}{did_you_mean(str(key), known_keys)}"
        if advice := quotes_advice(value):
            return key, f"`{key}` in `datasets.type` expects text, found {shown(value)}{advice}"
    return None


def _has_no_prompt(config: Config) -> bool:
    return all(entry.kind in FORMATS and FORMATS[entry.kind].trained_whole for entry in config.data.datasets)


def _no_dataset(may_read: Callable[[Format], bool]) -> Callable[[Config], bool]:
    """Return the condition that no dataset is of a type that may read a key; one without a type may be any."""

    def none(config: Config) -> bool:
        kinds = {entry.kind for entry in (*config.data.datasets, *config.data.test_datasets)}
        return (
            config.data.rl is None
            and "" not in kinds
            and not any(may_read(FORMATS[kind]) for kind in kinds if kind in FORMATS)
        )

    return none


IDLE_DATA: list[Idle] = [
    ("train_on_inputs", _has_no_prompt, "the rows have no prompt to mask"),
    (
        "chat_template chat_template_ eot_tokens",
        _no_dataset(lambda record: record.templated),
        "no dataset uses a chat template",
    ),
    (
        "default_system_message",
        _no_dataset(lambda record: "default_system_message" in (record.keys or ())),
        "only with `type: sharegpt`",
    ),
]
"""Keys, or how their names begin -> when they change nothing -> why."""
