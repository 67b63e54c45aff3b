"""`tunesmith check`: what is wrong with the data, the tokenizer or the chat template, before anything is trained."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.errors import ConfigError, DataError
from tunesmith.files import write_json

if TYPE_CHECKING:
    from tunesmith.checks.report import CheckReport

SUMMARY = "Look for faults of the data, the tokenizer and the chat template, without loading the model."
EXAMPLES = """  tunesmith check examples/honeycomb/lora.yml
  tunesmith check lora.yml --rows 1000 --html report.html
  tunesmith check lora.yml --parity
  tunesmith check lora.yml --server http://localhost:8000"""


def check(arguments: list[str]) -> int:
    """Run the command and return its exit code: that of a data error, if there is an error among the findings."""
    options = parser("check", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file, or - for standard input")
    options.add_argument("--html", metavar="PATH", help="HTML page (default: check.html of dataset_prepared_path)")
    options.add_argument("--json", metavar="PATH", help="also write findings and figures as JSON")
    options.add_argument("--rows", type=int, metavar="N", help="check the first N rows of each dataset")
    options.add_argument(
        "--parity", action="store_true", help="compare the prompt ids of training, inference and a server"
    )
    options.add_argument(
        "--server", metavar="URL", help="--parity against this OpenAI-compatible server, instead of a local one"
    )
    args, overrides = options.parse_known_args(arguments)
    if args.rows is not None and args.rows < 1:
        raise ConfigError(f"--rows {args.rows}: expected a number above 0")
    config = read_config(args.file, overrides)

    from tunesmith.checks.doctor import run_checks
    from tunesmith.modeling.builtin import local_base_model
    from tunesmith.modeling.tokenizer import model_tokenizer

    tokenizer = model_tokenizer(config.model)
    folder = local_base_model(config.model.base_model)
    report = run_checks(config, tokenizer, limit=args.rows, model_folder=folder)
    try:
        if args.parity or args.server:
            from tunesmith.checks.parity import check_parity

            report.findings += check_parity(config, tokenizer, server=args.server or True, model_folder=folder)
    finally:  # an error of the server does not lose the report
        page = Path(args.html or Path(config.data.dataset_prepared_path) / "check.html")
        _show(report, page, args.json)
    return DataError.exit_code if any(item.severity == "error" for item in report.findings) else 0


def _show(report: "CheckReport", page: Path, json_file: str | None) -> None:
    """Print the report, and write its page and its JSON."""
    from rich.console import Console

    from tunesmith.checks.page import write_page
    from tunesmith.checks.terminal import as_text, summary

    Console(soft_wrap=True, highlight=False).print(as_text(report))
    page.parent.mkdir(parents=True, exist_ok=True)
    write_page(report, page)
    if json_file:
        content = {key: value for key, value in asdict(report).items() if key != "samples"}
        write_json(Path(json_file), content)
    print(f"{summary(report)}; page: {page}")


main = entry(check)


if __name__ == "__main__":
    sys.exit(main())
