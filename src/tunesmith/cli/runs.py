"""`tunesmith runs`: the runs on this disk side by side, or one of them in full."""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.cli.arguments import entry, parser
from tunesmith.config.yaml_source import flow
from tunesmith.errors import ConfigError
from tunesmith.log import padded

if TYPE_CHECKING:
    from tunesmith.training.record.runs import Run

SUMMARY = "Show the runs in folders: a table of them, or all about one."
EXAMPLES = """  tunesmith runs
  tunesmith runs outputs/sweep --sort --page sweep.html
  tunesmith runs outputs/honeycomb-lora"""
STYLES = {"finished": "green", "running": "blue", "interrupted": "yellow", "failed": "red", "killed": "red"}
WIDTH, HEIGHT = 64, 12
"""Characters of the curve of a run."""
MOST_KEYS = 8
"""Keys in which a run differs that the table shows."""


def runs(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("runs", SUMMARY, EXAMPLES, about="")
    options.add_argument("folders", metavar="FOLDER", nargs="*", help="a run, or a folder with runs (default: outputs)")
    options.add_argument("--sort", action="store_true", help="sort by eval loss, the lowest first, instead of by age")
    options.add_argument("--json", action="store_true", help="print JSON")
    options.add_argument("--page", metavar="FILE", help="write an HTML page with the curves of all of them")
    args = options.parse_args(arguments)

    from tunesmith.training.record.runs import find_runs, write_page

    folders = [Path(name) for name in args.folders] or [Path("outputs") if Path("outputs").is_dir() else Path(".")]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder")
    found_runs = find_runs(folders)
    if not found_runs:
        names = ", ".join(map(str, folders))
        raise ConfigError(f"no runs in {names}; a run is a folder that `tunesmith train` wrote, with run/run.json")
    if args.sort:
        found_runs.sort(key=lambda item: (item.summary["eval_loss"] is None, item.summary["eval_loss"] or 0))
    if args.page:
        write_page(found_runs, Path(args.page))
        print(f"{len(found_runs)} runs: {args.page}")
    elif args.json:
        print(json.dumps([item.as_dict() for item in found_runs], indent=1, ensure_ascii=False, default=str))
    elif len(found_runs) == 1 and folders[0].resolve() == found_runs[0].folder.resolve():
        print("\n".join(_in_full(found_runs[0])))
    else:
        _print_table(found_runs)
    return 0


def _print_table(found_runs: "list[Run]") -> None:
    """Print a line for each run, and below it the keys in which it differs from others."""
    from rich.console import Console
    from rich.text import Text

    from tunesmith.training.record.runs import differences

    rows = [("run", "status", "started", "steps", "loss", "eval loss", "tokens/s"), *map(_row, found_runs)]
    differ = differences(found_runs)
    console = Console(highlight=False, soft_wrap=True)  # a file or a pipe has no width
    for number, (row, cells) in enumerate(zip(rows, padded(rows, left=range(3)), strict=True)):
        if number == 0:
            console.print(Text("  ".join(cells), "dim"))
            continue
        other_cells = "  ".join(["", *cells[2:]])
        console.print(Text.assemble((cells[0], "bold"), "  ", (cells[1], STYLES.get(row[1], "")), other_cells))
        run_values = {
            key: (values[number - 1], values) for key, values in differ.items() if values[number - 1] is not None
        }
        rarest = sorted(run_values, key=lambda key: run_values[key][1].count(run_values[key][0]))
        pairs = [f"{key}={_short(run_values[key][0], 40)}" for key in rarest]
        more = [f"and {len(pairs) - MOST_KEYS} more"] if len(pairs) > MOST_KEYS else []
        for line in textwrap.wrap("  ".join([*pairs[:MOST_KEYS], *more]), 96, break_long_words=False):
            console.print(Text(f"    {line}", "dim"))


def _row(item: "Run") -> tuple[str, ...]:
    about = item.summary
    return (
        _short(item.name, 36),
        about["status"],
        _when(about["started"])[5:],
        _steps(about),
        _number(about["loss"], ".4f"),
        _number(about["eval_loss"], ".4f"),
        _number(about["tokens_per_second"], ",.0f"),
    )


def _in_full(item: "Run") -> Iterator[str]:
    """Yield the lines about one run."""
    import yaml

    about = item.summary
    yield f"{item.folder}: {about['status']}, started {_when(about['started'])}, step {_steps(about)}"
    yield f"{_number(about['tokens_per_second'], ',.0f')} tokens/s, last training loss {_number(about['loss'], '.4f')}"
    curves = {mark: item.metrics[key] for mark, key in (("·", "loss"), ("o", "eval_loss")) if key in item.metrics}
    if curves:
        yield from (
            "",
            *chart(curves),
            "",
            "· training loss  o eval loss" if len(curves) > 1 else "· training loss",
        )
    for key, points in item.metrics.items():
        if key.startswith("eval_") and key.endswith("loss"):
            yield ""
            yield from (f"step {step:>6}  {key} {value:.4f}" for step, value in points)
    evaluation = item.folder / "evaluation/report.json"
    if evaluation.exists():
        report = json.loads(evaluation.read_text())
        for variant, figures in report["summary"].items():
            rate = f", {report['criterion']} {figures['pass_rate']['value']:.0%}" if "pass_rate" in figures else ""
            yield f"evaluate: {variant}: loss {figures['loss']:.4g}, perplexity {figures['perplexity']:,.4g}{rate}"
        yield from (f"evaluate: {item['sentence']}" for item in report["comparisons"])
    yield from ("", "config:", yaml.safe_dump(item.config, sort_keys=False, allow_unicode=True).rstrip())


def chart(curves: dict[str, list[tuple[int, float]]]) -> Iterator[str]:
    """Yield the lines of a drawing of curves, each with its mark."""
    points = [point for curve in curves.values() for point in curve]
    first_step, last_step = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for mark, curve in curves.items():
        for x, y in curve:
            row_fraction = (high - y) / ((high - low) or 1)
            column_fraction = (x - first_step) / ((last_step - first_step) or 1)
            rows[round(row_fraction * (HEIGHT - 1))][round(column_fraction * (WIDTH - 1))] = mark
    for index, row in enumerate(rows):
        label = f"{high - index / (HEIGHT - 1) * (high - low):.4g}" if index % 4 == 0 or index == HEIGHT - 1 else ""
        yield f"{label:>9} │{''.join(row)}".rstrip()
    yield f"{'':>9} └{'─' * WIDTH}"
    yield f"{'':>11}{first_step:<{WIDTH // 2}}{last_step:>{WIDTH // 2}}"


def _when(started: str | None) -> str:
    return (started or "-")[:16].replace("T", " ")


def _steps(about: dict[str, Any]) -> str:
    step, steps = about["step"], about["steps"]
    return f"{step or 0}" if steps in (None, step) else f"{step or 0}/{steps}"


def _number(value: float | None, format_spec: str) -> str:
    return "-" if value is None else f"{value:{format_spec}}"


def _short(value: object, longest: int) -> str:
    text = value if isinstance(value, str) else flow(value)
    return text if len(text) <= longest else f"…{text[1 - longest :]}"


main = entry(runs)


if __name__ == "__main__":
    sys.exit(main())
