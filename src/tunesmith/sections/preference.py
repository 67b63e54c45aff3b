"""Training on preferences."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.sections.section import NonNegative, Section

PairLoss = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip
"""Losses of `rl: dpo`, by TRL's names."""


class PreferenceSection(Section):
    """Settings of training on preferences (`rl`)."""

    rl_beta: Annotated[float, Field(gt=0)] = 0.1
    """`beta`: strength of the KL penalty (dpo, ipo, kto), or scale of the preference term (orpo, simpo)."""
    dpo_loss_type: Annotated[list[PairLoss], Field(min_length=1)] = ["sigmoid"]
    """dpo: losses by TRL's names, such as [sigmoid] or [ipo]; several are summed."""
    dpo_loss_weights: list[float] | None = None
    """dpo: weight of each loss in `dpo_loss_type`. Default: 1."""
    dpo_label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """dpo: probability that a preference label is wrong (sigmoid, robust, exo_pair, aot)."""
    dpo_use_weighting: bool = False
    """dpo, ipo: weight each pair by the policy's likelihood of its completions (WPO)."""
    orpo_alpha: Annotated[float, Field(gt=0)] | None = None
    """orpo: weight of the odds-ratio term; another name of `rl_beta`."""
    simpo_gamma: NonNegative = 0.5
    """simpo: target reward margin between chosen and rejected."""
    cpo_alpha: NonNegative = 1.0
    """simpo: weight of the NLL of the chosen completion; 0 is SimPO as published."""
    kto_desirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """kto: weight of desirable completions."""
    kto_undesirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """kto: weight of undesirable completions."""
