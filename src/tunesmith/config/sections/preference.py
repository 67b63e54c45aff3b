"""Training on preferences."""

from tunesmith.config.sections.section import Section


class PreferenceSection(Section):
    """Settings of training on preferences (`rl`)."""
