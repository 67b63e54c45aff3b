"""Where a run is shown and published, besides its own folder."""

from tunesmith.config.sections.section import Section


class TrackingSection(Section):
    """Where metrics and weights go besides `output_dir`: experiment trackers and the Hub."""
