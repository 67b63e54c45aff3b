"""Plots as image files, in the colours of the pages on a light screen: see `plot.mplstyle`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def drawn(file: Path, width: float, height: float) -> Iterator[Any]:
    """Yield a matplotlib figure of so many inches, and write it to `file` at the end."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(fname=Path(__file__).with_name("plot.mplstyle")):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(file, dpi=130)
