"""`tunesmith train`: from a config to weights."""

import argparse
import sys

from tunesmith.cli.arguments import entry, parser, quick_imports, quiet_libraries, read_config
from tunesmith.errors import INTERRUPTED, ConfigError
from tunesmith.log import note
from tunesmith.sections import Config

SUMMARY = "Train what the file says; weights, checkpoints and the record go to its output_dir."
EXAMPLES = """  tunesmith train examples/honeycomb/lora.yml
  tunesmith train lora.yml --learning-rate 1e-4 --output-dir outputs/second
  tunesmith train lora.yml --resume
  tunesmith train lora.yml --sweep sweep.yml
  torchrun --nproc_per_node 2 -m tunesmith.cli.train lora.yml"""


def train(arguments: list[str]) -> int:
    """Run the command and return its exit code: 0, or 130 when a signal ended it after a checkpoint."""
    options = parser("train", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file, or - for standard input")
    options.add_argument("--resume", action="store_true", help="go on from the last checkpoint in output_dir")
    options.add_argument("--overwrite", action="store_true", help="move a run that is in output_dir aside")
    options.add_argument("--sweep", metavar="SWEEP", help="YAML file with lists of values: a run for each combination")
    options.add_argument("--dry-run", action="store_true", help="say what would be trained, and train nothing")
    args, overrides = options.parse_known_args(arguments)
    if args.resume and args.overwrite:
        raise ConfigError("--resume and --overwrite: use only one")
    if args.sweep:
        return _sweep(args, overrides)
    config = read_config(args.file, overrides)
    if args.dry_run:
        from tunesmith.training.record.output import starting_point

        start = starting_point(config.training, resume=args.resume, overwrite=args.overwrite)
        print(f"would train {config.model.base_model} into {config.training.output_dir}: {start or 'from the start'}")
        return 0
    return 0 if train_one(config, resume=args.resume, overwrite=args.overwrite) else INTERRUPTED


def train_one(config: Config, *, resume: bool, overwrite: bool) -> bool:
    """Train a config, also as a trial in a process of its own, and return whether it came to its end."""
    quiet_libraries()
    with quick_imports():
        from tunesmith.training.run import train as train_config

    return train_config(config, resume=resume, overwrite=overwrite).finished


def _sweep(args: argparse.Namespace, overrides: list[str]) -> int:
    if args.overwrite:
        raise ConfigError("--overwrite and --sweep: finished trials are kept; set another --output-dir to train anew")

    from tunesmith.config.trials import read_sweep
    from tunesmith.training.sweep import run_sweep, standings, table

    trials = read_sweep(args.file, args.sweep, overrides)
    for text in dict.fromkeys(text for trial in trials for text in trial.config.notes):
        note(f"note: {text}")
    if not args.dry_run:
        return run_sweep(trials, train_one)
    states = zip(trials, standings(trials), strict=True)
    print(table([{"trial": trial.name, **trial.values, "status": state} for trial, state in states]))
    return 0


main = entry(train)


if __name__ == "__main__":
    sys.exit(main())
