"""`tunesmith learning-curve`: would more data help? Trains on subsets of the rows and plots the quality."""

import sys
from pathlib import Path

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.cli.train import train_one
from tunesmith.config import overrides
from tunesmith.errors import ConfigError
from tunesmith.log import note

SUMMARY = "Train on nested subsets of the rows, and report from the eval rows whether more data would help."
EXAMPLES = """  tunesmith learning-curve examples/honeycomb/lora.yml
  tunesmith learning-curve lora.yml --shares 12.5,25,50,100 --evaluation.max-rows 200"""


def learning_curve(arguments: list[str]) -> int:
    """Run the command and return its exit code; the same command continues a stopped run."""
    options = parser("learning-curve", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file")
    options.add_argument(
        "--shares", metavar="A,B,C", default="25,50,100", help="percent of the training rows (default: 25,50,100)"
    )
    args, override_arguments = options.parse_known_args(arguments)
    fractions = _parse_fractions(args.shares)
    if args.file == "-" or Path(args.file).is_dir():
        raise ConfigError(f"{args.file}: name the YAML file; each subset is a run of it")
    config = read_config(args.file, override_arguments)

    from tunesmith.evals.evaluate import check_evaluation
    from tunesmith.evals.learning import make_curve_trials, measure, write_curve
    from tunesmith.generation.served import check_local
    from tunesmith.training.sweep import run_sweep

    check_local(config.evaluation.evaluation, "learning-curve")
    check_evaluation(config)  # errors should appear before hours of training
    trials = make_curve_trials(args.file, config, fractions, overrides.parse(override_arguments))
    if code := run_sweep(trials, train_one):
        return code
    folder = trials[0].output.parent
    points, criterion = measure(trials)
    print(f"\n{write_curve(points, criterion, folder)}")
    note(f"also in {folder}: curve.png, curve.md, curve.json")
    return 0


def _parse_fractions(text: str) -> list[float]:
    try:
        fractions = sorted({float(part) / 100 for part in text.split(",")})
    except ValueError:
        fractions = []
    if len(fractions) < 2 or not all(0 < fraction <= 1 for fraction in fractions):
        raise ConfigError(f"--shares {text}: expected at least two different percentages, such as 25,50,100")
    return fractions


main = entry(learning_curve)


if __name__ == "__main__":
    sys.exit(main())
