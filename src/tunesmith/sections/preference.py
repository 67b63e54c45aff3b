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
    """How strongly answers are told apart, or (dpo, ipo, kto) how close the model stays to what it was at the start."""
    dpo_loss_type: Annotated[list[PairLoss], Field(min_length=1)] = ["sigmoid"]
    """dpo: losses by TRL's names, such as [sigmoid] or [ipo]; of several, the sum."""
    dpo_loss_weights: list[float] | None = None
    """dpo: weight of each loss in `dpo_loss_type`; by default 1."""
    dpo_label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """dpo: share of pairs that are expected to be the wrong way round (sigmoid, robust, exo_pair, aot)."""
    dpo_use_weighting: bool = False
    """dpo, ipo: weigh each pair by how likely the model is to write its answers (WPO)."""
    orpo_alpha: Annotated[float, Field(gt=0)] | None = None
    """orpo: weight of the odds ratio beside the likelihood of the chosen answer; another name of `rl_beta`."""
    simpo_gamma: NonNegative = 0.5
    """simpo: margin by which the chosen answer should be ahead."""
    cpo_alpha: NonNegative = 1.0
    """simpo: weight of the likelihood of the chosen answer; 0 is SimPO as published."""
    kto_desirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """kto: weight of good completions."""
    kto_undesirable_weight: Annotated[float, Field(gt=0)] = 1.0
    """kto: weight of bad completions."""
