"""`tunesmith curate`: the rows that are worth training on, and what is the matter with the others."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.config import overrides
from tunesmith.config.load import load_values
from tunesmith.data.source import SUFFIXES, kind_suffix
from tunesmith.log import note
from tunesmith.sections import Config

if TYPE_CHECKING:
    from tunesmith.curation.curate import Summary

SUMMARY = "Leave out duplicates, near duplicates, leaked rows and rows out of bounds, and say why. The source stays."
EXAMPLES = """  tunesmith curate lora.yml
  tunesmith curate rows.jsonl --against test.jsonl --curate.max-chars 4000
  tunesmith curate rows.parquet --curate.dedup-keys '[[question], [question, answer]]'
  tunesmith curate lora.yml --keep near-duplicate"""


def curate(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("curate", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_ROWS", help="YAML file, or a file of rows")
    options.add_argument("--against", metavar="ROWS", help="rows to evaluate on, which no row to train on may ask")
    options.add_argument("--keep", "--undo", action="append", default=[], metavar="RULE", help="undo a rule")
    options.add_argument("--output", metavar="FOLDER", help="where to write (default: `curate.output`, curated)")
    options.add_argument("--show", type=int, default=3, metavar="N", help="rows shown of each rule (default: 3)")
    given, rest = options.parse_known_args(arguments)
    config = _config(given.file, rest, _settings(given.against, given.output, given.keep))

    from tunesmith.curation.curate import curate as curate_rows

    section = config.synthesis.curate
    tokenizer = None
    if section.min_tokens or section.max_tokens or config.data.val_set_size:
        from tunesmith.modeling.tokenizer import model_tokenizer

        tokenizer = model_tokenizer(config.model)
    print(table(curate_rows(config, tokenizer), given.show))
    note(f"every row and its reason: {Path(section.output) / 'manifest.jsonl'}")
    return 0


def _settings(against: str | None, output: str | None, keep: list[str]) -> list[str]:
    """Return the options as keys."""
    found = [f"--test_datasets={json.dumps([{'path': against}])}"] if against else []
    found += [f"--curate.output={output}"] if output else []
    return found + ([f"--curate.keep={json.dumps(keep)}"] if keep else [])


def _config(file: str, rest: Sequence[str], settings: Sequence[str]) -> Config:
    """Return the config of a YAML file, or a plain one for a file of rows."""
    if kind_suffix(Path(file)) not in SUFFIXES:
        return read_config(file, [*rest, *settings])
    values: dict[str, Any] = {"base_model": "builtin/smollm2-135m-instruct", "learning_rate": 1.0}
    return load_values(values | {"datasets": [{"path": file}]}, file, overrides.parse([*rest, *settings]))


def table(summary: "Summary", show: int) -> str:
    """Return how many rows each rule leaves out, with the first ones, and where the others are."""
    stay = summary.rows - sum(summary.counts.values())
    width = max(map(len, ("rule", "stay", *summary.counts)))
    lines = [f"{'rule':<{width}}  {'rows':>10}   share"]
    for rule, count in [*sorted(summary.counts.items(), key=lambda item: -item[1]), ("stay", stay)]:
        lines.append(f"{rule:<{width}}  {count:>10,}  {100 * count / max(summary.rows, 1):5.1f}%")
        lines += [f"    {example}" for example in summary.examples.get(rule, [])[:show]]
    if summary.held_out:
        lines.append(
            f"{summary.held_out:,} rows that `val_set_size` holds out are left as they are, in a file of their own:"
        )
        lines.append("name it in `test_datasets` in place of `val_set_size`, so that the same rows stay held out")
    return "\n".join([*lines, "", *(f"{file}  {count:,} rows" for file, count in summary.files.items())])


main = entry(curate)


if __name__ == "__main__":
    sys.exit(main())
