"""How a run is spread over devices."""

from tunesmith.config.sections.section import Section


class DistributionSection(Section):
    """How a run is spread over several devices. In one process these keys change nothing."""
