"""The top-level function of a curation: rows are scanned, the manifest decides on each, and kept rows are copied.

The source is never changed. A second run with other bounds, or with a rule undone, decides again from the manifest.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from tunesmith.assertions import open_assertions
from tunesmith.curation.manifest import (
    RULES,
    UNREADABLE,
    Decision,
    Entry,
    decide,
    read_manifest,
)
from tunesmith.curation.scan import Location, Scan, read_source_rows
from tunesmith.data.comparison import RowComparison, joined_text
from tunesmith.data.prefix import first_difference
from tunesmith.data.source import digest, locate
from tunesmith.data.splits import prepare_splits, set_names
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Row
from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.files import write_json
from tunesmith.log import note, progress
from tunesmith.references import resolve_file
from tunesmith.sections import Config, Curate

MANIFEST, RECORD = "manifest.jsonl", "curate.json"
BOUNDS = {f"{end}_{measure}" for end in ("min", "max") for measure in ("chars", "tokens", "complexity")}
EXAMPLES = 20
"""Excluded rows of each rule in the record; all are in the manifest."""

EXCERPT = 90
"""Characters that are shown of a duplicate and of its twin."""


@dataclass
class Summary:
    """The result of a curation. Its fields are keys of `curate.json`.

    Attributes:
        rows: training rows.
        held_out: eval rows of `val_set_size`, which are not curated.
        counts: rule -> rows that it excludes.
        examples: rule -> the first excluded rows with their reasons.
        texts: example of a duplicate -> the texts of that row and of its twin, where they begin to differ.
        files: the written files and their number of rows.
        not_compared: columns that hold only bookkeeping, and in how many rows.
        anew: whether the rows were scanned, and not only decided on again.
    """

    rows: int = 0
    held_out: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    not_compared: dict[str, int] = field(default_factory=dict)
    anew: bool = True

    def add(self, decision: Decision, twins: dict[str, tuple[Location, Location]]) -> None:
        """Count a row; `twins` gets the locations of an example of a duplicate and of its twin."""
        self.rows += 1
        if decision.exclusion is not None:
            rule, entry = decision.exclusion.rule, decision.entry
            self.counts[rule] = self.counts.get(rule, 0) + 1
            examples = self.examples.setdefault(rule, [])
            if len(examples) < EXAMPLES:
                examples.append(f"{entry.file}:{entry.row}: {decision.exclusion.reason}")
                if decision.twin:
                    twins[examples[-1]] = (entry.file, entry.row), decision.twin


def curate(config: Config, tokenizer: Tokenizer | None) -> Summary:
    """Write the kept rows of `datasets` and the manifest to `curate.output`, and return a summary.

    Args:
        config: the config.
        tokenizer: the model's; needed for bounds in tokens and for `val_set_size`.

    Raises:
        ConfigError: `keep` names no rule, or a column is in no row.
        DataError: a dataset is missing, or changed while it was read.
    """
    section = config.synthesis.curate
    _require_rules(section)
    folder = Path(section.output)
    _require_elsewhere(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    eval_rows = _find_eval_rows(config, tokenizer)
    basis = _hash_inputs(config, eval_rows)
    manifest, scan_file = folder / MANIFEST, folder / f"{MANIFEST}.scan"
    earlier = json.loads((folder / RECORD).read_text(encoding="utf-8")) if (folder / RECORD).exists() else {}
    needs_scan = earlier.get("basis") != basis or not manifest.exists()
    if needs_scan:
        (folder / RECORD).unlink(missing_ok=True)
        counter = tokenizer if section.min_tokens or section.max_tokens else None
        try:
            seconds = config.evaluation.evaluation.assertion_seconds
            checks = (
                open_assertions(section.assertions, config.source, seconds) if section.assertions else nullcontext()
            )
            with checks as runner:
                scan = Scan(config, counter, runner)
                summary = _write(config, eval_rows, scan.entries(eval_rows, scan_file), folder)
                summary.not_compared = scan.not_compared
        finally:
            scan_file.unlink(missing_ok=True)
    else:
        note(f"{manifest}: nothing that it depends on has changed; the manifest is used again")
        summary = _write(config, eval_rows, read_manifest(manifest), folder)
        summary.not_compared = earlier["not_compared"]
    summary.anew = needs_scan
    record = {"basis": basis, "settings": section.model_dump(), **asdict(summary)}
    write_json(folder / RECORD, record)
    return summary


def _find_eval_rows(config: Config, tokenizer: Tokenizer | None) -> set[Location]:
    """Return the locations of the eval rows of `val_set_size`, the same as in training."""
    if not config.data.val_set_size:
        return set()
    if tokenizer is None:
        raise ConfigError("`val_set_size` needs the tokenizer of `base_model`, because it splits the prepared data")
    held_out = prepare_splits(config, tokenizer).held_out
    return set(zip(held_out["file"], held_out["row"], strict=True)) if held_out is not None else set()


def _hash_inputs(config: Config, eval_rows: set[Location]) -> str:
    """Return a hash of all that a scan depends on: data, settings and the user's code."""
    section, source = config.synthesis.curate, config.source
    settings = section.model_dump(exclude={*BOUNDS, "keep", "output"})
    counts_tokens = bool(section.min_tokens or section.max_tokens)
    code = [str(name).rpartition(".py")[0] + ".py" for name in (section.complexity, section.assertions) if name]
    files = [Path(resolve_file(name, source)) for name in code]
    datasets = (*config.data.datasets, *config.data.test_datasets)
    data = [(dataset.model_dump(), digest(dataset, source)) for dataset in datasets]
    code_texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    model = config.model.model_dump() if counts_tokens else None
    return sha256(repr((settings, model, config.data.rl, data, code_texts, sorted(eval_rows))).encode()).hexdigest()


