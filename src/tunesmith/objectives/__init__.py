"""Training objectives: a record of each value of `rl`, in a file of its own.

A new objective is a record in a file, and one line in `OBJECTIVES`. Nobody else compares `rl` with names.
"""

from tunesmith.objectives.dpo import DPO, IPO
from tunesmith.objectives.kto import KTO
from tunesmith.objectives.objective import Objective
from tunesmith.objectives.orpo import ORPO
from tunesmith.objectives.sft import SFT
from tunesmith.objectives.simpo import SIMPO

OBJECTIVES: dict[str, Objective] = {"dpo": DPO, "ipo": IPO, "kto": KTO, "orpo": ORPO, "simpo": SIMPO}
"""Value of `rl` -> its record."""


def find_objective(rl: str | None) -> Objective:
    """Return the objective of a value of `rl`, which the config has checked."""
    return OBJECTIVES[rl] if rl else SFT
