"""Curation of rows, and synthetic rows."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tunesmith.sections.endpoint import EndpointSection
from tunesmith.sections.fields import CodePath, FilePath, ModelPath, OutputPath
from tunesmith.sections.section import Count, Section


def _check_similarity(value: float) -> float:
    if value and not 0.5 <= value <= 1:
        raise ValueError(f"takes a similarity from 0.5 to 1, or 0 for off, found {value:g}")
    return value


Similarity = Annotated[float, AfterValidator(_check_similarity)]


class Curate(Section):
    """The `curate:` block: which train rows `tunesmith curate` excludes.

    A column is one of the rows, or `prompt` or `answer`: the prompt and the reference answer, for every dataset type.
    """

    output: Annotated[str, OutputPath()] = "curated"
    """Folder of the kept rows and the manifest."""
    dedup_keys: list[Annotated[list[str], Field(min_length=1)]] = [["prompt", "answer"]]
    """Lists of columns: of rows with equal normalized text in all columns of a list, the first is kept."""
    near_duplicates: Similarity = 0.8
    """Jaccard similarity of 5-gram shingles from which two rows are near-duplicates; 0: off."""
    embedding_model: Annotated[str | None, ModelPath()] = None
    """Embedding model that finds semantic duplicates: a name as in `base_model`."""
    embedding_likeness: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Cosine similarity of centered embeddings from which two rows are semantic duplicates."""
    columns: Annotated[list[str], Field(min_length=1)] = ["prompt", "answer"]
    """Columns used for near-duplicates, embeddings, length and complexity."""
    leak_columns: list[str] = ["prompt"]
    """Columns checked for leaked prompts: train rows that duplicate an eval row; empty: off."""
    min_chars: Count | None = None
    """Minimum length, in characters."""
    max_chars: Count | None = None
    """Maximum length, in characters."""
    min_tokens: Count | None = None
    """Minimum length, in tokens of the model, without the chat template."""
    max_tokens: Count | None = None
    """Maximum length, in tokens."""
    complexity: Annotated[str | None, CodePath()] = None
    """`file.py:function` that takes a row and returns a number. Default: number of distinct words."""
    min_complexity: float | None = None
    """Minimum complexity."""
    max_complexity: float | None = None
    """Maximum complexity."""
    assertions: Annotated[str | None, FilePath(), CodePath()] = None
    """Python file whose `test_*` functions the reference answer must pass."""
    keep: list[str] = []
    """Rules that exclude no rows, such as near-duplicate; their matches are still in the manifest."""


class Generate(Section):
    """The `generate:` block: synthetic rows that a model writes from seed rows."""

    seeds: Annotated[str, FilePath()]
    """Seed rows, in any format of `datasets[].path`: file, folder or Hub dataset."""
    prompt: Annotated[str | None, FilePath(inline="{")] = None
    """Jinja template of the prompt, or its file; it has the variables seeds, number and schema. Default: built in."""
    row_schema: Annotated[dict[str, Any] | str | None, FilePath()] = None
    """JSON schema of a row, or its file. Default: derived from the seeds."""
    endpoint: EndpointSection
    """The model that generates."""
    rows: Count = 100
    """Number of rows to generate."""
    output: Annotated[str, OutputPath()] = "generated.jsonl"
    """File of the accepted rows. Add it to `datasets` to train on them."""
    seeds_per_prompt: Annotated[int, Field(ge=0)] = 3
    """Number of seed rows in a prompt, drawn at random for each."""
    seed: int = 42
    """Random seed for the draw of seed rows and for sampling."""
    heal: Annotated[int, Field(ge=0)] = 1
    """Number of retries with feedback for a rejected row."""
    assertions: Annotated[str | None, FilePath(), CodePath()] = None
    """Python file whose `test_*` functions the reference answer must pass."""
    judge: bool = False
    """Whether the LLM judge of `judge` must accept a row."""
    near_duplicates: Similarity = 0.8
    """Jaccard similarity of 5-gram shingles from which a row duplicates a seed or another row; 0: exact only."""


class SynthesisSection(Section):
    """Curation of rows, and synthetic rows."""

    curate: Curate = Curate()
    """Which rows `tunesmith curate` excludes."""
    generate: Generate | None = None
    """Synthetic rows of `tunesmith generate`."""
