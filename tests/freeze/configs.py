"""Configs: whether a file loads, with which values, and at which lines something is said about it."""

import random
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from adapters import loaded
from tokens import digest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MESSAGES = HERE / "messages.txt"
"""All messages as they are worded now; written by each run, so that `git diff` shows what was reworded."""
VALUES = [True, False, None, 0, 1, 8, 0.1, 2.5, "auto", "x", "none", [], ["a"], {}, {"a": 1}]
RANDOM_FILES = 600


def configs() -> dict[str, str]:
    """Return for each file `loads` with hashes of its values and of the keys in notes, or `refused` and the lines.

    The last word is a hash of the wording.
    """
    results: dict[str, str] = {}
    texts: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file.yml"
        for name, text in _files():
            file.write_text(text, encoding="utf-8")
            facts, messages = _outcome(file)
            results[name] = f"{facts} {digest(messages)}"
            texts |= set(messages)
    MESSAGES.write_text("\n".join(sorted(texts)) + "\n", encoding="utf-8")
    return results


def _outcome(file: Path) -> tuple[str, list[str]]:
    try:
        values, notes = loaded(str(file))
    except ValueError as error:  # ConfigError is one
        messages = str(error).replace(str(file), "FILE").splitlines()
        return f"refused {len(messages)} {digest(_locations(messages))}", messages
    messages = [note.replace(str(file), "FILE") for note in notes]
    keys = [match[1] for note in messages if (match := re.search(r"`?([a-z_]+(?:\.[a-z_]+)*)", note))]
    return f"loads {digest(values)} {digest(sorted(keys))}", messages


def _locations(messages: list[str]) -> list[str]:
    return sorted(match[0] for message in messages if (match := re.search(r"FILE[:\d]*", message)))


def _files() -> Iterator[tuple[str, str]]:
    """Yield names and texts of config files: the examples, files in the shapes of public ones, and random ones."""
    for path in sorted((ROOT / "examples").glob("**/*.yml")):
        yield f"examples {path.parent.name}/{path.name}", path.read_text(encoding="utf-8")
    sys.path.append(str(HERE.parent / "config"))
    from test_corpus import COMMON, REFUSED, RUNS

    shapes: dict[str, dict[str, Any]] = RUNS | {name: values for name, (values, _) in REFUSED.items()}
    for name, values in shapes.items():
        yield f"shape {name}", _dump(COMMON | values)
    keys = re.findall(r"^\| `([a-z_]\w*)` \|", (ROOT / "docs/keys.md").read_text(encoding="utf-8"), re.MULTILINE)
    lines = (HERE.parent / "data/axolotl_keys.tsv").read_text(encoding="utf-8").splitlines()[1:]
    known = sorted({*keys, *(line.split("\t")[0] for line in lines if not set(".[") & set(line.split("\t")[0]))})
    for seed in range(RANDOM_FILES):
        draw = random.Random(seed)
        shape = draw.choice(sorted(RUNS))
        key = draw.choice(known)
        value = draw.choice(VALUES)
        yield f"random {seed} {shape}, {key}", _dump(COMMON | RUNS[shape] | {key: value})


def _dump(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False)
