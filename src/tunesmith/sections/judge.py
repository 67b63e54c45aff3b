"""The judge: a language model that criticises answers by a rubric."""

from typing import Annotated

from tunesmith.sections.endpoint import EndpointSection
from tunesmith.sections.fields import FilePath, OutputPath
from tunesmith.sections.section import Section


class Judge(Section):
    """The `judge:` block: by what rubric another model says whether an answer is good."""

    rubric: Annotated[str, FilePath(inline="\n")]
    """What makes an answer good or bad: the text itself, or the file that holds it."""
    examples: Annotated[str | None, FilePath()] = None
    """JSONL file of critiques to learn from: question, answer, critique, outcome (good or bad)."""
    labels: Annotated[str, OutputPath()] = "labels.csv"
    """CSV file of a person's labels, which `tunesmith label` writes and `tunesmith judge --against` reads."""
    endpoint: EndpointSection
    """The model that judges."""
