"""`tunesmith evaluate`: loss, perplexity, and your assertions over generated answers."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tunesmith.cli.arguments import parser, read_config, run
from tunesmith.errors import ConfigError
from tunesmith.log import note

SUMMARY = "Measure the model on held-out rows: loss, perplexity, and the file's assertions over its answers."
EXAMPLES = """  tunesmith evaluate examples/honeycomb/lora.yml
  tunesmith evaluate outputs/honeycomb-lora --compare --show 5
  tunesmith evaluate lora.yml --evaluation.max-rows 50"""


def evaluate(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("evaluate", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--compare", action="store_true", help="evaluate the base model too, side by side")
    options.add_argument("--base", action="store_true", help="evaluate the base model only")
    options.add_argument("--show", type=int, metavar="N", default=0, help="print N rows with the answers")
    options.add_argument("--output", metavar="FILE", help="JSON report (default: run/evaluation.json of output_dir)")
    given, overrides = options.parse_known_args(arguments)
    if given.compare and given.base:
        raise ConfigError("--compare and --base: keep one")
    config = read_config(given.file, overrides)

    from tunesmith.evals.evaluate import evaluate as evaluate_config
    from tunesmith.evals.report import side_by_side, table

    report = evaluate_config(config, base=given.compare or given.base, tuned=not given.base)
    file = Path(given.output or Path(config.training.output_dir) / "run/evaluation.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    if given.show:
        print(side_by_side(report, given.show) + "\n")
    print(table(report))
    note(f"all rows and reasons: {file}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the error handling of all commands."""
    return run(evaluate, arguments)


if __name__ == "__main__":
    sys.exit(main())
