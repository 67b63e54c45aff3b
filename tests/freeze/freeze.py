"""Compare what the code does with what it did when `frozen.json` was written: a redesign should change nothing.

    python tests/freeze/freeze.py                      compare all parts; exit code 1 if one differs
    python tests/freeze/freeze.py tokens configs       only these
    python tests/freeze/freeze.py --write tokens       record what the code does now
    python tests/freeze/freeze.py --show GROUP         the rows of a group of tokens, as JSON, to diff two versions
    python tests/freeze/freeze.py --show GROUP prompts the same for prompts

Parts: tokens (rows to ids and labels), prompts (what inference feeds), prepared (whole datasets by `preprocess`),
configs (what loads, with which values; `messages.txt` holds the wording) and losses (short seeded runs).
Wording may change and is only counted; everything else may not.
"""

import argparse
import contextlib
import importlib
import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
FROZEN = HERE / "frozen.json"
PARTS = {"tokens": "tokens", "prompts": "tokens", "prepared": "runs", "configs": "configs", "losses": "runs"}
"""Part -> the module that has its function."""
SEPARATOR = " | "


def main() -> int:
    """Run the command and return its exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    options.add_argument("--write", action="store_true", help="record in place of comparing")
    options.add_argument("--show", metavar="GROUP", help="print the rows of a group")
    given = options.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        options.error(f"unknown parts: {', '.join(sorted(unknown))}; known are {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    parts = given.parts or list(PARTS)
    importlib.import_module("adapters").stop_the_clock()
    if given.show:
        return _show(parts[0], given.show)
    frozen = _read()
    same = True
    for part in parts:
        started = time.perf_counter()
        now = _quietly(getattr(importlib.import_module(PARTS[part]), part))
        seconds = time.perf_counter() - started
        if given.write:
            frozen[part] = now
            _write(frozen)
            print(f"{part}: {len(now)} groups written, {seconds:.0f} s")
        else:
            same &= _compare(part, frozen.get(part, {}), now, seconds)
    return 0 if same else 1


def _quietly(call: Any) -> dict[str, str]:
    with contextlib.redirect_stderr(io.StringIO()):
        return call()


def _show(part: str, name: str) -> int:
    lines = list(importlib.import_module("tokens").shown(part, name))
    print("\n".join(lines) or f"no group {name!r}: frozen.json has their names")
    return 0 if lines else 1


def _read() -> dict[str, dict[str, str]]:
    """Return part -> name of a group -> what is kept of it."""
    frozen = json.loads(FROZEN.read_text("utf-8")) if FROZEN.exists() else {}
    return {
        part: {SEPARATOR.join((name, *ending)): kept for name, ending, kept in _cells(lines)}
        for part, lines in frozen.items()
    }


def _cells(lines: dict[str, Any]) -> Iterator[tuple[str, list[str], str]]:
    for name, kept in lines.items():
        for ending, cell in kept.items() if isinstance(kept, dict) else [("", kept)]:
            yield name, ending.split(SEPARATOR) if ending else [], cell


def _write(frozen: dict[str, dict[str, str]]) -> None:
    """Write the groups that differ only in mask and tokenizer on one line, so that a diff reads well."""
    parts = []
    for part, groups in sorted(frozen.items()):
        lines: dict[str, Any] = {}
        for name, kept in groups.items():
            words = name.split(SEPARATOR)
            if len(words) == 4:
                lines.setdefault(SEPARATOR.join(words[:2]), {})[SEPARATOR.join(words[2:])] = kept
            else:
                lines[name] = kept
        written = [
            f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(kept, ensure_ascii=False, separators=(',', ':'))}"
            for name, kept in lines.items()
        ]
        parts.append(f'"{part}": {{\n' + ",\n".join(written) + "\n}")
    FROZEN.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _compare(part: str, frozen: dict[str, str], now: dict[str, str], seconds: float) -> bool:
    """Print the groups that differ, and a line for the part; return whether nothing differs."""
    differing, reworded, absent = [], 0, 0
    for name in {**frozen, **now}:
        before, after = frozen.get(name), now.get(name)
        if after is None and _lacks_tokenizer(part, name):
            absent += 1
        elif before is None or after is None or _facts(before) != _facts(after):
            differing.append(name)
            print(f"  DIFFERS  {name}\n           frozen {before}\n           now    {after}")
        elif before != after:
            reworded += 1
    words = "DIFFERS" if differing else "same"
    print(
        f"{part}: frozen {_total(frozen)}  now {_total(now)}  {words}: "
        f"{len(differing)} of {len(frozen)} groups differ, {reworded} are worded otherwise, {seconds:.0f} s"
        + (f"; {absent} NOT COMPARED: run tests/real_tokenizers.py" if absent else "")
    )
    return not differing


def _facts(kept: str | None) -> str | None:
    """Return what may not change: all but the hash of the wording, which comes last."""
    return kept.rpartition(" ")[0] if kept is not None else None


def _total(groups: dict[str, str]) -> str:
    from tokens import digest

    return digest({name: _facts(kept) for name, kept in groups.items()})


def _lacks_tokenizer(part: str, name: str) -> bool:
    from adapters import find_tokenizer

    return (
        part in ("tokens", "prompts")
        and find_tokenizer(name.split(SEPARATOR)[2].removesuffix("no tokenizer") or None) is None
    )


if __name__ == "__main__":
    sys.exit(main())
