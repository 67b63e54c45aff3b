"""`tunesmith config`: the resolved config, and where each value comes from."""

import re
import sys
from collections.abc import Iterator
from typing import Any

from tunesmith.cli.arguments import entry, parser, read_recorded
from tunesmith.config.idle import idle_keys
from tunesmith.config.key_table import find_field
from tunesmith.config.yaml_source import flow
from tunesmith.references import resolve_file
from tunesmith.sections import Config
from tunesmith.sections.fields import FilePath
from tunesmith.sections.locations import KeyPath

SUMMARY = "Print the resolved config as YAML, with the origin of each value. Nothing is loaded or trained."
EXAMPLES = """  tunesmith config lora.yml
  tunesmith config lora.yml --learning-rate 1e-4 --all
  tunesmith config lora.yml --seed 7 | tunesmith train -
  tunesmith config outputs/honeycomb-lora"""


def config(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("config", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file, - for standard input, or the folder of a run")
    options.add_argument("--all", action="store_true", help="every other key too, with its default, as a comment")
    args, overrides = options.parse_known_args(arguments)
    resolved_config = read_recorded(args.file, overrides)
    values = _from_here(resolved_config.values, (), resolved_config.source)
    rows = [(text, _origin(resolved_config, path)) for text, path in _lines(values, (), "")]
    if args.all:
        unset = {key: value for key, value in resolved_config.settings().items() if key not in resolved_config.values}
        rows += [("", ""), *((f"# {key}: {flow(value)}", "default") for key, value in unset.items())]
    width = min(max(len(text) for text, _ in rows), 60)
    print("\n".join(f"{text:<{width}}  # {origin}" if origin else text for text, origin in rows))
    if tail := [*_left_out(resolved_config)]:
        print("\n" + "\n".join("# " + line.replace("\n", "\\n") for line in tail))
    sys.stdout.flush()
    return 0


def _from_here(value: Any, path: KeyPath, source: str) -> Any:
    """Return a value with the files beside the config `source` as seen from here, so that the output can be piped."""
    if isinstance(value, dict):
        return {key: _from_here(item, (*path, str(key)), source) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_here(item, (*path, index), source) for index, item in enumerate(value)]
    if not isinstance(value, str) or "{" in value or "\n" in value:
        return value
    if code := re.fullmatch(r"(.*\.py)(:\w+)", value):
        return resolve_file(code[1], source) + code[2]
    field = find_field(path)
    is_file = field is not None and any(isinstance(item, FilePath) for item in field.metadata)
    return resolve_file(value, source) if is_file else value


def _lines(value: Any, path: KeyPath, indent: str) -> Iterator[tuple[str, KeyPath]]:
    """Yield the lines of a mapping or a list of mappings as YAML, each with the path of its key."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            for number, (text, inner_path) in enumerate(_lines(item, (*path, index), indent + "  ")):
                yield (f"{indent}- {text.removeprefix(indent + '  ')}" if number == 0 else text), inner_path
        return
    for key, item in value.items():
        inner_path = (*path, str(key))
        is_list = isinstance(item, list) and all(isinstance(entry, dict) and entry for entry in item)
        if item and (isinstance(item, dict) or is_list):
            yield f"{indent}{flow(key)}:", inner_path
            yield from _lines(item, inner_path, indent + "  ")
        else:
            yield f"{indent}{flow(key)}: {flow(item)}", inner_path


def _origin(config: Config, path: KeyPath) -> str:
    """Return where a value comes from: `lora.yml:12`, `--seed`, `from flash_attention, lora.yml:9`."""
    location = config.locations(*path)
    old_name = config.locations.renamed.get(path[0])
    if not location.startswith("--") and location.count(":") >= 2 and location.rpartition(":")[2].isdigit():
        location = location.rpartition(":")[0]
    return f"from {old_name}, {location}" if old_name else location


def _left_out(config: Config) -> Iterator[str]:
    """Yield a line for every key of the file that is not in the result, and for those that do nothing in this run."""
    other_statuses = [item for item in config.statuses if item.status != "supported"]
    if other_statuses:
        yield "keys that are not above under their name:"
    for item in other_statuses:
        reason = f"ignored: {item.text}" if item.status == "ignored" else item.text
        yield f"  {item.location}: {item.key}: {reason}"
    if idle := idle_keys(config):
        yield "keys above that are ignored in this run:"
        yield from (f"  {line}" for line in idle)


main = entry(config)


if __name__ == "__main__":
    sys.exit(main())
