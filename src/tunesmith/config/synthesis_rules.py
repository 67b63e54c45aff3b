"""Rules across the keys of curation and of synthetic rows."""

from collections.abc import Iterator
from pathlib import Path

from tunesmith.config.problem import Problem
from tunesmith.sections import EvaluationSection, SynthesisSection


def synthesis_problems(section: SynthesisSection, evaluation: EvaluationSection) -> Iterator[Problem]:
    """Yield the problems between keys of `curate` and of `generate`."""
    curate, generate = section.curate, section.generate
    for measure, least, most in (
        ("chars", curate.min_chars, curate.max_chars),
        ("tokens", curate.min_tokens, curate.max_tokens),
        ("complexity", curate.min_complexity, curate.max_complexity),
    ):
        if least is not None and most is not None and least > most:
            bounds = f"`min_{measure}: {least:g}` must not be above `max_{measure}: {most:g}`"
            yield ("curate", f"min_{measure}"), f"{bounds}: no row would be kept"
    if generate is None:
        return
    if generate.judge and evaluation.judge is None:
        yield ("generate", "judge"), "`generate.judge: true` needs `judge`: the rubric and its model"
    if Path(generate.output).suffix != ".jsonl":
        yield (
            ("generate", "output"),
            f"`generate.output: {generate.output}` must end in .jsonl, because it is a JSONL file",
        )
    if generate.output == generate.seeds:
        yield (
            ("generate", "output"),
            f"`generate.output: {generate.output}` is also `seeds`, which must not be overwritten",
        )
