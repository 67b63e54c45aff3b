"""The sections of a config. A field's name is the YAML key; the text under it is its documentation.

Sections only hold and check single values. Rules across keys are in `rules.py`; keys that have another fate than
being supported are in `keys.py`.
"""

from typing import Any

from tunesmith.sections.adapter import AdapterSection
from tunesmith.sections.data import ROLES, DataSection, Dataset
from tunesmith.sections.distribution import DistributionSection, FsdpConfig
from tunesmith.sections.endpoint import EndpointSection
from tunesmith.sections.evaluation import Evaluation, EvaluationSection
from tunesmith.sections.judge import Judge
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
    """A whole config, checked. Functions take the section that they use; only commands see it whole."""

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
    fates: tuple[Any, ...] = ()
    """What became of every key of the file; see `fates.py`."""
    places: Any = None
    """Gives the place of a key of the file; see `places.py`."""
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
