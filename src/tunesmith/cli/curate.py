"""`tunesmith curate`: select rows by quality, length and duplicates, with the reason of each exclusion."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.config import overrides
from tunesmith.config.load import load_values
from tunesmith.data.data_files import SUFFIXES, kind_suffix
from tunesmith.log import note
from tunesmith.sections import Config

if TYPE_CHECKING:
    from tunesmith.curation.curate import Summary

SUMMARY = "Exclude duplicates, near-duplicates, leaked prompts and rows out of bounds, with reasons. The source stays."
EXAMPLES = """  tunesmith curate lora.yml
  tunesmith curate rows.jsonl --against test.jsonl --curate.max-chars 4000
  tunesmith curate rows.parquet --curate.dedup-keys '[[question], [question, answer]]'
  tunesmith curate lora.yml --keep near-duplicate"""


def curate(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("curate", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_ROWS", help="YAML file, or a file of rows")
    options.add_argument("--against", metavar="ROWS", help="eval rows, whose prompts no training row may have")
    options.add_argument("--keep", "--undo", action="append", default=[], metavar="RULE", help="undo a rule")
    options.add_argument("--output", metavar="FOLDER", help="where to write (default: `curate.output`, curated)")
    options.add_argument("--show", type=int, default=3, metavar="N", help="rows shown of each rule (default: 3)")
    args, override_arguments = options.parse_known_args(arguments)
    config = _config(args.file, override_arguments, _settings(args.against, args.output, args.keep))

    from tunesmith.curation.curate import curate as curate_rows

    section = config.synthesis.curate
    tokenizer = None
    if section.min_tokens or section.max_tokens or config.data.val_set_size:
        from tunesmith.modeling.tokenizer import model_tokenizer

        tokenizer = model_tokenizer(config.model)
    print(format_summary(curate_rows(config, tokenizer), args.show))
    note(f"every row and its reason: {Path(section.output) / 'manifest.jsonl'}")
    return 0


def _settings(against: str | None, output: str | None, keep: list[str]) -> list[str]:
    """Return the options as overrides."""
    settings = []
    if against:
        settings.append(f"--test_datasets={json.dumps([{'path': against}])}")
    if output:
        settings.append(f"--curate.output={output}")
    if keep:
        settings.append(f"--curate.keep={json.dumps(keep)}")
    return settings


def _config(file: str, arguments: Sequence[str], settings: Sequence[str]) -> Config:
    """Return the config of a YAML file, or a plain one for a file of rows."""
    if kind_suffix(Path(file)) not in SUFFIXES:
        return read_config(file, [*arguments, *settings])
    values: dict[str, Any] = {"base_model": "builtin/smollm2-135m-instruct", "learning_rate": 1.0}
    return load_values(values | {"datasets": [{"path": file}]}, file, overrides.parse([*arguments, *settings]))


def format_summary(summary: "Summary", show: int) -> str:
    """Return how many rows each rule excludes, with the first ones, and the written files."""
    num_kept = summary.rows - sum(summary.counts.values())
    width = max(map(len, ("rule", "stay", *summary.counts)))
    lines = [f"{'rule':<{width}}  {'rows':>10}   share"]
    for rule, count in [*sorted(summary.counts.items(), key=lambda item: -item[1]), ("stay", num_kept)]:
        lines.append(f"{rule:<{width}}  {count:>10,}  {100 * count / max(summary.rows, 1):5.1f}%")
        for example in summary.examples.get(rule, [])[:show]:
            lines += [f"    {example}", *(f"        {text}" for text in dict.fromkeys(summary.texts.get(example, ())))]
    if summary.not_compared:
        names = ", ".join(f"{name} ({count:,} rows)" for name, count in summary.not_compared.items())
        lines.append(f"not compared, because they hold bookkeeping that the dataset type does not read: {names}")
    if summary.held_out:
        lines.append(
            f"{summary.held_out:,} eval rows of `val_set_size` are not curated, and are written to a file of their own:"
        )
        lines.append("name it in `test_datasets` instead of `val_set_size` to keep the same eval rows")
    return "\n".join([*lines, "", *(f"{file}  {count:,} rows" for file, count in summary.files.items())])


main = entry(curate)


if __name__ == "__main__":
    sys.exit(main())
