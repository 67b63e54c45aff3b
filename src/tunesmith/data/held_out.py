"""The held-out rows of a config as questions, read again from their files: what `evaluate` asks, and training too."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tunesmith.data import source as data_source
from tunesmith.data.formats.specs import format_specs
from tunesmith.data.question import Question, question
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.data.types import Row
from tunesmith.sections import Config


class Asked(NamedTuple):
    """A held-out row, the question that it is, and the chat template if it has one."""

    row: Row
    question: Question
    template: ChatTemplate | None


def held_out_questions(
    config: Config, held_out: Any, tokenizer: Tokenizer, limit: int | None = None
) -> Iterator[Asked]:
    """Yield the rows of a prepared held-out set that have a prompt, in the files' order, at most `limit` of them."""
    wanted = set(zip(held_out["file"], held_out["row"], strict=True))
    limit = limit or len(wanted)
    datasets = config.data.test_datasets or config.data.datasets
    data = config.data.for_tests() if config.data.test_datasets else config.data
    specs = format_specs(datasets, data, config.model, tokenizer, config.source)
    count = 0
    for spec in specs:
        for row in data_source.read_rows(spec.dataset, spec.source):
            if count == limit:
                return
            if isinstance(row, Row) and (row.file, row.number) in wanted:
                found = question(row.values, spec, tokenizer)
                if found is not None:
                    count += 1
                    yield Asked(row, found, spec.template)
