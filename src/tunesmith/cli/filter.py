"""`tunesmith filter`: the rows that pass the assertions, and the rejected rows with their reasons."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.errors import ConfigError
from tunesmith.log import progress

if TYPE_CHECKING:
    from tunesmith.data.formats.format import FormatSpec

SUMMARY = "Write the rows that pass the assertions, and next to them the rejected rows with the reasons."
EXAMPLES = """  tunesmith filter rows.jsonl --assertions assertions.py
  tunesmith filter rows.csv --assertions assertions.py:test_limit --output good.jsonl
  tunesmith filter lora.yml
  tunesmith filter lora.yml --assertions assertions.py --evaluation.assertion-seconds 30"""
ABOUT = """FILE is a data file, or a config: any of its keys can be set here; its datasets[].filters are taken, unless
--assertions is given. The assertions get the row's own answer, by its type. NAME.jsonl becomes NAME.kept.jsonl and
NAME.dropped.jsonl in this folder; the latter also has the columns `place` and `reasons`."""


def filter_rows(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("filter", SUMMARY, EXAMPLES, ABOUT)
    options.add_argument("file", metavar="FILE", help="data file (.jsonl, .json, .csv, .parquet, ...), or YAML file")
    options.add_argument("--assertions", metavar="PY", help="file.py or file.py:function, instead of `filters`")
    options.add_argument("--type", help="dataset type of a data file, such as alpaca (default: from its columns)")
    options.add_argument("--output", metavar="KEPT", help="file of the rows that pass, if there is one dataset")
    args, overrides = options.parse_known_args(arguments)

    from tunesmith.data.data_files import SUFFIXES, kind_suffix
    from tunesmith.data.filters import dropped_lines, filtered_rows, spec_of_file, write_filtered
    from tunesmith.data.splits import set_names
    from tunesmith.references import resolve_file

    if kind_suffix(Path(args.file)) in SUFFIXES:
        if overrides:
            raise ConfigError(f"{overrides[0]}: keys can be set for a config, and {args.file} is a data file")
        if not args.assertions:
            raise ConfigError(f"{args.file} is a data file: give --assertions FILE.py")
        specs, seconds = [spec_of_file(args.file, args.type, [args.assertions])], 5.0
    else:
        if args.type:
            raise ConfigError("--type is for a data file; a config has `datasets[].type`")
        specs, seconds = _specs_of_config(args, overrides)
    if args.output and len(specs) > 1:
        raise ConfigError(f"--output {args.output}: {len(specs)} datasets have filters; remove --output")
    for spec, name in zip(specs, set_names([spec.dataset for spec in specs]), strict=True):
        kept_file = Path(args.output or f"{name}.kept.jsonl")
        dropped_file = kept_file.with_name(f"{kept_file.stem.removesuffix('.kept')}.dropped.jsonl")
        input_file = Path(resolve_file(spec.dataset.path, spec.source)).resolve()
        if input_file in (kept_file.resolve(), dropped_file.resolve()):
            raise ConfigError(
                f"--output {kept_file}: it would replace the input {spec.dataset.path}; name another file"
            )
        with progress(f"filtering {spec.dataset.path}", unit="rows") as advance:
            result = write_filtered(filtered_rows(spec, None, seconds), kept_file, dropped_file, advance)
        print(f"{spec.dataset.path}: {result.rows:,} rows, {result.rows - result.dropped:,} kept in {kept_file}")
        if result.dropped:
            print("\n".join(dropped_lines(result.dropped, result.rows, result.tallies.values(), dropped_file)))
    return 0


def _specs_of_config(args: argparse.Namespace, overrides: list[str]) -> tuple[list["FormatSpec"], float]:
    """Return the settings of the datasets that have filters, and the time limit."""
    config = read_config(args.file, overrides)
    from tunesmith.data.formats.specs import format_specs
    from tunesmith.modeling.tokenizer import model_tokenizer

    datasets = [*config.data.datasets, *config.data.test_datasets]
    if args.assertions:
        datasets = [entry.model_copy(update={"filters": [args.assertions]}) for entry in datasets]
    if not (datasets := [entry for entry in datasets if entry.filters]):
        raise ConfigError(f"no entry of `datasets` in {args.file} has `filters`; set it, or give --assertions FILE.py")
    specs = format_specs(datasets, config.data, config.model, model_tokenizer(config.model), config.source)
    return specs, config.evaluation.evaluation.assertion_seconds


main = entry(filter_rows)


if __name__ == "__main__":
    sys.exit(main())
