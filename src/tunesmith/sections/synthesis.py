"""Which rows are worth training on, and rows that a model makes."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tunesmith.sections.endpoint import EndpointSection
from tunesmith.sections.fields import CodePath, FilePath, ModelPath, OutputPath
from tunesmith.sections.section import Count, Section


def _share_or_none(value: float) -> float:
    if value and not 0.5 <= value <= 1:
        raise ValueError(f"takes a share from 0.5 to 1, or 0 for not at all, found {value:g}")
    return value


Likeness = Annotated[float, AfterValidator(_share_or_none)]


class Curate(Section):
    """The `curate:` block: what `tunesmith curate` leaves out of the training rows.

    A column is one of the rows, or `prompt` or `answer`: what a row asks and what it answers, whatever its type.
    """

    output: Annotated[str, OutputPath()] = "curated"
    """Folder of the kept rows and the manifest."""
    dedup_keys: list[Annotated[list[str], Field(min_length=1)]] = [["prompt", "answer"]]
    """Lists of columns: of rows equal in all columns of a list, but for case and whitespace, the first stays."""
    near_duplicates: Likeness = 0.8
    """Share of runs of five words from which two rows are nearly the same; 0: do not look."""
    embedding_model: Annotated[str | None, ModelPath()] = None
    """Model whose vectors tell what means nearly the same: a name as in `base_model`, best one made for embeddings."""
    embedding_likeness: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Cosine of two rows' vectors, less the mean of all, from which they mean the same."""
    columns: Annotated[list[str], Field(min_length=1)] = ["prompt", "answer"]
    """Columns whose text counts for near duplicates, meaning, length and complexity."""
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
    complexity: Annotated[str | None, CodePath()] = None
    """`file.py:function` that takes a row and returns a number; by default the number of different words."""
    min_complexity: float | None = None
    """Least complexity."""
    max_complexity: float | None = None
    """Greatest complexity."""
    assertions: Annotated[str | None, FilePath(), CodePath()] = None
    """Python file whose `test_*` functions a row's own answer must pass."""
    keep: list[str] = []
    """Rules that leave out nothing, such as near-duplicate; what they would have left out is still in the manifest."""


class Generate(Section):
    """The `generate:` block: rows that a model writes after the pattern of seed rows."""

    seeds: Annotated[str, FilePath()]
    """File of the seed rows, in any form that `datasets[].path` takes."""
    prompt: Annotated[str | None, FilePath(inline="{")] = None
    """Jinja template, or its file, of what the model is asked; it knows seeds, number and schema. One is built in."""
    row_schema: Annotated[dict[str, Any] | str | None, FilePath()] = None
    """JSON schema of a row, or its file; by default one that says what the seeds have in common."""
    endpoint: EndpointSection
    """The model that writes."""
    rows: Count = 100
    """How many rows to make."""
    output: Annotated[str, OutputPath()] = "generated.jsonl"
    """File of the rows. Name it in `datasets` to train on them."""
    seeds_per_prompt: Annotated[int, Field(ge=0)] = 3
    """How many seed rows a prompt shows, drawn anew for each."""
    seed: int = 42
    """Of the draws of seeds, and of the model's choices."""
    heal: Annotated[int, Field(ge=0)] = 1
    """How often a row that fails goes back to the model with the reason, before it is given up."""
    assertions: Annotated[str | None, FilePath(), CodePath()] = None
    """Python file whose `test_*` functions a row's own answer must pass."""
    judge: bool = False
    """Whether the model and rubric of `judge` must call a row good."""
    near_duplicates: Likeness = 0.8
    """Share of runs of five words from which a row is too near to a seed or another; 0: only equal questions are."""


class SynthesisSection(Section):
    """Curation of rows, and rows that are made."""

    curate: Curate = Curate()
    """What `tunesmith curate` leaves out."""
    generate: Generate | None = None
    """Rows that `tunesmith generate` makes."""
