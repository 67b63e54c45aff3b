"""Rules across the keys of training on preferences, and which of them are ignored."""

from collections.abc import Callable, Iterator

from tunesmith.config.problem import Idle, Problem, at
from tunesmith.errors import did_you_mean
from tunesmith.objectives import OBJECTIVES, find_objective
from tunesmith.sections import Config
from tunesmith.sections.preference import PreferenceSection


def preference_problems(config: Config) -> Iterator[Problem]:
    """Yield the problems between keys of training on preferences."""
    rl, training = config.data.rl, config.training
    if rl is None:
        return
    if rl not in OBJECTIVES:
        yield at("rl", f"`rl: {rl}` is none of {', '.join(OBJECTIVES)}{did_you_mean(rl, OBJECTIVES)}")
        return
    objective = find_objective(rl)
    if config.data.sample_packing:
        yield at("sample_packing", f"`sample_packing: true` and `rl: {rl}`: answers are not packed; set it to false")
    if config.distribution.sharded or config.distribution.deepspeed:
        key = "deepspeed" if config.distribution.deepspeed else "fsdp" if config.distribution.fsdp else "fsdp_config"
        yield at(key, f"`{key}` and `rl: {rl}`: preferences are trained with a whole model on each device; remove it")
    if objective.has_reference and config.adapter.relora:
        yield at("relora", f"`relora: true` changes the base, which `rl: {rl}` compares with; use a plain adapter")
    if training.use_eaft:
        yield at("use_eaft", f"`use_eaft: true` and `rl: {rl}`: use only one; each is a loss of its own")
    for key in sorted(CHANGING & config.preference.model_fields_set - objective.keys):
        yield at(key, f"`{key}` needs {_readers(key)}, found `rl: {rl}`")
    for key, text in objective.find_problems(config):
        yield at(key, text)


CHANGING = frozenset({"dpo_loss_type", "dpo_loss_weights"})
"""Keys that name the loss: an objective that does not read them would train another one, so they are refused."""


def _readers(key: str) -> str:
    return " or ".join(f"`rl: {name}`" for name, objective in OBJECTIVES.items() if key in objective.keys)


def _not_read(key: str) -> Callable[[Config], bool]:
    return lambda config: config.data.rl in OBJECTIVES and key not in find_objective(config.data.rl).keys


def _not_read_by_loss(key: str) -> Callable[[Config], bool]:
    return lambda config: (
        config.data.rl in OBJECTIVES and key in find_objective(config.data.rl).ignored(config.preference)
    )


def _is_set(config: Config) -> bool:
    return config.data.rl is not None


_SECTION = tuple(PreferenceSection.model_fields)
IDLE_PREFERENCE: list[Idle] = [
    (" ".join(_SECTION), lambda c: c.data.rl is None, "there is no `rl`"),
    *((key, _not_read(key), f"only {_readers(key)} reads it") for key in _SECTION if key not in CHANGING),
    *((key, _not_read_by_loss(key), "the loss does not read it") for key in _SECTION),
    ("lora_dropout", _is_set, "dropout is off with `rl`, as in TRL: its noise would count as a preference"),
    ("neftune_noise_alpha", _is_set, "noise is off with `rl`: it would count as a preference"),
    ("train_on_inputs", _is_set, "answers are compared, not prompts"),
]
"""Keys, or how their names begin -> when they are ignored -> why."""
