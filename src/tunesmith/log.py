"""What the user sees while something runs: notes on standard error, and progress bars with the time left."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def is_main_process() -> bool:
    """Whether this process is the one that prints: of several that torchrun started, the first."""
    return os.environ.get("RANK", "0") == "0"


def note(text: str) -> None:
    """Print a note to standard error, once for all processes."""
    if is_main_process():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, *, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], object]]:
    """Show a progress bar with the time left; yields the function that advances it.

    Nothing is drawn where standard error is no terminal, so that logs stay readable.
    """
    from tqdm import tqdm

    with tqdm(
        total=total, desc=title, unit=f" {unit}", disable=None if is_main_process() else True, leave=False
    ) as bar:
        yield bar.update


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        ).rstrip()
        for first, *rest in lines
    )
