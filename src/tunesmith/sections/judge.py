"""The LLM judge: a language model that grades answers by a rubric."""

from typing import Annotated

from tunesmith.sections.endpoint import EndpointSection
from tunesmith.sections.fields import FilePath, OutputPath
from tunesmith.sections.section import Section


class Judge(Section):
    """The `judge:` block: the rubric and the model that grades answers."""

    rubric: Annotated[str, FilePath(inline="\n")]
    """The rubric: the judge's instructions as text, or a file with them."""
    examples: Annotated[str | None, FilePath()] = None
    """JSONL file of few-shot examples: question, answer, critique, outcome (good or bad)."""
    labels: Annotated[str, OutputPath()] = "labels.csv"
    """CSV file of human labels, which `tunesmith label` writes and `tunesmith judge --against` reads."""
    endpoint: EndpointSection
    """The model of the judge."""
