"""Datasets to one prepared dataset on disk: tokenised once, keyed by content, with a report of what was left out.

The key is made of everything that decides the tokens: the bytes of the data, the settings, the tokenizer, the
templates, and `DATA_VERSION`. Nothing else finds an old result, and nothing stale is ever used.
"""

import gc
import hashlib
import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from tunesmith.data import source as data_source
from tunesmith.data.filters import Dropped, Tally, note_dropped, reasons_table
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.specs import format_specs
from tunesmith.data.samples import EncodedRow, encoded_rows, fitted, too_long
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import MASKED, SPLIT_INDEX_COLUMN, BadRow
from tunesmith.errors import DataError
from tunesmith.files import hold_lock, write_folder, write_json
from tunesmith.log import progress
from tunesmith.references import code_digest
from tunesmith.sections import DataSection, Dataset, ModelSection

DATA_VERSION = 5
"""Raise it whenever the same rows and settings would give other tokens."""
DECIDING = {
    "sequence_len",
    "excess_length_strategy",
    "min_sample_len",
    "train_on_inputs",
    "bad_rows",
    "shuffle_merged_datasets",
    "curriculum_sampling",
    "shuffle_before_merging_datasets",
    "dataset_exact_deduplication",
    "rl",
}
"""Keys of the file that decide the prepared tokens."""


@dataclass
class Report:
    """What became of the rows of one dataset.

    Attributes:
        name: path of the dataset.
        rows: rows read, good and bad.
        kept: samples written.
        twins: samples left out since an earlier one is the same.
        tokens: tokens of these.
        trained: tokens of these that are trained.
        bad: places and reasons of rows at fault.
        dropped: places and reasons of rows that are sound but too long or too short.
        filtered: rows that the dataset's `filters` left out; they are in dropped.jsonl.
        tallies: how many of them each assertion did, with an example.
        unread: columns, and keys of messages, that nothing reads -> rows that have them.
    """

    name: str
    rows: int = 0
    kept: int = 0
    tokens: int = 0
    trained: int = 0
    twins: int = 0
    bad: list[BadRow] = field(default_factory=list)
    dropped: list[BadRow] = field(default_factory=list)
    filtered: int = 0
    tallies: list[Tally] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset: its folder, the reports of its parts, and whether it was there already."""

    folder: Path
    reports: list[Report]
    cached: bool

    def load(self) -> Any:
        """Return the `datasets.Dataset` with columns input_ids, labels, file and row."""
        import datasets

        return datasets.load_from_disk(str(self.folder))


def prepare(
    datasets: Sequence[Dataset],
    data: DataSection,
    model: ModelSection,
    *,
    tokenizer: Tokenizer,
    seed: int,
    source: str,
    rebuild: bool = False,
    stream_tokens: int | None = None,
    assertion_seconds: float = 5.0,
) -> Prepared:
    """Return the prepared form of `datasets`, from the cache if it was made before.

    Several processes may ask at once: one builds, the others wait for it. With `stream_tokens`, a stream is read only
    until it has given so many tokens. `assertion_seconds` is how long a call of an assertion in `filters` may take.

    Raises:
        DataError: nothing is left to train on, over a tenth of a dataset is bad, or a row is with `bad_rows: error`.
    """
    for dataset in datasets if data.hf_use_auth_token else ():
        data_source.check_token(dataset, source)
    specs = format_specs(datasets, data, model, tokenizer, source)
    versions = [data_source.version(spec.dataset, spec.source) for spec in specs]
    folder = Path(data.dataset_prepared_path) / _key(specs, versions, data, tokenizer, seed, stream_tokens)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(folder.with_name(f"{folder.name}.lock")):
        if (folder / "report.json").exists() and not rebuild:
            return Prepared(folder, _read_reports(folder), cached=True)
        unshuffled = folder.with_name(f".{folder.name}.unshuffled.arrow")  # replaces that of a killed process
        gc.disable()  # rows make no cycles, and looking for them takes a quarter of the time
        try:
            with write_folder(folder) as unfinished:
                reports = _build(specs, data, tokenizer, seed, unfinished, unshuffled, stream_tokens, assertion_seconds)
                _require_unchanged(specs, versions)
        finally:
            gc.enable()
            unshuffled.unlink(missing_ok=True)
    return Prepared(folder, reports, cached=False)


def _key(
    specs: Sequence[FormatSpec],
    versions: Sequence[tuple[str, Any]],
    data: DataSection,
    tokenizer: Tokenizer,
    seed: int,
    stream: int | None,
) -> str:
    """Return the hash of everything that decides the prepared tokens."""
    settings = data.model_dump(include=DECIDING)
    parts = [
        DATA_VERSION,
        settings | {"seed": seed if data.shuffles or data.shuffle_before_merging_datasets else None},
        [[spec.dataset.model_dump(), spec.mask, spec.eot_tokens, spec.default_system_message] for spec in specs],
        [spec.template and [spec.template.text, spec.template.settings] for spec in specs],
        [digest for digest, _ in versions],
        [[_code_digest(name, spec.source) for name in (spec.dataset.kind, *spec.dataset.filters)] for spec in specs],
        stream if any(data_source.is_stream(spec.dataset) for spec in specs) else None,
        [tokenizer.backend_tokenizer.to_str(), tokenizer.bos_token, tokenizer.eos_token],
    ]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=10).hexdigest()


def _code_digest(name: str, source: str) -> str:
    """Hash the user's own code, so that editing it makes the data anew."""
    return code_digest(name, source) if re.search(r"\.py(:|$)", name) else ""


