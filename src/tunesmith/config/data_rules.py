"""Rules across the keys of data and of several devices; and which of them change nothing."""

from collections.abc import Callable, Iterator

from tunesmith.config.problem import Idle, Problem, at
from tunesmith.objectives import OBJECTIVES, find_objective
from tunesmith.sections import Config, DataSection, DistributionSection
from tunesmith.sections.types import template_fault, type_fault


def data_problems(data: DataSection) -> Iterator[Problem]:
    """Yield the problems between keys of data."""
    if data.min_sample_len > data.sequence_len:
        both = f"`min_sample_len: {data.min_sample_len}` must not be over `sequence_len: {data.sequence_len}`"
        yield at("min_sample_len", both)
    if data.streaming and data.train_share < 1:
        both = f"`streaming: true` and `train_share: {data.train_share:g}`"
        yield at("train_share", f"{both}: a stream is read only as far as `max_steps` takes it; lower `max_steps`")
    yield from _parts(data)


def _parts(data: DataSection) -> Iterator[Problem]:
    number, index = data.dataset_shard_num, data.dataset_shard_idx
    if number is not None and index is not None and index >= number:
        yield at("dataset_shard_idx", f"`dataset_shard_idx: {index}` must be below `dataset_shard_num: {number}`")
    is_known = data.rl is None or data.rl in OBJECTIVES  # an unknown objective is an error of its own
    for name, entries in (("datasets", data.datasets), ("test_datasets", data.test_datasets)):
        for place, entry in enumerate(entries):
            shard, key = f"`shards_idx: {entry.shards_idx}`", (name, place, "shards_idx")
            if is_known and (fault := type_fault(entry, data.rl, find_objective(data.rl).rows)):
                yield (name, place, "type", *filter(None, fault[:1])), fault[1]
            if text := template_fault(entry.chat_template):
                yield (name, place, "chat_template"), text
            if entry.shards is not None and entry.shards_idx >= entry.shards:
                yield key, f"{shard} must be below `shards: {entry.shards}`"


def distribution_problems(section: DistributionSection) -> Iterator[Problem]:
    """Yield the problems between keys of distribution."""
    block, version = section.fsdp_config, section.fsdp_version
    if section.sharded and section.deepspeed:
        key = "fsdp" if section.fsdp else "fsdp_config"
        yield at("deepspeed", f"`deepspeed` and `{key}`: use only one; both split the model over GPUs")
    if version is not None and block.fsdp_version not in (None, version):
        yield at(
            "fsdp_version",
            f"`fsdp_version: {version}` and `fsdp_config.fsdp_version: {block.fsdp_version}`: use only one",
        )
    frees = {"full_shard": True, "shard_grad_op": False}.get(block.sharding_strategy or "")
    if None not in (frees, block.reshard_after_forward) and frees != block.reshard_after_forward:
        one = f"`reshard_after_forward: {str(block.reshard_after_forward).lower()}`"
        yield at("fsdp_config", f"{one} and `sharding_strategy: {block.sharding_strategy}`: use only one")


def _whole(config: Config) -> bool:
    """Whether the rows of all datasets are trained whole, or say themselves what is."""
    kinds = ("completion", "pretrain", "stepwise_supervised", "pretokenized")
    return all(entry.kind in kinds for entry in config.data.datasets)


def _no_kind(*kinds: str) -> Callable[[Config], bool]:
    """Return whether no dataset is of a type that begins like one of `kinds`; one without a type may be any."""

    def none(config: Config) -> bool:
        entries = [*config.data.datasets, *config.data.test_datasets]
        return config.data.rl is None and not any(not entry.kind or entry.kind.startswith(kinds) for entry in entries)

    return none


_CHATS = ("chat_template", "prompt_completion")
IDLE_DATA: list[Idle] = [
    ("train_on_inputs", _whole, "the rows have no prompt that could be left out"),
    ("chat_template chat_template_ eot_tokens", _no_kind(*_CHATS), "no dataset is laid out by a chat template"),
    ("default_system_message", _no_kind("sharegpt", "instruct"), "only `type: sharegpt` reads it"),
]
"""Keys, or how their names begin -> when they change nothing -> why."""
