"""`tunesmith learning-curve`: would more data help? Trains on shares of the rows and plots how good the answers are."""

import sys
from pathlib import Path

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.cli.train import train_one
from tunesmith.config import overrides
from tunesmith.errors import ConfigError
from tunesmith.log import note

SUMMARY = "Train on nested shares of the rows, and tell by the held-out rows whether more data would help."
EXAMPLES = """  tunesmith learning-curve examples/honeycomb/lora.yml
  tunesmith learning-curve lora.yml --shares 12.5,25,50,100 --evaluation.max-rows 200"""


def learning_curve(arguments: list[str]) -> int:
    """Run the command and return its exit code; the same command goes on where it was stopped."""
    options = parser("learning-curve", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file")
    options.add_argument(
        "--shares", metavar="A,B,C", default="25,50,100", help="percent of the training rows (default: 25,50,100)"
    )
    given, rest = options.parse_known_args(arguments)
    shares = _shares(given.shares)
    if given.file == "-" or Path(given.file).is_dir():
        raise ConfigError(f"{given.file}: name the YAML file; each share is a run of it")
    config = read_config(given.file, rest)

    from tunesmith.evals.evaluate import check_evaluation
    from tunesmith.evals.learning import curve_trials, measure, write_curve
    from tunesmith.generation.served import check_here
    from tunesmith.training.sweep import run_sweep

    check_here(config, "learning-curve")
    check_evaluation(config)  # what is wrong with them should be known before hours of training
    trials = curve_trials(given.file, config, shares, overrides.parse(rest))
    if code := run_sweep(trials, train_one):
        return code
    folder = trials[0].output.parent
    points, criterion = measure(trials)
    print(f"\n{write_curve(points, criterion, folder)}")
    note(f"also in {folder}: curve.png, curve.md, curve.json")
    return 0


def _shares(text: str) -> list[float]:
    try:
        shares = sorted({float(part) / 100 for part in text.split(",")})
    except ValueError:
        shares = []
    if len(shares) < 2 or not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"--shares {text}: expected at least two different percentages, such as 25,50,100")
    return shares


main = entry(learning_curve)


if __name__ == "__main__":
    sys.exit(main())
