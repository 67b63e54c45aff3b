"""A report in words: the short one of the terminal, and the whole one in Markdown."""

from collections.abc import Iterator, Sequence

from tunesmith.evals.comparison import Comparison
from tunesmith.evals.report import Judged, Report, measured
from tunesmith.evals.statistics import Interval, wilson
from tunesmith.log import aligned


def table(report: Report) -> str:
    """Return the summary as an aligned table, a column a voice; assertions that nobody fails are left out."""
    return aligned(_lines(report, all_assertions=False))


def _lines(report: Report, *, all_assertions: bool) -> list[list[str]]:
    voices, count = list(report.losses), len(report.rows)
    lines = [["", *voices]]
    for key, title, form in (("loss", "held-out loss", ".4f"), ("perplexity", "perplexity", ".3f")):
        lines.append([title, *(f"{losses[key]:{form}}" for losses in report.losses.values())])
    for key in dict.fromkeys(key for losses in report.losses.values() for key in losses):
        if key.endswith("_loss"):  # of each evaluation set, where there are several
            cells = (f"{losses[key]:.4f}" if key in losses else "-" for losses in report.losses.values())
            lines.append([f"loss of {key.removesuffix('_loss')}", *cells])
    if not count:
        return lines
    if report.assertions:
        lines.append(
            [f"pass all assertions, of {count}", *(_share(report.pass_rate(voice), count) for voice in voices)]
        )
    failures = {voice: report.failures(voice) for voice in voices}
    for name in report.assertions:
        if all_assertions or any(failures[voice][name] for voice in voices):
            rates = (wilson(count - failures[voice][name], count) for voice in voices)
            lines.append([f"  {name}", *(_share(rate, count) for rate in rates)])
    for name in report.metrics:
        values = [report.scores(voice, name) for voice in voices]
        shares = all(isinstance(value, bool) for column in values for value in column)
        title = "exact match" if name == "exact" else name
        if shares:
            lines.append([f"{title}, of {count}", *(_share(measured(column), count) for column in values)])
        else:
            lines.append([f"{title}, mean", *(_mean(measured(column)) for column in values)])
    return lines


def _share(rate: Interval, count: int) -> str:
    value, low, high = (100 * number for number in rate)
    return f"{round(rate.value * count)} ({value:.0f}%, {low:.0f}-{high:.0f})"


def _mean(interval: Interval) -> str:
    return f"{interval.value:.3g} ({interval.low:.3g}-{interval.high:.3g})"


def counts(comparison: Comparison, criterion: str) -> str:
    """Return what became of the rows, and what it means, in four lines."""
    fixed, broken = len(comparison.fixed), len(comparison.broken)
    width = len(str(max(fixed, broken, comparison.good, comparison.bad)))
    return (
        f"{comparison.before} -> {comparison.after}, {comparison.rows} rows ({criterion}):\n"
        f"  fixed  {fixed:>{width}}   unchanged, good  {comparison.good:>{width}}\n"
        f"  broken {broken:>{width}}   unchanged, bad   {comparison.bad:>{width}}\n"
        f"{comparison.sentence()}"
    )


def worst_rows(report: Report, compared: Sequence[Comparison], count: int) -> str:
    """Return the worst rows for reading: of a comparison those broken and those fixed, else those that fail most."""
    if not report.rows:
        return ""
    if not compared:
        places = report.worst_first(range(len(report.rows)), list(report.losses)[-1])
        return _blocks(report, places[:count])
    comparison = compared[-1]
    parts = []
    for name, places in (("broken", comparison.broken), ("fixed", comparison.fixed)):
        if chosen := places[:count]:
            more = f", the first {len(chosen)}" if len(chosen) < len(places) else ""
            parts.append(f"{name} by {comparison.after}: {len(places)} rows{more}\n\n{_blocks(report, chosen)}")
    return "\n\n".join(parts)


def _blocks(report: Report, places: Sequence[int]) -> str:
    return "\n\n".join("\n".join(_block(report, report.rows[place])) for place in places)


def _block(report: Report, row: Judged) -> Iterator[str]:
    """The lines about a row: question, reference, each voice's answer, and the reason why it fails."""
    width = max(len("reference"), *map(len, row.answers))
    yield f"{row.file}:{row.row}"
    yield f"  {'question':<{width}}  {_last_line(row.question)}"
    yield f"  {'reference':<{width}}  {_short(row.reference)}"
    for voice, answer in row.answers.items():
        yield f"  {voice:<{width}}  {_short(answer.text)}"
        passes = "valid" if report.assertions else "not the row's own answer"
        verdict = "exact" if answer.scores["exact"] else passes
        yield f"  {'':<{width}}  ^ {f'fails: {answer.failed[0].reason}' if answer.failed else verdict}"


def _last_line(text: str) -> str:
    """What is asked stands at the end, after what is given."""
    return _short((text.strip().splitlines() or [""])[-1])


def _short(text: str, limit: int = 300) -> str:
    """One line of a long answer."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[:limit] + " ..."


def markdown(report: Report, compared: Sequence[Comparison], title: str) -> str:
    """Return the whole report in Markdown: figures, comparisons, and every row that was fixed, broken or fails."""
    head, *lines = _lines(report, all_assertions=True)
    parts = [f"# {title}", *(f"**{item.sentence()}.**" for item in compared)]
    parts += [_markdown_table(head, lines), f"Shares stand with their 95% interval, {len(report.rows)} rows."]
    for item in compared:
        after = [["now good", len(item.fixed), item.good], ["now bad", item.bad, len(item.broken)]]
        cells = [[str(cell) for cell in line] for line in after]
        heading = ["", f"{item.before}: bad", f"{item.before}: good"]
        parts += [f"## {item.before} -> {item.after}: {report.criterion}", _markdown_table(heading, cells)]
        for name, places in (("Broken", item.broken), ("Fixed", item.fixed)):
            parts += [f"### {name}: {len(places)} rows", *(_markdown_row(report, place) for place in places)]
    last = list(report.losses)[-1]
    failing = [place for place, good in enumerate(report.passes(last) if report.rows else []) if not good]
    told = {place for item in compared for place in item.broken}
    others = [place for place in report.worst_first(failing, last) if place not in told]
    parts += [
        f"## Other rows that fail with {last}: {len(others)}",
        *(_markdown_row(report, place) for place in others),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---", *(["--:"] * (len(head) - 1))], *lines]
    return "\n".join("| " + " | ".join(cell.strip().replace("|", "\\|") for cell in row) + " |" for row in rows)


def _markdown_row(report: Report, place: int) -> str:
    row = report.rows[place]
    lines = [f"**{row.file}:{row.row}**", _quoted(row.question), "reference:", _quoted(row.reference)]
    for voice, answer in row.answers.items():
        lines += [f"{voice}{' (good)' if report.good(answer) else ''}:", _quoted(answer.text)]
        lines += [f"- {verdict.name}: {' '.join(verdict.reason.split())}" for verdict in answer.failed]
    return "\n\n".join(lines)


def _quoted(text: str) -> str:
    """A code block by indentation, which no text can break out of."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])