def _require_unchanged(specs: Sequence[FormatSpec], before: Sequence[tuple[str, Any]]) -> None:
    """Raise a DataError if the files of a dataset are no longer those that the key was made of."""
    for spec, old in zip(specs, before, strict=True):
        if old[1] and data_source.version(spec.dataset, spec.source) != old:
            raise DataError(
                f"`datasets.path: {spec.dataset.path}` changed while it was read; run the command again when nothing "
                "writes to it"
            )


def _build(
    specs: Sequence[FormatSpec],
    data: DataSection,
    tokenizer: Tokenizer,
    seed: int,
    folder: Path,
    unshuffled: Path,
    stream_tokens: int | None,
    seconds: float,
) -> list[Report]:
    """Write the dataset and its report to `folder`, by way of the file `unshuffled`, so that memory stays constant."""
    import datasets

    datasets.disable_progress_bars()  # ours says what is done, and is silent where there is no terminal
    reports = _write_samples(specs, data, tokenizer, folder, unshuffled, stream_tokens, seconds)
    dataset = datasets.Dataset.from_file(str(unshuffled))
    if data.shuffle_before_merging_datasets:
        dataset = dataset.select(_each_shuffled([report.kept for report in reports], seed), keep_in_memory=True)
    if data.shuffles:
        dataset = dataset.shuffle(seed=seed, keep_in_memory=True)
    dataset.save_to_disk(str(folder))
    write_json(folder / "report.json", [asdict(report) for report in reports])
    return reports


def _write_samples(
    specs: Sequence[FormatSpec],
    data: DataSection,
    tokenizer: Tokenizer,
    folder: Path,
    file: Path,
    stream_tokens: int | None,
    seconds: float,
) -> list[Report]:
    """Write the samples of all datasets to an Arrow file, in the order of the rows, and return the reports."""
    import pyarrow

    tokens = pyarrow.list_(pyarrow.int32())
    fields = [("input_ids", tokens), ("labels", tokens), ("file", pyarrow.string()), ("row", pyarrow.int64())]
    if any(spec.preferences for spec in specs):
        fields.append((SPLIT_INDEX_COLUMN, pyarrow.int64()))
    schema = pyarrow.schema(fields)
    reports: list[Report] = []
    seen: set[bytes] = set()
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as writer:
        for spec in specs:
            report = Report(spec.dataset.path)
            for batch in _encoded(spec, data, tokenizer, report, folder / "dropped.jsonl", seconds):
                if data.dataset_exact_deduplication:
                    batch = [sample for sample in batch if _is_new(sample, seen, report)]
                columns = list(zip(*batch, strict=True)) or [()] * 5
                arrays = [list(column) for column in columns[: len(schema)]]
                writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
                if stream_tokens and data_source.is_stream(spec.dataset) and report.tokens >= stream_tokens:
                    break
            _judge(report, data)
            reports.append(report)
    return reports


def _each_shuffled(counts: Sequence[int], seed: int) -> list[int]:
    """Return the places of all samples, those of each dataset shuffled among themselves."""
    import numpy

    order, first = numpy.random.default_rng(seed), 0
    places: list[int] = []
    for count in counts:
        places += (first + order.permutation(count)).tolist()
        first += count
    return places


Sample = tuple[list[int], list[int], str, int, int | None]


