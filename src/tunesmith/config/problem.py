"""What the rules across keys say: a problem at a key, or when keys change nothing."""

from collections.abc import Callable

from tunesmith.sections import Config
from tunesmith.sections.locations import KeyPath

Problem = tuple[KeyPath, str]
"""The key at which the problem is shown, and the text."""
Idle = tuple[str, Callable[[Config], bool], str]
"""Keys, or how their names begin; when they change nothing; why."""


def at(key: str, text: str) -> Problem:
    """Return the problem of a key of the top level."""
    return (key,), text
