"""Supervised fine-tuning: cross-entropy on the tokens in the loss. What files without `rl` train."""

from tunesmith.objectives.objective import Objective

SFT = Objective("sft")
