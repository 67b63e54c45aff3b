"""The `tunesmith` command: a table of commands, each imported only when it is used."""

import importlib
import os
import sys
from collections.abc import Sequence

from tunesmith import __version__
from tunesmith.errors import did_you_mean

COMMANDS = {
    "init": "write a first config for a data file",
    "examples": "ready-made configs to copy and change",
    "check": "look for faults of the data, the tokenizer and the chat template",
    "curate": "leave out duplicates, leaked rows and rows out of bounds, and say why",
    "generate": "make rows after the pattern of some, checked one by one",
    "filter": "leave out rows to which your assertions say no, with the reasons",
    "preprocess": "tokenize the data and show the tokens in the loss",
    "train": "train: LoRA, QLoRA or all weights",
    "inference": "talk to the model, with the prompt that was trained",
    "evaluate": "loss, perplexity and your assertions on eval rows",
    "learning-curve": "would more data help? trains on subsets of the rows",
    "label": "say by keyboard which answers are good",
    "judge": "another model judges answers by a rubric; does it agree with you?",
    "runs": "the runs on this disk: their curves, losses and differences",
    "merge-lora": "put an adapter into its base model",
    "bench": "benchmark against TRL",
    "explain": "what a key means, what it takes, and an example",
    "config": "what a file says once all is resolved, with origins",
    "diff": "the settings in which two configs or runs differ",
    "config-schema": "the JSON schema, for completion in editors",
}
"""Command -> what it is for. The module is `tunesmith.cli.` and the name, with `_` for `-`."""


def usage() -> str:
    """Return the help text."""
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return f"""usage: tunesmith COMMAND FILE [--key value ...]

Fine-tune a language model from one YAML file, with Axolotl's keys.

commands:
{table}

examples:
  tunesmith preprocess examples/honeycomb/lora.yml --debug
  tunesmith train examples/honeycomb/lora.yml --learning-rate 1e-4
  tunesmith inference outputs/honeycomb-lora

tunesmith COMMAND --help tells more; tunesmith --version prints {__version__}."""


def _say(text: str) -> None:
    """Print a text; a reader that has seen enough, such as `head`, may close the pipe."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names and return its exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    if not args or args[0] in {"-h", "--help", "help"}:
        _say(usage())
        return 0 if args else 2
    if args[0] in {"-V", "--version"}:
        print(f"tunesmith {__version__}")
        return 0
    name = args[0].replace("_", "-")
    if name not in COMMANDS:
        hint = "`tunesmith --help` lists the commands"
        print(f"error: no command `{name}`{did_you_mean(name, COMMANDS) or ';'} {hint}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"tunesmith.cli.{name.replace('-', '_')}")
    return int(module.main(args[1:]))
