"""The sections of a config. A field's name is the YAML key; the text under it is its documentation.

Sections hold and check single values; markers of their fields (`fields.py`) say what a key is and how it depends on
others. Further rules are in `config/`, with renamed (`keys.py`), ignored and refused keys (`key_status.tsv`).
"""

from typing import Any

from pydantic import ConfigDict

from tunesmith.sections.adapter import AdapterSection
from tunesmith.sections.data import ROLES, DataSection, Dataset
from tunesmith.sections.distribution import DistributionSection, FsdpConfig
from tunesmith.sections.endpoint import EndpointSection
from tunesmith.sections.evaluation import Evaluation, EvaluationSection
from tunesmith.sections.judge import Judge
from tunesmith.sections.locations import KeyLocations, KeyStatus
from tunesmith.sections.model import ModelSection, SpecialTokens
from tunesmith.sections.preference import PreferenceSection
from tunesmith.sections.section import Section
from tunesmith.sections.synthesis import Curate, Generate, SynthesisSection
from tunesmith.sections.tracking import TrackingSection
from tunesmith.sections.training import TrainingSection

__all__ = [
    "OWNER",
    "ROLES",
    "SECTIONS",
    "AdapterSection",
    "Config",
    "Curate",
    "DataSection",
    "Dataset",
    "DistributionSection",
    "EndpointSection",
    "Evaluation",
    "EvaluationSection",
    "FsdpConfig",
    "Generate",
    "Judge",
    "ModelSection",
    "PreferenceSection",
    "Section",
    "SpecialTokens",
    "SynthesisSection",
    "TrackingSection",
    "TrainingSection",
]


class Config(Section):
    """A complete config, checked. Functions take the section that they use; only commands take all of it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    model: ModelSection
    adapter: AdapterSection
    data: DataSection
    training: TrainingSection
    evaluation: EvaluationSection
    preference: PreferenceSection
    distribution: DistributionSection
    tracking: TrackingSection
    synthesis: SynthesisSection
    values: dict[str, Any]
    """The keys that the user set, resolved, for the record of a run."""
    statuses: tuple[KeyStatus, ...] = ()
    """The status of every key of the file."""
    locations: KeyLocations
    """Gives the location of a key of the file."""
    notes: tuple[str, ...] = ()
    """What happened to keys that are not taken as they stand, to be printed."""

    def settings(self, *, exclude_unset: bool = False) -> dict[str, Any]:
        """Return the value of every key, in the order of the sections."""
        values = self.model_dump(include=set(SECTIONS), exclude_unset=exclude_unset)
        return {key: value for name in SECTIONS for key, value in values[name].items()}


SECTIONS: dict[str, type[Section]] = {
    "model": ModelSection,
    "adapter": AdapterSection,
    "data": DataSection,
    "training": TrainingSection,
    "evaluation": EvaluationSection,
    "preference": PreferenceSection,
    "distribution": DistributionSection,
    "tracking": TrackingSection,
    "synthesis": SynthesisSection,
}

OWNER = {key: name for name, section in SECTIONS.items() for key in section.model_fields}
"""Key -> name of its section."""
