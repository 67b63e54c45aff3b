"""Full fine-tuning of a part of the weights, chosen by the names of parameters."""

import re
from collections.abc import Sequence
from typing import Any

from tunesmith.errors import ConfigError


def unfreeze(model: Any, patterns: Sequence[str]) -> None:
    """Train only the parameters whose names begin as one of `patterns` says, or the rows of them that it names.

    Patterns are Axolotl's: a dot is a dot, unless + or * follows; `[start:end]` or `[row]` at the end chooses rows.

    Raises:
        ConfigError: a pattern fits no parameter, or its rows are outside of it.
    """
    import torch

    named = list(model.named_parameters(remove_duplicate=False))
    rows: dict[Any, Any] = {}
    model.requires_grad_(False)
    for pattern in patterns:
        name, start, end = _parsed(pattern)
        found = [parameter for other, parameter in named if re.match(name, other)]
        if not found:
            some = ", ".join(other for other, _ in named[:: max(1, len(named) // 4)])
            raise ConfigError(f"`unfrozen_parameters: {pattern}` fits no parameter; some are {some}")
        for parameter in found:
            count = len(parameter)
            if not 0 <= start < (end or count) <= count:
                raise ConfigError(f"`unfrozen_parameters: {pattern}`: that parameter has rows 0 to {count - 1}")
            chosen = rows.setdefault(parameter, torch.zeros(count, dtype=torch.bool))
            chosen[start:end] = True
    for parameter, chosen in rows.items():
        parameter.requires_grad_(True)
        if not chosen.all():
            parameter.register_hook(_keep_rows(chosen))


def _parsed(pattern: str) -> tuple[str, int, int | None]:
    """Return the regular expression of a pattern, and its rows: the first, and that after the last."""
    match = re.fullmatch(r"(.+)\[(\d*)(:?)(\d*)\]", pattern)
    name, first, colon, last = match.groups() if match else (pattern, "", ":", "")
    start = int(first or 0)
    end = int(last) if last else None if colon else start + 1
    try:
        return re.compile(re.sub(r"(?<!\\)\.(?![+*])", r"\\.", name)).pattern, start, end
    except re.error as error:
        raise ConfigError(f"`unfrozen_parameters: {pattern}` is no regular expression: {error}") from error


def _keep_rows(chosen: Any) -> Any:
    """Return a hook that leaves only the gradients of chosen rows."""
    return lambda gradient: gradient * chosen.to(gradient.device).view(-1, *[1] * (gradient.ndim - 1))