def _require_rules(section: Curate) -> None:
    for rule in section.keep:
        if rule.partition(":")[0] not in RULES:
            raise ConfigError(f"`curate.keep`: no rule `{rule}`{did_you_mean(rule, RULES) or f'; there are {RULES}'}")
        if rule == UNREADABLE:
            raise ConfigError(f"`curate.keep: [{UNREADABLE}]`: an unreadable row cannot be kept")


def _require_elsewhere(config: Config, folder: Path) -> None:
    """Raise an error if the output folder has the input files."""
    for dataset in (*config.data.datasets, *config.data.test_datasets):
        files = locate(dataset, config.source)
        if isinstance(files, list) and folder.resolve() in {file.resolve().parent for file in files}:
            raise ConfigError(
                f"`curate.output: {folder}` has {dataset.path}, which must not change; name another folder"
            )


def _write(config: Config, eval_rows: set[Location], entries: Iterator[Entry], folder: Path) -> Summary:
    """Write the files; they are renamed once all are complete."""
    summary, twins = Summary(), dict[str, tuple[Location, Location]]()
    names = [Path(name).name for name in set_names(config.data.datasets)]
    decisions = decide(entries, config.synthesis.curate)
    with _files(folder) as open_stream, progress("writing", unit="rows") as advance:
        manifest = open_stream(MANIFEST)
        for name in names:  # also a file without rows, so that none of an earlier run remains
            open_stream(f"{name}.jsonl")
            summary.files[str(folder / f"{name}.jsonl")] = 0
        for item, dataset, is_eval in read_source_rows(config, eval_rows):
            is_written = is_eval
            if not is_eval:
                decision = next(decisions, None)
                if decision is None or decision.entry[:2] != (item.file, item.number):
                    raise DataError(f"{item.file}:{item.number}: the data changed while it was read; run it again")
                manifest.write(decision.as_line() + "\n")
                summary.add(decision, twins)
                is_written = decision.exclusion is None
            if isinstance(item, Row) and is_written:
                name = f"{names[dataset]}{'.held_out' if is_eval else ''}.jsonl"
                open_stream(name).write(json.dumps(item.values, ensure_ascii=False, default=str) + "\n")
                summary.files[str(folder / name)] = summary.files.get(str(folder / name), 0) + 1
            summary.held_out += is_eval
            advance(1)
    summary.texts = _read_texts(config, twins)
    return summary


def _read_texts(config: Config, twins: dict[str, tuple[Location, Location]]) -> dict[str, tuple[str, str]]:
    """Return for each example the texts of a row and its twin; the source is read as far as they need."""
    missing = {location for pair in twins.values() for location in pair}
    comparisons = [RowComparison(dataset, config) for dataset in config.data.datasets] if missing else []
    texts: dict[Location, str] = {}
    for item, number, _ in read_source_rows(config, set()) if missing else ():
        if isinstance(item, Row) and (item.file, item.number) in missing:
            parts = comparisons[number].parts(item.values)
            texts[item.file, item.number] = joined_text([*parts.prompt, *parts.answer])
            missing.remove((item.file, item.number))
            if not missing:
                break
    return {name: _excerpts(texts.get(first, ""), texts.get(twin, "")) for name, (first, twin) in twins.items()}


def _excerpts(text: str, twin: str) -> tuple[str, str]:
    """Return two texts in one line each, from shortly before their first difference."""
    text, twin = (" ".join(item.split()) for item in (text, twin))
    start = max(0, first_difference(text, twin) - EXCERPT // 2) if text != twin else 0
    end, before = start + EXCERPT, "..." if start else ""
    return f"{before}{text[start:end]}", f"{before}{twin[start:end]}"


@contextmanager
def _files(folder: Path) -> Iterator[Callable[[str], TextIO]]:
    """Yield a function that opens a file for writing. At the end all files are renamed, or all are removed."""
    streams: dict[str, TextIO] = {}

    def open_stream(name: str) -> TextIO:
        if name not in streams:
            streams[name] = (folder / f"{name}.part").open("w", encoding="utf-8")
        return streams[name]

    complete = False
    try:
        yield open_stream
        complete = True
    finally:
        for name, stream in streams.items():
            stream.close()
            part = folder / f"{name}.part"
            part.rename(folder / name) if complete else part.unlink()
