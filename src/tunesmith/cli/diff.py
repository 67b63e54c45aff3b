"""`tunesmith diff`: the settings in which two configs or runs differ."""

import json
import sys
from collections.abc import Iterator

from tunesmith.cli.arguments import entry, parser, read_recorded
from tunesmith.config.yaml_source import flow
from tunesmith.log import aligned

SUMMARY = "Show the keys whose values differ, with defaults and old names resolved. Exit code 1 if any do, as of diff."
EXAMPLES = """  tunesmith diff lora.yml qlora.yml
  tunesmith diff lora.yml outputs/honeycomb-lora
  tunesmith diff outputs/first outputs/second --json"""
WIDTH = 60


def diff(arguments: list[str]) -> int:
    """Run the command and return its exit code: 0 if both are equal, 1 if not."""
    options = parser("diff", SUMMARY, EXAMPLES)
    options.add_argument("a", metavar="A", help="YAML file, address, or the folder of a run")
    options.add_argument("b", metavar="B", help="the other one")
    options.add_argument("--json", action="store_true", help="as JSON: {key: {a: value, b: value}}")
    args, overrides = options.parse_known_args(arguments)
    configs = [read_recorded(file, overrides) for file in (args.a, args.b)]
    a, b = (dict(_flat(config.settings())) for config in configs)
    set_keys = {key for config in configs for key, _ in _flat(config.settings(exclude_unset=True))}
    changed_keys = _changed_keys(a, b, set_keys)
    if args.json:
        sides = {
            key: {name: values[key] for name, values in (("a", a), ("b", b)) if key in values} for key in changed_keys
        }
        print(json.dumps(sides, indent=1, ensure_ascii=False), flush=True)
    elif changed_keys:
        rows = [("key", args.a, args.b), *((key, _cell(a, key), _cell(b, key)) for key in changed_keys)]
        print(aligned(rows, left=range(3)), flush=True)
    return 1 if changed_keys else 0


def _changed_keys(a: dict[str, object], b: dict[str, object], set_keys: set[str]) -> list[str]:
    """Return the keys whose values differ; one that only one side has counts if a file sets it."""
    return [key for key in {**a, **b} if (a[key] != b[key] if key in a and key in b else key in set_keys)]


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield every setting with its path, such as `datasets[0].type`."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}[{index}]")
    else:
        yield name, value


def _cell(values: dict[str, object], key: str) -> str:
    text = flow(values[key]) if key in values else "-"
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


main = entry(diff)


if __name__ == "__main__":
    sys.exit(main())
