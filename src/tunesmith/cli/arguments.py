"""What the commands share: reading a config with overrides, and errors without a traceback."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from tunesmith.config.folder import load_folder
from tunesmith.config.load import load
from tunesmith.config.sections import Config
from tunesmith.errors import INTERRUPTED, RunError, UserError
from tunesmith.log import note

OVERRIDES = "Any key of the file can be set here: --learning-rate 1e-4, --lora_r=16, --datasets.0.path x.jsonl"


def parser(name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser whose help ends with examples. `FILE` is its first argument."""
    return argparse.ArgumentParser(
        prog=f"tunesmith {name}",
        description=summary,
        epilog=f"{OVERRIDES}\n\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def read_config(file: str, overrides: Sequence[str]) -> Config:
    """Return the config of a YAML file, or of the folder of a run; print its notes."""
    if Path(file).is_dir() and not any(Path(file).glob("*.y*ml")):
        config = load_folder(file, overrides)
    else:
        config = load(file, overrides)
    for text in config.notes:
        note(f"note: {text}")
    return config


def run(command: Callable[[list[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run a command; print a user's error without a traceback and return its exit code."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries' notes to developers
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that it does without
    try:
        return command(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except PermissionError as error:
        print(f"error: {error.filename}: permission denied", file=sys.stderr)
        return RunError.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
