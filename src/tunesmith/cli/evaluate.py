"""`tunesmith evaluate`: loss, perplexity, assertions on generated answers, and fixed and broken rows."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli.arguments import entry, parser, quick_imports, read_config
from tunesmith.errors import FAILED, ConfigError
from tunesmith.log import note
from tunesmith.sections import Config

if TYPE_CHECKING:
    from tunesmith.evals.baseline import Baseline
    from tunesmith.evals.report import Report

SUMMARY = "Measure the model on the eval rows: loss, perplexity, and the config's assertions on its answers."
EXAMPLES = """  tunesmith evaluate examples/honeycomb/lora.yml
  tunesmith evaluate outputs/honeycomb-lora --compare --show 5
  tunesmith evaluate lora.yml --evaluation.max-rows 50
  tunesmith evaluate lora.yml --baseline baseline.json --max-drop 0.02    # exit code 6 if worse
  tunesmith evaluate outputs/honeycomb-lora --evaluation.backend vllm       # needs vLLM
  tunesmith evaluate outputs/honeycomb-lora --tasks hellaswag,arc_easy    # needs lm-eval"""


def evaluate(arguments: list[str]) -> int:
    """Run the command and return its exit code: 6 if the model is worse than the baseline."""
    options = parser("evaluate", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--compare", action="store_true", help="evaluate the base model too: fixed and broken rows")
    options.add_argument("--base", action="store_true", help="evaluate the base model only")
    options.add_argument("--baseline", metavar="RUN_OR_REPORT", help="compare with an earlier report of the same rows")
    options.add_argument(
        "--max-drop",
        type=_parse_fraction,
        metavar="FRACTION",
        help="with --baseline: the pass rate may not fall by more, as 0.02",
    )
    options.add_argument("--show", type=int, metavar="N", default=3, help="print N rows of each kind (default: 3)")
    options.add_argument(
        "--output",
        metavar="FILE",
        help="JSON report, with .md and .html next to it (default: evaluation/report.json in output_dir)",
    )
    options.add_argument("--tasks", metavar="A,B", help="run these tasks of lm-eval instead of the eval rows")
    args, overrides = options.parse_known_args(arguments)
    if args.compare and args.base:
        raise ConfigError("--compare and --base: use only one")
    if args.max_drop is not None and not args.baseline:
        raise ConfigError("--max-drop needs --baseline: a run or a report to compare with")
    config = read_config(args.file, overrides)
    return _run_tasks(config, args) if args.tasks else _evaluate_rows(config, args)


def _evaluate_rows(config: Config, args: argparse.Namespace) -> int:
    file, baseline = _read_files(config, args)
    with quick_imports():
        from tunesmith.evals.comparison import compare_all
        from tunesmith.evals.evaluate import evaluate as evaluate_config
    from tunesmith.evals.files import write_report
    from tunesmith.evals.text import format_counts, format_summary, format_worst_rows

    report = evaluate_config(config, base=args.compare or args.base, tuned=not args.base, baseline=baseline)
    comparisons = compare_all(report)
    files = write_report(report, comparisons, file, f"Evaluation of {config.training.output_dir}")
    if args.show and (rows := format_worst_rows(report, comparisons, args.show)):
        print(rows + "\n")
    print(format_summary(report))
    for item in comparisons:
        print(f"\n{format_counts(item, report.criterion)}")
    note("in brackets: percentages or means with their 95% intervals")
    note(f"all rows and reasons: {', '.join(map(str, files))}")
    return _compare_with_baseline(report, args.max_drop) if baseline and report.rows else 0


def _read_files(config: Config, args: argparse.Namespace) -> tuple[Path, "Baseline | None"]:
    """Return the file of the report, and the baseline if there is one; they must not be the same file."""
    from tunesmith.evals.baseline import REPORT, read_baseline

    file = Path(args.output or Path(config.training.output_dir) / REPORT)
    if file.suffix in {".md", ".html"}:
        raise ConfigError(f"--output {file}: name the JSON report; Markdown and page are written next to it")
    baseline = read_baseline(args.baseline) if args.baseline else None
    if baseline and baseline.file.resolve() == file.resolve():
        raise ConfigError(f"--baseline {args.baseline}: the new report would replace it; set --output")
    return file, baseline


def _compare_with_baseline(report: "Report", max_drop: float | None) -> int:
    """Return the exit code: 6 if the model is worse than the baseline."""
    from tunesmith.evals.comparison import compare

    gate = compare(report, "baseline", list(report.losses)[-1])
    has_dropped = max_drop is not None and gate.difference.value < -max_drop
    if has_dropped and gate.verdict != "worse":
        print(f"worse: the pass rate fell by more than --max-drop {max_drop:g}")
    return FAILED if has_dropped or gate.verdict == "worse" else 0


def _run_tasks(config: Config, args: argparse.Namespace) -> int:
    from tunesmith.evals.tasks import run_tasks

    print(run_tasks(config, args.tasks.split(","), base=args.compare or args.base, tuned=not args.base))
    return 0


def _parse_fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no fraction from 0 to 1")
    return value


main = entry(evaluate)


if __name__ == "__main__":
    sys.exit(main())
