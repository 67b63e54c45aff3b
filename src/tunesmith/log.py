"""What the user sees while something runs: notes on standard error, and progress bars with the time left."""

import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager

from tunesmith.world import detect_world


def note(text: str) -> None:
    """Print a note to standard error, once for all processes."""
    if detect_world().is_main:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, *, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], object]]:
    """Show a progress bar with the time left; yields the function that advances it.

    Nothing is drawn where standard error is no terminal, so that logs stay readable.
    """
    from tqdm import tqdm

    disable = None if detect_world().is_main else True
    with tqdm(total=total, desc=title, unit=f" {unit}", disable=disable, leave=False) as bar:
        yield bar.update


def padded(lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[list[str]]:
    """Return lines with cells as wide as their column; those of `left` begin at the left, others end at the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]


def aligned(lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> str:
    """Return lines of cells as a table; the columns `left` begin at the left, others end at the right."""
    return "\n".join("  ".join(line).rstrip() for line in padded(lines, left))


def shortened(text: str, limit: int) -> str:
    """Return a text as one line of at most `limit` characters, and ` ...` if there is more."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else f"{flat[:limit]} ..."
