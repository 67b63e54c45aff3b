"""`tunesmith examples`: ready-made configs to copy and change, with their data.

An example is a folder of `examples/`. Its YAML files say in their second and third line what they show and need.
"""

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from tunesmith.cli.arguments import entry, parser
from tunesmith.cli.config_schema import config_schema
from tunesmith.errors import ConfigError, RunError, did_you_mean
from tunesmith.files import write_text

SUMMARY = "List the ready-made configs, show one, or copy one with its data to start from."
ABOUT = "NAME is one of the list, such as alpaca/lora; its folder alone will do. FOLDER is ./NAME by default."
EXAMPLES = """  tunesmith examples
  tunesmith examples copy alpaca
  tunesmith examples copy honeycomb work/bees
  tunesmith examples show mistral-7b/qlora > qlora.yml"""

SCHEMA = "tunesmith.schema.json"
"""Schema file for editors; the first line of a config names it."""


class Example(NamedTuple):
    """A ready-made config.

    Attributes:
        name: its folder and file, such as alpaca/lora.
        file: the YAML file.
        shows: what it is an example of.
        needs: the hardware, and what else is needed after a comma.
        model: its base model.
    """

    name: str
    file: Path
    shows: str
    needs: str
    model: str

    @property
    def hardware(self) -> str:
        return self.needs.split(",")[0]


def examples(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("examples", SUMMARY, EXAMPLES, ABOUT)
    options.add_argument("action", metavar="ACTION", nargs="?", default="list", help="list (default), show or copy")
    options.add_argument("name", metavar="NAME", nargs="?", help="the example to show or copy")
    options.add_argument("folder", metavar="FOLDER", nargs="?", help="where to copy it")
    options.add_argument("--overwrite", action="store_true", help="replace existing files")
    args = options.parse_args(arguments)
    if args.action == "list":
        print(_table())
        return 0
    if args.action not in ("show", "copy"):
        raise ConfigError(f"examples {args.action}: expected list, show NAME or copy NAME")
    if args.name is None:
        raise ConfigError(f"examples {args.action}: name one of {', '.join(item.name for item in every_example())}")
    example = _find(args.name)
    if args.action == "show":
        print(example.file.read_text(encoding="utf-8"), end="", flush=True)
    else:
        _copy(example, Path(args.folder or example.file.parent.name), overwrite=args.overwrite)
    return 0


def every_example() -> list[Example]:
    """Return the examples: those for a laptop first, and of a folder LoRA first."""
    package = Path(__file__).parents[1] / "examples"
    folder = package if package.is_dir() else Path(__file__).parents[3] / "examples"  # a checkout
    examples = []
    for file in folder.glob("*/*.yml"):
        text = file.read_text(encoding="utf-8")
        _, shows, needs = text.splitlines()[:3]
        model = re.search(r"^base_model: (\S+)", text, re.MULTILINE)
        name = f"{file.parent.name}/{file.stem}"
        examples.append(Example(name, file, shows[2:], needs.removeprefix("# Needs: "), model[1] if model else ""))
    return sorted(
        examples, key=lambda item: (item.hardware, item.file.parent.name, item.file.stem != "lora", item.name)
    )


def _table() -> str:
    lines = []
    for hardware, group in groupby(every_example(), key=lambda item: item.hardware):
        lines.append(f"needs {hardware}")
        for item in group:
            more = item.needs.removeprefix(hardware)
            lines += [f"  {item.name:<20}  {item.shows}", f"  {'':<20}  {item.model}{more}"]
    return "\n".join([*lines, "", "tunesmith examples copy NAME puts one here, with its data"])


def _find(name: str) -> Example:
    """Return the example of a name, or the first one of a folder."""
    examples = every_example()
    for item in examples:
        if name.removesuffix(".yml") in (item.name, item.file.parent.name):
            return item
    names = [item.name for item in examples]
    near = did_you_mean(name, {*names, *(item.file.parent.name for item in examples)})
    raise ConfigError(f"no example `{name}`{near or '; there are ' + ', '.join(names)}")


def _copy(example: Example, folder: Path, *, overwrite: bool) -> None:
    """Copy the folder of an example, add the schema, and print the next commands."""
    files = sorted(item for item in example.file.parent.iterdir() if item.is_file() and item.name != SCHEMA)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; name a folder")
    if not overwrite and (existing := [item.name for item in files if (folder / item.name).exists()]):
        raise RunError(
            f"{folder} has {', '.join(existing)} already; name another folder, or replace files with --overwrite"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for item in files:
        write_text(folder / item.name, item.read_text(encoding="utf-8"))
    write_schema(folder)
    print(f"copied to {folder}: {', '.join(item.name for item in files)}, {SCHEMA}")
    if (folder / "generate.py").exists():
        print(f"first:\n  python {folder / 'generate.py'}  # writes the data")
    print(next_steps(folder / example.file.name, several_gpus=example.hardware == "several GPUs"))


def write_schema(folder: Path) -> None:
    """Write the schema that the first line of a config in this folder names."""
    config_schema(["--output", str(folder / SCHEMA)])


def next_steps(file: Path, *, several_gpus: bool) -> str:
    """Return the commands to type for a new config."""
    train = "torchrun --nproc_per_node gpu -m tunesmith.cli.train" if several_gpus else "tunesmith train"
    comment = "  # shows the tokens in the loss"
    return f"next:\n  tunesmith preprocess {file} --debug{comment}\n  {train} {file}"


main = entry(examples)


if __name__ == "__main__":
    sys.exit(main())
