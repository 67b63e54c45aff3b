"""Keys that are supported but change nothing in this run, because another key makes them idle."""

from collections.abc import Callable, Iterator

from tunesmith.config.sections import Config

When = Callable[[Config], bool]

IDLE: list[tuple[str, When, str]] = [
    ("lora_ peft_", lambda c: c.adapter.adapter is None, "there is no `adapter`, all weights are trained"),
]
"""Keys, or how their names begin -> when they change nothing -> why."""


def idle_keys(config: Config) -> list[str]:
    """Return a line for each reason why keys that the file sets change nothing."""
    lines = []
    for names, when, why in IDLE:
        idle = [f"`{key}`" for key in _set_keys(config) if key.startswith(tuple(names.split()))]
        if idle and when(config):
            lines.append(f"{', '.join(idle)}: without effect: {why}")
    return lines


def _set_keys(config: Config) -> Iterator[str]:
    """The keys of the file that ask for something."""
    return (key for key, value in config.values.items() if value not in (False, "", [], {}))
