"""What the commands share: reading a config with overrides, and errors without a traceback."""

import argparse
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tunesmith.config.folder import load_folder
from tunesmith.config.load import load
from tunesmith.errors import INTERRUPTED, ConfigError, RunError, UserError
from tunesmith.log import note
from tunesmith.sections import Config
from tunesmith.world import detect_world

OVERRIDES = """FILE may be an https:// address too; such a file may open files of this machine, and run code, only with
--allow-local-paths. Any key can be set here: --learning-rate 1e-4, --lora_r=16, --datasets.0.path x.jsonl"""


def parser(name: str, summary: str, examples: str, about: str = OVERRIDES) -> argparse.ArgumentParser:
    """Return a parser whose help ends with a note about its arguments, and with examples."""
    return argparse.ArgumentParser(
        prog=f"tunesmith {name}",
        description=summary,
        epilog=f"{about}\n\nexamples:\n{examples}".lstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def read_config(file: str, overrides: Sequence[str], *, quiet: bool = False) -> Config:
    """Return the config of a YAML file, an address, or the folder of a run; print its notes."""
    if Path(file).is_dir():
        files = sorted(item for item in Path(file).iterdir() if item.suffix in {".yml", ".yaml"})
        if not files or (Path(file) / "run/config.yml").exists():
            return _noted(load_folder(file, overrides), quiet)
        file = str(files[0] if len(files) == 1 else _choice(file, files))
        note(f"config: {file}")
    return _noted(load(file, overrides), quiet)


def read_recorded(file: str, overrides: Sequence[str]) -> Config:
    """Return the config of a YAML file or an address, or of a run the one that it began with; print no notes."""
    record = Path(file) / "run/config.yml"
    return read_config(str(record) if record.exists() else file, overrides, quiet=True)


def _noted(config: Config, quiet: bool) -> Config:
    for text in () if quiet else config.notes:
        note(f"note: {text}")
    return config


def _choice(folder: str, files: list[Path]) -> Path:
    """Return the file that the user picks of a list; where nobody can answer, say what there is."""
    names = [file.name for file in files]
    if not sys.stdin.isatty() or detect_world().launcher:
        raise ConfigError(f"{folder} is a folder; name one of its files: {', '.join(names)}")
    for number, name in enumerate(names, 1):
        print(f"{number:>3}  {name}", file=sys.stderr)
    print(f"which one, 1 to {len(names)}? ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if answer.isdecimal() and 1 <= int(answer) <= len(names):
        return files[int(answer) - 1]
    if answer in names:
        return files[names.index(answer)]
    raise ConfigError(f"{answer!r}: expected a number from 1 to {len(names)}")


def quiet_libraries() -> None:
    """Let libraries say only what concerns the user; for each process."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", category=FutureWarning)  # libraries' notes to developers
    warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")  # peft saves what is trained: right
    logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)  # it tells that our tokens were taken
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of kernels that it does without


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import within this what loads torch: a million objects, no garbage, and looking takes a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def entry(command: Callable[[list[str]], int]) -> Callable[..., int]:
    """Return the `main` of a command: it takes the arguments, by default those of this process."""
    return partial(_run, command)


def _run(command: Callable[[list[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run a command; print a user's error without a traceback and return its exit code."""
    quiet_libraries()
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
