"""Which rows are worth training on, and rows that a model makes."""

from typing import Annotated

from pydantic import Field

from tunesmith.config.sections.section import Count, Section

Likeness = Annotated[float, Field(ge=0.5, le=1)]


class Curate(Section):
    """The `curate:` block: what `tunesmith curate` leaves out of the training rows.

    A column is one of the rows, or `prompt` or `answer`: what a row asks and what it answers, whatever its type.
    """

    output: str = "curated"
    """Folder of the kept rows and the manifest."""
    dedup_keys: list[Annotated[list[str], Field(min_length=1)]] = [["prompt", "answer"]]
    """Lists of columns: of rows that are equal in all columns of a list, but for case and whitespace, the first stays."""
    near_duplicates: Likeness | None = 0.8
    """Share of runs of five words from which two rows are nearly the same; null: do not look."""
    columns: Annotated[list[str], Field(min_length=1)] = ["prompt", "answer"]
    """Columns whose text counts for near duplicates, length and complexity."""
    leak_columns: list[str] = ["prompt"]
    """Columns in which a training row may not be the same, or nearly, as a row to evaluate on; empty: do not look."""
    min_chars: Count | None = None
    """Shortest text, in characters."""
    max_chars: Count | None = None
    """Longest text, in characters."""
    min_tokens: Count | None = None
    """Shortest text, in tokens of the model, without what the chat template adds."""
    max_tokens: Count | None = None
    """Longest text, in tokens."""
    complexity: str | None = None
    """`file.py:function` that takes a row and returns a number; by default the number of different words."""
    min_complexity: float | None = None
    """Least complexity."""
    max_complexity: float | None = None
    """Greatest complexity."""
    assertions: str | None = None
    """Python file whose `test_*` functions a row's own answer must pass."""
    keep: list[str] = []
    """Rules that leave out nothing, such as near-duplicate; what they would have left out is still in the manifest."""


class SynthesisSection(Section):
    """Curation of rows, and rows that are made."""

    curate: Curate = Curate()
    """What `tunesmith curate` leaves out."""
