"""`tunesmith judge`: a language model grades answers by a rubric; and how far it agrees with human labels."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.errors import ConfigError
from tunesmith.log import note
from tunesmith.references import resolve_file
from tunesmith.sections import Config

if TYPE_CHECKING:
    from tunesmith.evals.agreement import Labelled
    from tunesmith.evals.items import Item
    from tunesmith.evals.judge import Judgment, LLMJudge

SUMMARY = "Let another model judge answers by the rubric of the block `judge:`, or measure it against your labels."
EXAMPLES = """  tunesmith judge lora.yml                                  # the answers of `tunesmith evaluate`
  tunesmith judge lora.yml --answers rows.jsonl             # rows with the columns question and answer
  tunesmith judge lora.yml --against labels.csv             # does it judge as you do?
  tunesmith judge lora.yml --judge.endpoint.max-requests 50 # stops there; run it again to go on"""
BLOCK = """judge:
  rubric: rubric.md
  endpoint: {model: gpt-4.1, base_url: https://api.openai.com/v1, api_key_env: OPENAI_API_KEY}"""


def judge(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("judge", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--answers", metavar="FILE", help="report of tunesmith evaluate (the default), or rows")
    options.add_argument(
        "--against", metavar="CSV", nargs="?", const="", help="compare with labels (default: `judge.labels`)"
    )
    options.add_argument("--output", metavar="FILE", help="JSON lines (default: run/judged.jsonl of output_dir)")
    options.add_argument("--show", type=int, metavar="N", default=10, help="print N disagreements (default 10)")
    args, overrides = options.parse_known_args(arguments)
    config = read_config(args.file, overrides, quiet=True)
    section = config.evaluation.judge
    if section is None:
        raise ConfigError(f"{args.file} has no block `judge`, such as\n{BLOCK}")

    from tunesmith.evals.judge import format_outcomes, judge_items, load_judge
    from tunesmith.generation.endpoint import open_endpoint

    llm_judge = load_judge(section, config.source)
    labelled = None if args.against is None else _read_labelled(args, config, llm_judge)
    items = labelled.items if labelled else read_answers(args.answers, config)
    name = "judged_labels.jsonl" if labelled else "judged.jsonl"
    output = Path(args.output or Path(config.training.output_dir) / "run" / name)
    with open_endpoint(section.endpoint, config.source) as endpoint:
        judgments, stop_error = judge_items(items, llm_judge, endpoint, output)
    if labelled:
        _print_agreement(labelled, judgments, args.show)
    elif judgments:
        print(format_outcomes(items, judgments))
    note(f"{endpoint.spent}; critiques: {output}")
    if stop_error:
        raise stop_error
    return 0


def read_answers(file: str | None, config: Config) -> "list[Item]":
    """Return the answers of a file, by default of the evaluation of the config's run."""
    from tunesmith.evals.items import find_report, read_items

    return read_items(file or find_report(config.training.output_dir))


def _read_labelled(args: argparse.Namespace, config: Config, llm_judge: "LLMJudge") -> "Labelled":
    """Return the labelled answers of --against, by default of `judge.labels`."""
    from tunesmith.evals.agreement import select_labelled
    from tunesmith.evals.labels import read_labels

    file = args.against or resolve_file(llm_judge.section.labels, config.source)
    labels = read_labels(Path(file))
    needs_answers = any(len(key) == 1 for key in labels)
    return select_labelled(labels, llm_judge, read_answers(args.answers, config) if needs_answers else [], file)


def _print_agreement(labelled: "Labelled", judgments: "list[Judgment]", num_shown: int) -> None:
    """Print how far the judgments agree with the labels."""
    from tunesmith.evals.agreement import advise, compare, format_agreement, format_disagreements

    pairs = compare(labelled, judgments)
    if pairs:
        blocks = format_disagreements(pairs, num_shown) or "all labels and judgments agree"
        print(f"{blocks}\n\n{format_agreement(pairs)}\n\n{advise(pairs)}")
    if labelled.num_examples:
        note(f"excluded, because they are in `judge.examples`: {labelled.num_examples} of the labels")


main = entry(judge)


if __name__ == "__main__":
    sys.exit(main())
