"""`tunesmith train`: from a config to weights."""

import sys
from collections.abc import Sequence

from tunesmith.cli.arguments import parser, read_config, run
from tunesmith.errors import INTERRUPTED, ConfigError

SUMMARY = "Train what the file says; weights, checkpoints and the record go to its output_dir."
EXAMPLES = """  tunesmith train examples/honeycomb/lora.yml
  tunesmith train lora.yml --learning-rate 1e-4 --output-dir outputs/second
  tunesmith train lora.yml --resume
  torchrun --nproc_per_node 2 -m tunesmith.cli.train lora.yml"""


def train(arguments: list[str]) -> int:
    """Run the command and return its exit code: 0, or 130 when a signal ended it after a checkpoint."""
    options = parser("train", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file, or - for standard input")
    options.add_argument("--resume", action="store_true", help="go on from the last checkpoint in output_dir")
    options.add_argument("--overwrite", action="store_true", help="move a run that is in output_dir aside")
    given, overrides = options.parse_known_args(arguments)
    if given.resume and given.overwrite:
        raise ConfigError("--resume and --overwrite: keep one")
    config = read_config(given.file, overrides)

    from tunesmith.training.run import train as train_config

    outcome = train_config(config, resume=given.resume, overwrite=given.overwrite)
    return 0 if outcome.finished else INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the error handling of all commands."""
    return run(train, arguments)


if __name__ == "__main__":
    sys.exit(main())
