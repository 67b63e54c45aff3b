"""The report of the data doctor as text for a terminal or a file."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from tunesmith.checks.report import SEVERITIES, CheckReport, Figures, Finding

STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold blue"}
BAR = 40
"""Width of the longest bar of a histogram."""
BARS = 10


def as_text(report: CheckReport, rows: int = 3) -> Text:
    """Return the findings by severity, each with its first rows and its cure, and the figures of each dataset."""
    view = Text()
    for severity in SEVERITIES:
        for item in report.findings:
            if item.severity == severity:
                view.append(f"{severity:<7}", STYLES[severity])
                view.append(f"  {item.code}", "bold")
                view.append(f"  {_count(item)}\n" if item.count else "\n")
                view.append("".join(f"  {line}\n" for line in _about(item, rows)))
    if report.findings:
        view.append("\n")
    view.append("\n\n".join("\n".join(_figures(figures, report.sequence_len)) for figures in report.figures) + "\n")
    return view


def summary(report: CheckReport) -> str:
    """Return how many findings of each severity there are."""
    counts = {severity: sum(item.severity == severity for item in report.findings) for severity in SEVERITIES}
    return ", ".join(f"{count} {name}{'s' * (count != 1)}" for name, count in counts.items())


def one_line(item: Finding) -> str:
    """Return a finding in a line, for notes beside other output."""
    location = f" ({_count(item)}, first {_place(item)})" if item.hits and item.hits[0].file else ""
    return f"{item.severity}: {item.code}: {item.title}{location}; {item.cure}"


def _count(item: Finding) -> str:
    unit = "row" if item.hits and item.hits[0].row else "time"
    return f"{item.count:,} {unit}{'s' * (item.count != 1)}"


def _place(item: Finding) -> str:
    hit = item.hits[0]
    return f"{hit.file}:{hit.row}" + (f": {hit.detail}" if hit.detail and hit.detail not in item.title else "")


def _about(item: Finding, rows: int) -> Iterator[str]:
    yield item.title
    for hit in item.hits[:rows]:
        location = f"{hit.file}:{hit.row}: " if hit.row else f"{hit.file}: " if hit.file else ""
        yield f"  {location}{hit.detail}".rstrip(": ")
    if item.hits and item.count > rows:
        yield f"  and {item.count - min(rows, len(item.hits)):,} more"
    yield f"fix: {item.cure}"


def _figures(figures: Figures, sequence_len: int) -> Iterator[str]:
    yield figures.name
    yield f"  {figures.rows:,} rows ({figures.nothing_trained:,} with nothing trained), {figures.samples:,} samples"
    if figures.samples:
        yield (
            f"  {figures.tokens:,} tokens, {figures.trained:,} trained ({_share(figures.trained, figures.tokens)}); "
            f"the end of an answer is trained in {_share(figures.end_trained, figures.samples)} of the samples"
        )
    for role, (turns, characters, trained) in figures.by_role.items():
        yield f"  {role}: {turns:,} turns, {characters:,} characters, {trained:,} turns trained"
    if figures.packing is not None:
        yield f"  packing: {100 * figures.packing:.1f}% of each sequence of {sequence_len:,} is filled"
    if figures.lengths:
        yield f"  tokens of a sample (sequence_len {sequence_len:,}):"
        yield from histogram(figures.lengths, sequence_len)
        excess = [length - sequence_len for length in figures.lengths if length > sequence_len]
        if excess:
            yield f"  samples over sequence_len: {len(excess):,}, by {sum(excess):,} tokens"


def histogram(lengths: Sequence[int], limit: int) -> Iterator[str]:
    """Yield a bar for each range of lengths; what is over `limit` has bars of its own kind."""
    width = max(1, -(-max(lengths) // BARS))
    counts = [0] * (max(lengths) // width + 1)
    for length in lengths:
        counts[length // width] += 1
    digits = len(f"{len(counts) * width:,}")
    for index, count in enumerate(counts):
        shortest, longest = index * width, (index + 1) * width - 1
        bar = ("x" if shortest > limit else "#") * max(-(-count * BAR // max(counts)), bool(count))
        yield f"    {shortest:>{digits},}-{longest:<{digits},}  {count:>8,}  {bar}".rstrip()


def _share(part: int, total: int) -> str:
    percent = 100 * part / max(total, 1)
    return f"{percent:.0f}%" if percent in (0, 100) or 1 <= percent <= 99 else f"{percent:.2f}%"
