"""Full fine-tuning of a part of the weights, chosen by the names of parameters."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn


def unfreeze(model: "nn.Module", patterns: Sequence[str]) -> None:
    """Train only the parameters whose names begin as one of `patterns` says, or the rows of them that it names.

    Patterns are Axolotl's: a dot is a dot, unless + or * follows; `[start:end]` or `[row]` at the end chooses rows.

    Raises:
        ConfigError: a pattern fits no parameter, or its rows are outside of it.
    """
    import torch

    named = list(model.named_parameters(remove_duplicate=False))
    rows: dict[nn.Parameter, torch.Tensor] = {}
    model.requires_grad_(False)
    for pattern in patterns:
        name, start, end = _parsed(pattern)
        parameters = [parameter for parameter_name, parameter in named if re.match(name, parameter_name)]
        if not parameters:
            examples = ", ".join(parameter_name for parameter_name, _ in named[:: max(1, len(named) // 4)])
            raise ConfigError(f"`unfrozen_parameters: {pattern}` fits no parameter; some are {examples}")
        for parameter in parameters:
            count = len(parameter)
            if not 0 <= start < (end or count) <= count:
                raise ConfigError(f"`unfrozen_parameters: {pattern}`: that parameter has rows 0 to {count - 1}")
            mask = rows.setdefault(parameter, torch.zeros(count, dtype=torch.bool))
            mask[start:end] = True
    for parameter, mask in rows.items():
        parameter.requires_grad_(True)
        if not mask.all():
            parameter.register_hook(_keep_rows(mask))


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


def _keep_rows(mask: "torch.Tensor") -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """Return a hook that leaves only the gradients of chosen rows."""
    return lambda gradient: gradient * mask.to(gradient.device).view(-1, *[1] * (gradient.ndim - 1))
