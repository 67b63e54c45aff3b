"""What answers are measured by besides the assertions: plain functions of answer and reference, chosen by name."""

import inspect
import json
import re
import traceback
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.errors import ConfigError
from tunesmith.references import resolve

Measure = Callable[[dict[str, Any], str, str], bool | float]
"""(row, answer, reference) -> a verdict or a number."""


class Metric(NamedTuple):
    """A measure under the name that the config has for it."""

    name: str
    measure: Measure


def exact(answer: str, reference: str) -> bool:
    """Return whether the answer is the row's own, spaces around it aside."""
    return answer.strip() == reference.strip()


def is_json(answer: str) -> bool:
    """Return whether the whole answer is JSON."""
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return False
    return True


def similarity(answer: str, reference: str) -> float:
    """Return the share of words and marks that two texts have in common in the same order: difflib's ratio, 0 to 1."""
    words, expected = (re.findall(r"\w+|[^\w\s]", text) for text in (answer, reference))
    return SequenceMatcher(None, words, expected, autojunk=False).ratio()


def chrf(answer: str, reference: str) -> float:
    """Return sacrebleu's chrF of one answer, from 0 to 1."""
    import sacrebleu

    return float(sacrebleu.sentence_chrf(answer, [reference]).score) / 100


NAMED: dict[str, Callable[[str, str], bool | float]] = {
    "exact": exact,
    "json": lambda answer, reference: is_json(answer),
    "similarity": similarity,
    "chrf": chrf,
}


def load_metrics(names: Sequence[str], source: str) -> list[Metric]:
    """Return the metrics that `evaluation.metrics` names, `exact` first in any case.

    Raises:
        ConfigError: a function is missing, or a package.
    """
    return [Metric(name, _measure(name, source)) for name in dict.fromkeys(["exact", *names])]


def _measure(name: str, source: str) -> Measure:
    if name.startswith("regex:"):
        pattern = re.compile(name.removeprefix("regex:").strip(), re.DOTALL)
        return lambda row, answer, reference: pattern.search(answer) is not None
    if name not in NAMED:
        return _own(name, resolve(name, source))
    if name == "chrf" and not find_spec("sacrebleu"):
        raise ConfigError(
            "`evaluation.metrics: chrf` needs sacrebleu: pip install 'tunesmith[metrics]'; or take `similarity`"
        )
    return lambda row, answer, reference: NAMED[name](answer, reference)


def _own(name: str, function: Callable[..., Any]) -> Measure:
    """Return the measure that calls a user's function with the arguments that it names."""
    wanted = inspect.signature(function).parameters

    def measure(row: dict[str, Any], answer: str, reference: str) -> bool | float:
        known = {**row, "row": row, "answer": answer, "reference": reference}
        missing = [key for key, item in wanted.items() if item.default is item.empty and key not in known]
        if missing:
            raise ConfigError(f"`{name}` takes `{missing[0]}`; known here are {', '.join(known)}")
        try:
            value = function(**{key: known[key] for key in wanted if key in known})
        except Exception as error:  # it is the user's own code: it may raise anything
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}:{frame.lineno}"
            raise ConfigError(f"the metric `{name}` is at fault ({place}): {type(error).__name__}: {error}") from error
        if not isinstance(value, bool | int | float):
            raise ConfigError(f"the metric `{name}` returned {value!r}; it returns True, False or a number")
        return value

    return measure
