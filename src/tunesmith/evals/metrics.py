"""Metrics of answers: plain functions of answer and reference answer, chosen by name."""

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
"""(row, answer, reference) -> a boolean or a number."""


class Metric(NamedTuple):
    """A metric with its name in the config."""

    name: str
    measure: Measure


def exact(answer: str, reference: str) -> bool:
    """Return whether the answer equals the reference answer, without surrounding whitespace."""
    return answer.strip() == reference.strip()


def is_json(answer: str) -> bool:
    """Return whether the complete answer is JSON."""
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return False
    return True


def similarity(answer: str, reference: str) -> float:
    """Return difflib's ratio of the words and punctuation marks of two texts, from 0 to 1."""
    words, reference_words = (re.findall(r"\w+|[^\w\s]", text) for text in (answer, reference))
    return SequenceMatcher(None, words, reference_words, autojunk=False).ratio()


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
    """Return the metrics of `evaluation.metrics`; `exact` always comes first.

    Raises:
        ConfigError: a function is missing, or a package.
    """
    return [Metric(name, _find_measure(name, source)) for name in dict.fromkeys(["exact", *names])]


def _find_measure(name: str, source: str) -> Measure:
    if name.startswith("regex:"):
        pattern = re.compile(name.removeprefix("regex:").strip(), re.DOTALL)
        return lambda row, answer, reference: pattern.search(answer) is not None
    if name not in NAMED:
        return _call_by_names(name, resolve(name, source))
    if name == "chrf" and not find_spec("sacrebleu"):
        raise ConfigError(
            "`evaluation.metrics: chrf` needs sacrebleu: pip install 'tunesmith[metrics]'; or use `similarity`"
        )
    return lambda row, answer, reference: NAMED[name](answer, reference)


def _call_by_names(name: str, function: Callable[..., object]) -> Measure:
    """Return a measure that calls a user's function with the arguments that its parameters name."""
    parameters = inspect.signature(function).parameters

    def measure(row: dict[str, Any], answer: str, reference: str) -> bool | float:
        available = {**row, "row": row, "answer": answer, "reference": reference}
        missing = [key for key, item in parameters.items() if item.default is item.empty and key not in available]
        if missing:
            raise ConfigError(f"`{name}` takes `{missing[0]}`; available are {', '.join(available)}")
        try:
            value = function(**{key: available[key] for key in parameters if key in available})
        except Exception as error:  # the user's code may raise anything
            frame = traceback.extract_tb(error.__traceback__)[-1]
            location = f"{Path(frame.filename).name}:{frame.lineno}"
            raise ConfigError(f"the metric `{name}` failed ({location}): {type(error).__name__}: {error}") from error
        if not isinstance(value, bool | int | float):
            raise ConfigError(f"the metric `{name}` returned {value!r}; expected True, False or a number")
        return value

    return measure
