"""The story of a curation: rows are scanned, a manifest says what becomes of each, and those that stay are copied.

The source is never changed. A second run with other bounds, or with a rule undone, decides anew from the manifest.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from tunesmith.assertions import jury
from tunesmith.curation.manifest import (
    RULES,
    UNREADABLE,
    Decision,
    Entry,
    decide,
    read_manifest,
)
from tunesmith.curation.scan import Place, Scan, sourced_rows
from tunesmith.data.source import digest, locate
from tunesmith.data.splits import prepare_splits, set_names
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Row
from tunesmith.errors import ConfigError, DataError, did_you_mean
from tunesmith.log import note, progress
from tunesmith.references import resolve_file
from tunesmith.sections import Config, Curate

MANIFEST, RECORD = "manifest.jsonl", "curate.json"
BOUNDS = {f"{end}_{measure}" for end in ("min", "max") for measure in ("chars", "tokens", "complexity")}
EXAMPLES = 20
"""Rows kept of each rule for the report; all are in the manifest."""


@dataclass
class Summary:
    """What became of the rows.

    Attributes:
        rows: how many there are.
        held_out: how many more are held out by `val_set_size`, and left as they are.
        counts: rule -> rows that it leaves out.
        examples: rule -> the first of them, each with its reason.
        files: the files written, with how many rows each has.
        anew: whether the rows were scanned, and not only decided on anew.
    """

    rows: int = 0
    held_out: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    anew: bool = True

    def add(self, decision: Decision) -> None:
        """Count a row."""
        self.rows += 1
        if decision.left_out is not None:
            rule, entry = decision.left_out.rule, decision.entry
            self.counts[rule] = self.counts.get(rule, 0) + 1
            examples = self.examples.setdefault(rule, [])
            if len(examples) < EXAMPLES:
                examples.append(f"{entry.file}:{entry.row}: {decision.left_out.reason}")


def curate(config: Config, tokenizer: Tokenizer | None) -> Summary:
    """Write the rows of `datasets` that stay, and the manifest, to `curate.output`, and return what became of them.

    Args:
        config: the config.
        tokenizer: the model's; needed for bounds in tokens and for `val_set_size`.

    Raises:
        ConfigError: `keep` names no rule, or a column is in no row.
        DataError: a dataset is not there, or changed while it was read.
    """
    section = config.synthesis.curate
    _require_rules(section)
    folder = Path(section.output)
    _require_elsewhere(config, folder)
    folder.mkdir(parents=True, exist_ok=True)
    held_out = _held_out(config, tokenizer)
    basis = _basis(config, held_out)
    manifest, scanned = folder / MANIFEST, folder / f"{MANIFEST}.scan"
    old = json.loads((folder / RECORD).read_text(encoding="utf-8")) if (folder / RECORD).exists() else {}
    anew = old.get("basis") != basis or not manifest.exists()
    if anew:
        (folder / RECORD).unlink(missing_ok=True)
        counter = tokenizer if section.min_tokens or section.max_tokens else None
        try:
            seconds = config.evaluation.evaluation.assertion_seconds
            checks = jury(section.assertions, config.source, seconds) if section.assertions else nullcontext()
            with checks as judge:
                summary = _write(config, held_out, Scan(config, counter, judge).entries(held_out, scanned), folder)
        finally:
            scanned.unlink(missing_ok=True)
    else:
        note(f"{manifest}: nothing that it depends on has changed; its findings are used again")
        summary = _write(config, held_out, read_manifest(manifest), folder)
    summary.anew = anew
    record = {"basis": basis, "settings": section.model_dump(), **asdict(summary)}
    (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    return summary


def _held_out(config: Config, tokenizer: Tokenizer | None) -> set[Place]:
    """Return the places of the rows that `val_set_size` holds out, as training would."""
    if not config.data.val_set_size:
        return set()
    if tokenizer is None:
        raise ConfigError("`val_set_size` needs the tokenizer of `base_model`, since it is cut off the prepared data")
    held_out = prepare_splits(config, tokenizer).held_out
    return set(zip(held_out["file"], held_out["row"], strict=True)) if held_out is not None else set()


def _basis(config: Config, held_out: set[Place]) -> str:
    """Return a hash of all that the findings depend on: data, settings and the user's own code."""
    section, source = config.synthesis.curate, config.source
    settings = section.model_dump(exclude={*BOUNDS, "keep", "output"})
    counts_tokens = bool(section.min_tokens or section.max_tokens)
    code = [str(name).rpartition(".py")[0] + ".py" for name in (section.complexity, section.assertions) if name]
    files = [Path(resolve_file(name, source)) for name in code]
    data = [digest(dataset, source) for dataset in (*config.data.datasets, *config.data.test_datasets)]
    own = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    model = config.model.model_dump() if counts_tokens else None
    return sha256(repr((settings, model, data, own, sorted(held_out))).encode()).hexdigest()


def _require_rules(section: Curate) -> None:
    for rule in section.keep:
        if rule.partition(":")[0] not in RULES:
            raise ConfigError(f"`curate.keep`: no rule `{rule}`{did_you_mean(rule, RULES) or f'; there are {RULES}'}")
        if rule == UNREADABLE:
            raise ConfigError(f"`curate.keep: [{UNREADABLE}]`: what cannot be read cannot be kept")


def _require_elsewhere(config: Config, folder: Path) -> None:
    """Raise an error if the folder to write to is one of those that are read."""
    for dataset in (*config.data.datasets, *config.data.test_datasets):
        found = locate(dataset, config.source)
        if isinstance(found, list) and folder.resolve() in {file.resolve().parent for file in found}:
            raise ConfigError(
                f"`curate.output: {folder}` holds {dataset.path}, which must not change; name another folder"
            )


def _write(config: Config, held_out: set[Place], entries: Iterator[Entry], folder: Path) -> Summary:
    """Write the files, each under its name once all are whole."""
    summary = Summary()
    names = [Path(name).name for name in set_names(config.data.datasets)]
    decisions = decide(entries, config.synthesis.curate)
    with _files(folder) as opened, progress("writing", unit="rows") as advance:
        manifest = opened(MANIFEST)
        for name in names:  # also one of which no row stays, so that no earlier one is taken for it
            opened(f"{name}.jsonl")
            summary.files[str(folder / f"{name}.jsonl")] = 0
        for item, dataset, held in sourced_rows(config, held_out):
            stays = held
            if not held:
                decision = next(decisions, None)
                if decision is None or decision.entry[:2] != (item.file, item.number):
                    raise DataError(f"{item.file}:{item.number}: the data changed while it was read; run it again")
                manifest.write(decision.as_line() + "\n")
                summary.add(decision)
                stays = decision.left_out is None
            if isinstance(item, Row) and stays:
                name = f"{names[dataset]}{'.held_out' if held else ''}.jsonl"
                opened(name).write(json.dumps(item.values, ensure_ascii=False, default=str) + "\n")
                summary.files[str(folder / name)] = summary.files.get(str(folder / name), 0) + 1
            summary.held_out += held
            advance(1)
    return summary


@contextmanager
def _files(folder: Path) -> Iterator[Callable[[str], TextIO]]:
    """Yield what opens a file, once, to write; they all get their names at the end, or none is left."""
    streams: dict[str, TextIO] = {}

    def opened(name: str) -> TextIO:
        if name not in streams:
            streams[name] = (folder / f"{name}.part").open("w", encoding="utf-8")
        return streams[name]

    whole = False
    try:
        yield opened
        whole = True
    finally:
        for name, stream in streams.items():
            stream.close()
            part = folder / f"{name}.part"
            part.rename(folder / name) if whole else part.unlink()
