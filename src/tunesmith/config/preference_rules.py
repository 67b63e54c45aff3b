"""Rules across the keys of training on preferences, and which of them change nothing."""

from collections.abc import Callable, Iterator

from tunesmith.config.problem import Idle, Problem, at
from tunesmith.sections import Config

REFERENCED = ("dpo", "ipo", "kto")
"""Values of `rl` that compare the model with what it was at the start."""
SMOOTHED = {"sigmoid", "robust", "exo_pair", "aot", "aot_unpaired"}
"""Losses that read `dpo_label_smoothing`."""


def preference_problems(config: Config) -> Iterator[Problem]:
    """Yield the problems between keys of training on preferences."""
    rl, section, training = config.data.rl, config.preference, config.training
    if rl is None:
        return
    given = section.model_fields_set
    if config.data.sample_packing:
        yield at("sample_packing", f"`sample_packing: true` and `rl: {rl}`: answers are not packed; set it to false")
    if config.distribution.sharded or config.distribution.deepspeed:
        key = "deepspeed" if config.distribution.deepspeed else "fsdp" if config.distribution.fsdp else "fsdp_config"
        yield at(key, f"`{key}` and `rl: {rl}`: preferences are trained with a whole model on each device; remove it")
    if rl == "kto" and training.micro_batch_size < 2:
        yield at(
            "micro_batch_size", "`rl: kto` compares the rows of a batch; `micro_batch_size: 1` holds one. Set 2 or more"
        )
    if rl in REFERENCED and config.adapter.relora:
        yield at("relora", f"`relora: true` changes the base, which `rl: {rl}` compares with; use a plain adapter")
    if training.use_eaft:
        yield at("use_eaft", f"`use_eaft: true` and `rl: {rl}`: use only one; each is a loss of its own")
    if training.metric_for_best_model.endswith("perplexity"):
        yield at(
            "metric_for_best_model",
            f"`metric_for_best_model: {training.metric_for_best_model}` is not measured with `rl: {rl}`; use eval_loss",
        )
    if rl == "orpo" and {"rl_beta", "orpo_alpha"} <= given:
        yield at("orpo_alpha", f"`rl_beta: {section.rl_beta}` and `orpo_alpha: {section.orpo_alpha}`: use only one")
    if rl != "dpo":
        for key in sorted({"dpo_loss_type", "dpo_loss_weights"} & given):
            yield at(key, f"`{key}` needs `rl: dpo`, found `rl: {rl}`")
        return
    losses, weights = section.dpo_loss_type, section.dpo_loss_weights
    if weights is not None and len(weights) != len(losses):
        yield at(
            "dpo_loss_weights", f"`dpo_loss_weights: {weights}` needs as many losses in `dpo_loss_type`, found {losses}"
        )
    if "exo_pair" in losses and not section.dpo_label_smoothing:
        yield at("dpo_loss_type", "`dpo_loss_type: [exo_pair]` needs `dpo_label_smoothing` above 0, such as 0.001")
    if section.dpo_use_weighting and (sorted_ones := {"aot", "aot_unpaired"} & set(losses)):
        yield at(
            "dpo_use_weighting",
            f"`dpo_use_weighting: true` weighs pairs, which `dpo_loss_type: {sorted(sorted_ones)}` takes apart",
        )


def _other(*kinds: str) -> Callable[[Config], bool]:
    return lambda config: config.data.rl is not None and config.data.rl not in kinds


IDLE_PREFERENCE: list[Idle] = [
    ("rl_beta orpo_ simpo_ cpo_ kto_ dpo_", lambda c: c.data.rl is None, "there is no `rl`"),
    ("orpo_alpha", _other("orpo"), "only `rl: orpo` reads it"),
    ("simpo_gamma cpo_alpha", _other("simpo"), "only `rl: simpo` reads it"),
    ("kto_", _other("kto"), "only `rl: kto` reads it"),
    ("dpo_use_weighting", _other("dpo", "ipo"), "only `rl: dpo` and `rl: ipo` read it"),
    (
        "dpo_label_smoothing",
        lambda c: c.data.rl is not None and (c.data.rl != "dpo" or not SMOOTHED & set(c.preference.dpo_loss_type)),
        "the loss does not read it",
    ),
    ("lora_dropout", _other(), "dropout is off with `rl`, as in TRL: its noise would count as a preference"),
    ("train_on_inputs", _other(), "answers are compared, not prompts"),
]
"""Keys, or how their names begin -> when they change nothing -> why."""
