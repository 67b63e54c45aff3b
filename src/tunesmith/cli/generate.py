"""`tunesmith generate`: rows that a model writes after the pattern of seed rows, each checked before it is taken."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.errors import ConfigError
from tunesmith.log import aligned, note
from tunesmith.sections import Config, Generate

if TYPE_CHECKING:
    from tunesmith.synth.generate import Critic, Outcome

SUMMARY = """Make rows after the pattern of seed rows; each is checked by the schema, the assertions, the judge, and
against all others. The same command goes on where a run ended, and asks nothing twice."""
EXAMPLES = """  tunesmith generate lora.yml --dry-run
  tunesmith generate lora.yml
  tunesmith generate lora.yml --generate.rows 50 --generate.endpoint.max-requests 100"""


def generate(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("generate", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file with a `generate:` block, or - for standard input")
    options.add_argument("--dry-run", action="store_true", help="show the first prompt and an estimate; ask nothing")
    given, overrides = options.parse_known_args(arguments)
    config = read_config(given.file, overrides)
    section = config.synthesis.generate
    if section is None:
        raise ConfigError(f"{given.file} has no `generate` block, which says from which seeds and by which model")
    if given.dry_run:
        _dry_run(section, config.source)
        return 0

    from tunesmith.synth.generate import generate as generate_rows

    with _critic(config) as critic:
        outcome = generate_rows(config, section, critic)
    print(report(outcome))
    note(f"rows: {section.output}; what was turned down, and why, stands beside it in .rejected.jsonl")
    return 0


def _dry_run(section: Generate, source: str) -> None:
    """Print the first prompt, and what the whole would take; files that are at fault are an error."""
    from tunesmith.assertions import jury
    from tunesmith.synth.generate import estimate
    from tunesmith.synth.prompts import Prompts

    prompts = Prompts(section, source)
    if section.assertions:
        with jury(section.assertions, source, workers=1):
            pass
    sent, received, cost = estimate(section, prompts)
    print(prompts.render(1))
    price = f", cost {cost:.4f}" if cost else ""
    note(
        f"about {section.rows:,} requests, {sent:,} tokens in, {received:,} out{price}, if every row is taken at once "
        "(a token is taken as four characters)"
    )


@contextmanager
def _critic(config: Config) -> Iterator["Critic | None"]:
    """Yield the judge of the config, if rows are to be judged."""
    judge = config.evaluation.judge
    if judge is None or config.synthesis.generate is None or not config.synthesis.generate.judge:
        yield None
        return
    from tunesmith.evals.items import Item
    from tunesmith.evals.judge import judgement, load_critic
    from tunesmith.generation.endpoint import open_endpoint

    critic = load_critic(judge, config.source)
    with open_endpoint(judge.endpoint, config.source) as endpoint:

        def reasons(rows: Sequence[tuple[str, str]]) -> list[str]:
            items = [Item("", "", *row) for row in rows]
            found = [""] * len(items)
            for index, reply in endpoint.ask(critic.request(item) for item in items):
                said = judgement("", items[index], reply)
                found[index] = "" if said.outcome == "good" else said.critique or said.outcome
            return found

        yield reasons
        note(f"judge: {endpoint.spent}")


def report(outcome: "Outcome") -> str:
    """Return the figures of a run."""
    from tunesmith.synth.diversity import figures

    lines = [["replies", f"{outcome.tries:,}", ""], ["taken", f"{outcome.made.rows:,}", ""]]
    lines += [
        [f"  fault: {kind}", f"{number:,}", f"{number / outcome.tries:.1%}"]
        for kind, number in outcome.faults.most_common()
    ]
    lines += [["given up", f"{outcome.given_up:,}", ""]]
    return f"{figures(outcome.seeds, outcome.made, outcome.choices)}\n\n{aligned(lines)}\n\n{outcome.spent}"


main = entry(generate)


if __name__ == "__main__":
    sys.exit(main())
