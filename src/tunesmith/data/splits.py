"""The training set and the held-out set of a config, prepared; and what became of the rows, in words."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import has_magic
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from tunesmith.data.filters import dropped_lines
from tunesmith.data.formats.detect import with_types
from tunesmith.data.formats.specs import format_spec, format_specs
from tunesmith.data.masks import describe_marks
from tunesmith.data.prepare import Prepared, Report, prepare
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow
from tunesmith.data.unread import unread_line
from tunesmith.errors import DataError
from tunesmith.log import note
from tunesmith.sections import Config, DataSection, Dataset, TrainingSection


@dataclass(frozen=True)
class Splits:
    """Prepared data of a run.

    Attributes:
        train: `datasets.Dataset` to train on.
        held_out: the same for evaluation, or None.
        tests: the sets that `held_out` is made of, by name, if there are several.
        parts: the prepared datasets that they come from.
    """

    train: Any
    held_out: Any | None
    parts: list[Prepared]
    tests: dict[str, Any] = field(default_factory=dict)


def prepare_splits(config: Config, tokenizer: Tokenizer, *, rebuild: bool = False, world_size: int = 1) -> Splits:
    """Return the training set and the held-out set: `test_datasets`, or the tail that `val_set_size` cuts off.

    Args:
        config: the config.
        tokenizer: the model's.
        rebuild: prepare anew what was prepared before.
        world_size: processes of the run, which decide how much of a stream it can take.

    Raises:
        DataError: see `prepare`; or `val_set_size` leaves nothing to train on.
    """
    data = config.data
    settings: dict[str, Any] = {
        "tokenizer": tokenizer,
        "seed": config.training.shuffle_seed,
        "source": config.source,
        "rebuild": rebuild,
        "stream_tokens": tokens_of_run(data, config.training, world_size),
        "assertion_seconds": config.evaluation.evaluation.assertion_seconds,
    }
    _note_marks(config, tokenizer)
    main = prepare(data.datasets, data, config.model, **settings)
    train = _shard(main.load(), data)
    seed = config.training.shuffle_seed
    if data.test_datasets:
        parts = [prepare([dataset], data.for_tests(), config.model, **settings) for dataset in data.test_datasets]
        return _with_tests(_share(train, data.train_share, seed), [main, *parts], data)
    held_out = held_out_count(len(train), data.val_set_size)
    border = len(train) - held_out
    tail = train.select(range(border, len(train))) if held_out else None
    return Splits(_share(train.select(range(border)), data.train_share, seed), tail, [main])


def _note_marks(config: Config, tokenizer: Tokenizer) -> None:
    """Say once for each layout which of its marks are replaced."""
    data, source = config.data, config.source
    datasets = [*data.datasets, *data.test_datasets]
    if data.rl:
        specs = format_specs(datasets, data, config.model, tokenizer, source)
    else:
        typed = with_types(datasets, source, quiet=True)
        specs = [format_spec(dataset, data, config.model, tokenizer, source) for dataset in typed]
    replaced = dict.fromkeys((spec.dataset.conversation or spec.dataset.kind, describe_marks(spec)) for spec in specs)
    for name, marks in replaced:
        if marks:
            note(f"layout {name}: marks that are not tokens of this model are replaced: {marks}")


def _share(train: Any, share: float, seed: int) -> Any:
    """Return a share of the training samples, in order; a smaller share, by the same seed, lies in a larger one."""
    if share == 1:
        return train
    places = list(range(len(train)))
    Random(seed).shuffle(places)
    return train.select(sorted(places[: max(1, round(len(train) * share))]))


def _shard(prepared: Any, data: DataSection) -> Any:
    """Return the part of a prepared dataset that `dataset_shard_idx` names."""
    if data.dataset_shard_num is None:
        return prepared
    return prepared.shard(data.dataset_shard_num, data.dataset_shard_idx)


def _with_tests(train: Any, parts: list[Prepared], data: DataSection) -> Splits:
    """Return the training set with the test sets, all but the first of `parts`."""
    import datasets

    loaded = [_shard(part.load(), data) for part in parts[1:]]
    tests = dict(zip(set_names(data.test_datasets), loaded, strict=True))
    if len(loaded) == 1:
        return Splits(train, loaded[0], parts)
    return Splits(train, datasets.concatenate_datasets(loaded), parts, tests)


def set_names(entries: Sequence[Dataset]) -> list[str]:
    """Return a name for each dataset, all different: its `name`, or that of its file, folder or the Hub dataset."""
    names: list[str] = []
    for entry in entries:
        path = Path(entry.path)
        while has_magic(path.name) and "://" not in entry.path:  # of data/*.jsonl the folder's name
            path = path.parent
        wanted = str(entry.name or path.stem or "rows")
        numbered = (f"{wanted}-{number}" for number in count(2))
        names.append(wanted if wanted not in names else next(name for name in numbered if name not in names))
    return names


def tokens_of_run(data: DataSection, training: TrainingSection, world_size: int) -> int | None:
    """Return the tokens that a run of `max_steps` can take, which is all that is read of a stream; None without it."""
    if training.max_steps is None:
        return None
    rows = training.batch_size or training.micro_batch_size * training.gradient_accumulation_steps
    return training.max_steps * rows * world_size * data.sequence_len


def held_out_count(samples: int, val_set_size: float) -> int:
    """Return how many samples are held out: a share of them up to 1, a number above; at least one, if any.

    Raises:
        DataError: none would be left to train on.
    """
    if not val_set_size:
        return 0
    count = max(1, round(samples * val_set_size)) if val_set_size <= 1 else int(val_set_size)
    if count >= samples:
        raise DataError(
            f"`val_set_size: {val_set_size:g}` holds out {count} of {samples} samples: none is left to train on"
        )
    return count


def describe(parts: Sequence[Prepared]) -> list[str]:
    """Return lines that say what became of the rows of each dataset."""
    lines = []
    for part in parts:
        for report in part.reports:
            lines += _describe(report)
            if report.filtered:
                lines += dropped_lines(report.filtered, report.rows, report.tallies, part.folder / "dropped.jsonl")
        lines.append(f"prepared data: {part.folder}{' (made before)' if part.cached else ''}")
    return lines


def _describe(report: Report) -> list[str]:
    share = 100 * report.trained / max(report.tokens, 1)
    lines = [
        f"{report.name}: {report.rows:,} rows -> {report.kept:,} samples, {report.tokens:,} tokens, "
        f"{report.trained:,} of them trained ({share:.0f}%)"
    ]
    if report.twins:
        lines.append(f"  {report.twins:,} samples left out that are the same as an earlier one")
    if report.unread:
        lines.append(f"  {unread_line(report.unread)}")
    for rows, what in ((report.bad, "bad"), (report.dropped, "left out for their length")):
        if rows:
            lines.append(f"  {len(rows):,} {'row' if len(rows) == 1 else 'rows'} {what}:")
            lines += [f"    {line}" for line in _reasons(rows)]
    return lines


def _reasons(rows: Sequence[BadRow]) -> list[str]:
    """The first five rows with their reasons, and how many more there are."""
    lines = [f"{row.file}:{row.number}: {row.reason}" for row in rows[:5]]
    more = Counter(row.file for row in rows[5:])
    return lines + [f"and {count:,} more in {file}; all are in report.json" for file, count in more.items()]
