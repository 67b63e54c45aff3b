"""`tunesmith bench`: benchmark against TRL at the same work."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from tunesmith.cli.arguments import entry, parser, quiet_libraries, read_config
from tunesmith.errors import ConfigError
from tunesmith.files import write_text
from tunesmith.sections import Config

SUMMARY = (
    "Train some rows of FILE with Tunesmith and with TRL's SFTTrainer, in turns, and compare speed, memory, losses."
)
EXAMPLES = """  tunesmith bench examples/honeycomb/lora.yml
  tunesmith bench lora.yml --growth growth
  tunesmith bench lora.yml --rows 48 --micro-batch-size 4 --rounds 3 --output bench-results.json"""


def bench(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("bench", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file with `adapter: lora`")
    options.add_argument("--rows", type=int, default=24, help="rows to train on (default 24)")
    options.add_argument(
        "--mean-tokens", type=int, default=579, help="concatenate rows to so many tokens (default 579; 0: do not)"
    )
    options.add_argument("--micro-batch-size", type=int, default=4, help="rows a step (default 4)")
    options.add_argument("--epochs", type=int, default=1, help="passes over the rows (default 1)")
    options.add_argument("--rounds", type=int, default=2, help="runs of each system (default 2)")
    options.add_argument("--output", default="bench-results.json", help="file to write (default bench-results.json)")
    options.add_argument(
        "--growth", metavar="FOLDER", help="measure how time and memory grow; write table and plot there"
    )
    args, overrides = options.parse_known_args(arguments)
    config = read_config(args.file, overrides, quiet=True)
    if args.growth:
        return _growth(config, Path(args.growth))
    if not find_spec("trl"):
        raise ConfigError("the benchmark compares with TRL: pip install trl")
    quiet_libraries()
    from tunesmith.bench.measure import measure

    results = measure(
        config,
        rows=args.rows,
        mean=args.mean_tokens,
        batch=args.micro_batch_size,
        epochs=args.epochs,
        rounds=args.rounds,
    )
    write_text(Path(args.output), json.dumps(results, indent=1) + "\n")
    for name, ratio in results["ratios"].items():
        low, high = results["spread"].get(name, (ratio, ratio))
        print(f"{name:<28}  {ratio:5.2f}  ({low:.2f} to {high:.2f})" if low < high else f"{name:<28}  {ratio:5.2f}")
    print(f"losses of the same steps differ by at most {results['loss_difference']:.2%}")
    print(f"written to {args.output}")
    return 0


def _growth(config: Config, folder: Path) -> int:
    quiet_libraries()
    from tunesmith.bench.growth import format_table, measure_growth, plot

    points = measure_growth(config)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "growth.md", format_table(points) + "\n")
    plot(points, folder / "growth.png")
    print(format_table(points))
    return 0


main = entry(bench)


if __name__ == "__main__":
    sys.exit(main())
