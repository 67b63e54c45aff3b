"""`tunesmith init`: five questions, or flags, to a config that runs."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith.cli.arguments import entry, parser
from tunesmith.cli.examples import SCHEMA, next_steps, write_schema
from tunesmith.errors import ConfigError, DataError, ModelError, RunError, UserError, did_you_mean
from tunesmith.files import write_text

if TYPE_CHECKING:
    from tunesmith.data.tokenizer import Tokenizer
    from tunesmith.planning.draft import Look

Answer = TypeVar("Answer")

SUMMARY = "Write a first config for a data file: its columns say the type, its lengths the sequence_len."
ABOUT = "Without --data it asks, if there is a terminal. FILE (or --output) is finetune.yml by default."
EXAMPLES = """  tunesmith init
  tunesmith init bees.yml --data bees.jsonl
  tunesmith init --data bees.jsonl --model mistralai/Mistral-7B-v0.1 --hardware gpu --adapter qlora"""

HARDWARE = ("laptop", "gpu", "multi-gpu")
ADAPTERS = ("lora", "qlora", "none")
MODEL = "builtin/smollm2-135m-instruct"


def init(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("init", SUMMARY, EXAMPLES, ABOUT)
    options.add_argument("file", metavar="FILE", nargs="?", help="YAML file to write")
    options.add_argument("--model", help=f"built-in model, Hub repository or folder (default {MODEL})")
    options.add_argument("--data", help="data to train on: a file, a folder or a Hub dataset")
    options.add_argument("--hardware", help=f"{', '.join(HARDWARE)} (default: this machine)")
    options.add_argument("--adapter", help=f"{', '.join(ADAPTERS)} (default lora)")
    options.add_argument("--output", metavar="FILE", help="the same as FILE")
    options.add_argument("--overwrite", action="store_true", help="replace an existing file")
    args = options.parse_args(arguments)
    if args.file and args.output:
        raise ConfigError(f"{args.file} and --output {args.output}: use only one")
    args.output = args.output or args.file

    from tunesmith.planning.draft import Answers, draft, fitting, measure

    answers = Answers(**_answers(args))
    print(answers.data)
    tokenizer = _tokenizer(answers.model)
    length = fitting(measure(answers, tokenizer) if tokenizer else [], answers)
    print(f"sequence_len {length[0]}: {length[1]}")
    answers.output.parent.mkdir(parents=True, exist_ok=True)
    write_text(answers.output, draft(answers, length, tokenizer))
    write_schema(answers.output.parent)
    print(f"written: {answers.output}, and {SCHEMA} next to it for your editor")
    if not answers.data.rl:
        print(f"first:\n  tunesmith check {answers.output}  # what is wrong with the data")
    print(next_steps(answers.output, several_gpus=answers.hardware == "multi-gpu"))
    return 0


def _answers(args: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags; for the others prompt at a terminal without --data, or use the default."""
    is_interactive = args.data is None and sys.stdin.isatty()
    questions: dict[str, tuple[str, Callable[[], str], Callable[[str], Any]]] = {
        "model": ("model: built-in, Hub repository or folder", lambda: MODEL, _model),
        "data": ("data: file, folder or Hub dataset", _some_file, _data),
        "hardware": (
            f"hardware: {', '.join(HARDWARE)}",
            _this_machine,
            lambda text: _one_of("hardware", text, HARDWARE),
        ),
        "adapter": (f"adapter: {', '.join(ADAPTERS)}", lambda: "lora", lambda text: _one_of("adapter", text, ADAPTERS)),
        "output": ("file to write", lambda: "finetune.yml", lambda text: _output(text, args.overwrite)),
    }
    flags = vars(args)
    if not is_interactive and args.data is None:
        raise ConfigError("--data is missing: the file to train on; --help shows examples")
    values = {name: parse(flags[name]) for name, (_, _, parse) in questions.items() if flags[name] is not None}
    for name, (text, default, parse) in questions.items():
        if name not in values:
            values[name] = _prompt(text, default(), parse) if is_interactive else parse(default())
    return values


def _prompt(text: str, default: str, parse: Callable[[str], Answer]) -> Answer:
    """Prompt until the answer is valid."""
    while True:
        print(f"{text} [{default}]: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise ConfigError("the input ended before the last answer; nothing is written")
        try:
            return parse(line.strip() or default)
        except UserError as error:
            print(f"  {error}", file=sys.stderr)


def _model(text: str) -> str:
    from tunesmith.modeling.builtin import local_base_model

    local_base_model(text)  # raises an error for an unknown built-in model
    if not Path(text).is_dir() and not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", text):
        raise ModelError(f"{text}: no such folder, and no name of a Hub repository")
    return text


def _data(text: str) -> "Look":
    """Return the facts about the data."""
    from tunesmith.planning.draft import look_at

    if not text:
        raise DataError("name the data to train on")
    return look_at(text)


def _some_file() -> str:
    """Return the first data file of the working folder."""
    return next((str(item) for item in sorted(Path().iterdir()) if item.suffix in (".jsonl", ".csv", ".parquet")), "")


def _this_machine() -> str:
    from tunesmith.hardware import detect

    hardware = detect()
    if hardware.kind != "cuda":
        return "laptop"
    return "gpu" if hardware.count == 1 else "multi-gpu"


def _one_of(name: str, text: str, choices: Iterable[str]) -> str:
    if text not in choices:
        raise ConfigError(f"--{name} {text}: expected {', '.join(choices)}{did_you_mean(text, choices)}")
    return text


def _output(text: str, overwrite: bool) -> Path:
    file = Path(text)
    if file.is_dir():
        raise RunError(f"{file} is a folder; name a file in it, such as {file / 'finetune.yml'}")
    if file.exists() and not overwrite:
        raise RunError(f"{file} exists already; name another file, or replace it with --overwrite")
    return file


def _tokenizer(model: str) -> "Tokenizer | None":
    """Return the tokenizer of a local model; nothing is downloaded for a measurement."""
    from tunesmith.modeling.tokenizer import model_tokenizer
    from tunesmith.sections import ModelSection

    is_here = model.startswith("builtin/") or Path(model).is_dir()
    return model_tokenizer(ModelSection(base_model=model)) if is_here else None


main = entry(init)


if __name__ == "__main__":
    sys.exit(main())
