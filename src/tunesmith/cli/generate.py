"""`tunesmith generate`: a model writes rows like the seed rows; each is validated before it is accepted."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.errors import ConfigError
from tunesmith.log import aligned, note
from tunesmith.sections import Config, Generate

if TYPE_CHECKING:
    from tunesmith.synth.generate import JudgeRows, Outcome

SUMMARY = """Generate rows like the seed rows. Each is validated by the schema, the assertions, the judge, and compared
with all others. The same command continues a stopped run, and sends no request twice."""
EXAMPLES = """  tunesmith generate lora.yml --dry-run
  tunesmith generate lora.yml
  tunesmith generate lora.yml --generate.rows 50 --generate.endpoint.max-requests 100"""


def generate(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("generate", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file with a `generate:` block, or - for standard input")
    options.add_argument(
        "--dry-run", action="store_true", help="show the first prompt and an estimate; send no request"
    )
    args, overrides = options.parse_known_args(arguments)
    config = read_config(args.file, overrides)
    section = config.synthesis.generate
    if section is None:
        raise ConfigError(f"{args.file} has no `generate` block, which names the seeds and the model")
    if args.dry_run:
        _dry_run(section, config.source)
        return 0

    from tunesmith.synth.generate import generate as generate_rows

    with _open_judge(config, section) as judge:
        outcome = generate_rows(config, section, judge)
    print(format_outcome(outcome))
    note(f"rows: {section.output}; rejected rows and reasons: the .rejected.jsonl next to it")
    return 0


def _dry_run(section: Generate, source: str) -> None:
    """Print the first prompt and an estimate of the cost; invalid files are an error."""
    from tunesmith.assertions import open_assertions
    from tunesmith.synth.generate import estimate
    from tunesmith.synth.prompts import Prompts

    prompts = Prompts(section, source)
    if section.assertions:
        with open_assertions(section.assertions, source, workers=1):
            pass
    prompt_tokens, completion_tokens, cost = estimate(section, prompts)
    print(prompts.render(1))
    price = f", cost {cost:.4f}" if cost else ""
    note(
        f"about {section.rows:,} requests, {prompt_tokens:,} tokens in, {completion_tokens:,} out{price}, "
        "if every row is accepted at once (with four characters a token)"
    )


@contextmanager
def _open_judge(config: Config, section: Generate) -> Iterator["JudgeRows | None"]:
    """Yield the LLM judge of the config, if `generate.judge` is set."""
    if config.evaluation.judge is None or not section.judge:
        yield None
        return
    from tunesmith.evals.items import Item
    from tunesmith.evals.judge import load_judge, to_judgment
    from tunesmith.generation.endpoint import open_endpoint

    judge = load_judge(config.evaluation.judge, config.source)
    with open_endpoint(judge.section.endpoint, config.source) as endpoint:

        def judge_rows(rows: Sequence[tuple[str, str]]) -> list[str]:
            items = [Item("", "", question, answer) for question, answer in rows]
            critiques = [""] * len(items)
            for index, reply in endpoint.ask(judge.request(item) for item in items):
                judgment = to_judgment("", items[index], reply)
                if judgment.outcome != "good":
                    critiques[index] = judgment.critique or judgment.outcome
            return critiques

        yield judge_rows
        note(f"judge: {endpoint.spent}")


def format_outcome(outcome: "Outcome") -> str:
    """Return the statistics of a run."""
    from tunesmith.synth.diversity import format_diversity

    lines = [["replies", f"{outcome.tries:,}", ""], ["accepted", f"{outcome.accepted.rows:,}", ""]]
    for kind, number in outcome.faults.most_common():
        lines.append([f"  fault: {kind}", f"{number:,}", f"{number / outcome.tries:.1%}"])
    lines.append(["rejected", f"{outcome.rejected:,}", ""])
    table = format_diversity(outcome.seeds, outcome.accepted, outcome.choices)
    return f"{table}\n\n{aligned(lines)}\n\n{outcome.spent}"


main = entry(generate)


if __name__ == "__main__":
    sys.exit(main())