def _is_new(sample: Sample, seen: set[bytes], report: Report) -> bool:
    """Return whether no sample with these tokens and labels was seen before, and take out of the count one that was."""
    ids, labels, *_, split_index = sample
    mark = hashlib.blake2b(array("i", [*ids, *labels, split_index or 0]).tobytes(), digest_size=16).digest()
    if mark not in seen:
        seen.add(mark)
        return True
    report.kept -= 1
    report.twins += 1
    report.tokens -= len(ids)
    report.trained -= len(labels) - labels.count(MASKED)
    return False


def _encoded(
    spec: FormatSpec,
    data: DataSection,
    tokenizer: Tokenizer,
    report: Report,
    dropped: Path,
    seconds: float,
) -> Iterator[list[Sample]]:
    """Yield the samples of one dataset in batches, and count in `report`; write what its filters leave out."""
    tallies: dict[str, Tally] = {}

    def drop(item: Dropped) -> None:
        report.rows += 1
        report.filtered += 1
        note_dropped(item, stream, tallies)
        report.tallies = list(tallies.values())

    with (
        dropped.open("a", encoding="utf-8", errors="backslashreplace")
        if spec.dataset.filters
        else StringIO() as stream,
        progress(f"tokenising {spec.dataset.path}", unit="rows") as advance,
    ):
        for batch in encoded_rows(spec, tokenizer, seconds=seconds, drop=drop):
            samples: list[Sample] = []
            for item in batch:
                report.rows += 1
                if isinstance(item, BadRow):
                    _bad(item, report, data)
                    continue
                for name in item.unread:
                    report.unread[name] = report.unread.get(name, 0) + 1
                samples += _samples(item, data, report)
            yield samples
            advance(len(batch))


def _bad(row: BadRow, report: Report, data: DataSection) -> None:
    if data.bad_rows == "error":
        raise DataError(f"{row.file}:{row.number}: {row.reason}")
    report.bad.append(row)


def _samples(item: EncodedRow, data: DataSection, report: Report) -> list[Sample]:
    """Return the samples of a row; the row is bad, or dropped for its length, once, however many of them are."""
    row, samples = item.row, []
    bad = [examples for examples in item.examples if isinstance(examples, str)]
    if bad:
        _bad(BadRow(row.file, row.number, _share(bad, len(item.examples))), report, data)
    examples = [example for examples in item.examples if not isinstance(examples, str) for example in examples]
    dropped = []
    for example in examples:
        if data.excess_length_strategy == "raise" and (reason := too_long(example, data)):
            raise DataError(f"{row.file}:{row.number}: {reason}; raise sequence_len, or set excess_length_strategy")
        sample = fitted(example, data)
        if isinstance(sample, str):
            dropped.append(sample)
            continue
        ids, labels = sample.input_ids, sample.labels
        report.kept += 1
        report.tokens += len(ids)
        report.trained += len(labels) - labels.count(MASKED)
        samples.append((ids, labels, row.file, row.number, sample.split_index))
    if dropped:
        report.dropped.append(BadRow(row.file, row.number, _share(dropped, len(examples))))
    return samples


def _share(reasons: Sequence[str], samples: int) -> str:
    """Return the first reason, with how many of a row's samples have one, if it has several."""
    return reasons[0] if samples == 1 else f"{len(reasons)} of its {samples} samples: {reasons[0]}"


def _judge(report: Report, data: DataSection) -> None:
    """Stop where the data is not what the config says it is."""
    examples = "\n".join(f"  {row.file}:{row.number}: {row.reason}" for row in (report.bad or report.dropped)[:5])
    if report.rows == 0:
        raise DataError(f"`datasets.path: {report.name}` holds no rows")
    if len(report.bad) * 10 > report.rows:
        raise DataError(f"{len(report.bad)} of {report.rows} rows of {report.name} are bad, over a tenth:\n{examples}")
    if report.filtered and report.filtered == report.rows:
        table = "\n".join(f"  {line}" for line in reasons_table(report.tallies, report.rows))
        raise DataError(f"the `filters` of {report.name} leave out all {report.rows:,} rows:\n{table}")
    if report.kept + report.twins == 0:
        raise DataError(f"no row of {report.name} is left; `sequence_len` is {data.sequence_len}:\n{examples}")


def _read_reports(folder: Path) -> list[Report]:
    reports = []
    for item in json.loads((folder / "report.json").read_text()):
        bad, dropped = ([BadRow(*row) for row in item.pop(key)] for key in ("bad", "dropped"))
        tallies = [Tally(**tally) for tally in item.pop("tallies")]
        reports.append(Report(**item, bad=bad, dropped=dropped, tallies=tallies))
    return reports
