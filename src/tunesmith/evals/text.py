"""A report as text: a summary for the terminal, and the complete report in Markdown."""

from collections.abc import Iterator, Sequence

from tunesmith.evals.comparison import Comparison
from tunesmith.evals.report import JudgedRow, Report, summarize_scores
from tunesmith.evals.statistics import Interval, wilson
from tunesmith.log import aligned, shortened


def format_summary(report: Report) -> str:
    """Return the summary as a table, a column for each variant, without assertions that no answer fails."""
    return aligned(_summary_lines(report, all_assertions=False))


def _summary_lines(report: Report, *, all_assertions: bool) -> list[list[str]]:
    lines = [["", *report.losses], *_loss_lines(report)]
    if not report.rows:
        return lines
    return [*lines, *_assertion_lines(report, all_assertions=all_assertions), *_metric_lines(report)]


def _assertion_lines(report: Report, *, all_assertions: bool) -> Iterator[list[str]]:
    """Yield the pass rates: of all assertions together, and of each one that is shown."""
    variants, count = list(report.losses), len(report.rows)
    if report.assertions:
        rates = (_format_rate(report.pass_rate(variant), count) for variant in variants)
        yield [f"pass all assertions, of {count}", *rates]
    failures = {variant: report.failures(variant) for variant in variants}
    for name in report.assertions:
        if all_assertions or any(failures[variant][name] for variant in variants):
            rates = (_format_rate(wilson(count - failures[variant][name], count), count) for variant in variants)
            yield [f"  {name}", *rates]


def _metric_lines(report: Report) -> Iterator[list[str]]:
    """Yield a line for each metric: how many answers have it, or its mean."""
    count = len(report.rows)
    for name in report.metrics:
        columns = [report.scores(variant, name) for variant in report.losses]
        title = "exact match" if name == "exact" else name
        if all(isinstance(score, bool) for column in columns for score in column):
            yield [f"{title}, of {count}", *(_format_rate(summarize_scores(column), count) for column in columns)]
        else:
            yield [f"{title}, mean", *(_format_mean(summarize_scores(column)) for column in columns)]


def _loss_lines(report: Report) -> Iterator[list[str]]:
    """Yield a line for each loss that at least one variant has; a served model has none."""
    columns = report.losses.values()
    titles = {"loss": ("eval loss", ".4f"), "perplexity": ("perplexity", ".3f")}
    for key in dict.fromkeys(key for losses in columns for key in losses if key.endswith("_loss")):
        titles[key] = f"loss of {key.removesuffix('_loss')}", ".4f"
    for key, (title, format_spec) in titles.items():
        if any(key in losses for losses in columns):
            yield [title, *(f"{losses[key]:{format_spec}}" if key in losses else "-" for losses in columns)]


def _format_rate(rate: Interval, count: int) -> str:
    value, low, high = (100 * number for number in rate)
    return f"{round(rate.value * count)} ({value:.0f}%, {low:.0f}-{high:.0f})"


def _format_mean(interval: Interval) -> str:
    return f"{interval.value:.3g} ({interval.low:.3g}-{interval.high:.3g})"


def format_counts(comparison: Comparison, criterion: str) -> str:
    """Return the four counts of a comparison and its sentence."""
    num_fixed, num_broken = len(comparison.fixed), len(comparison.broken)
    width = len(str(max(num_fixed, num_broken, comparison.good, comparison.bad)))
    return (
        f"{comparison.before} -> {comparison.after}, {comparison.rows} rows ({criterion}):\n"
        f"  fixed  {num_fixed:>{width}}   unchanged, good  {comparison.good:>{width}}\n"
        f"  broken {num_broken:>{width}}   unchanged, bad   {comparison.bad:>{width}}\n"
        f"{comparison.sentence()}"
    )


def format_worst_rows(report: Report, compared: Sequence[Comparison], count: int) -> str:
    """Return the worst rows for reading: those that the last comparison broke or fixed, else those that fail most."""
    if not report.rows:
        return ""
    if not compared:
        indexes = report.worst_first(range(len(report.rows)), list(report.losses)[-1])
        return _blocks(report, indexes[:count])
    comparison = compared[-1]
    parts = []
    for name, indexes in (("broken", comparison.broken), ("fixed", comparison.fixed)):
        if shown := indexes[:count]:
            more = f", the first {len(shown)}" if len(shown) < len(indexes) else ""
            parts.append(f"{name} by {comparison.after}: {len(indexes)} rows{more}\n\n{_blocks(report, shown)}")
    return "\n\n".join(parts)


def _blocks(report: Report, indexes: Sequence[int]) -> str:
    return "\n\n".join("\n".join(_row_lines(report, report.rows[index])) for index in indexes)


def _row_lines(report: Report, row: JudgedRow) -> Iterator[str]:
    """Yield question, reference answer, and each variant's answer with its verdict."""
    width = max(len("reference"), *map(len, row.answers))
    yield f"{row.file}:{row.row}"
    yield f"  {'question':<{width}}  {_last_line(row.question)}"
    yield f"  {'reference':<{width}}  {shortened(row.reference, 300)}"
    for variant, answer in row.answers.items():
        yield f"  {variant:<{width}}  {shortened(answer.text, 300)}"
        if answer.failed:
            verdict = f"fails: {answer.failed[0].reason}"
        elif answer.scores["exact"]:
            verdict = "exact"
        else:
            verdict = "valid" if report.assertions else "not the row's own answer"
        yield f"  {'':<{width}}  ^ {verdict}"


def _last_line(text: str) -> str:
    """Return the last line, which usually has the question, or the one before a heading such as `### Response:`."""
    lines = text.strip().splitlines() or [""]
    return shortened(next((line for line in reversed(lines) if line and not line.endswith(":")), lines[-1]), 300)


def render_markdown(report: Report, compared: Sequence[Comparison], title: str) -> str:
    """Return the complete report in Markdown: figures, comparisons, and every row that is fixed, broken or fails."""
    head, *lines = _summary_lines(report, all_assertions=True)
    parts = [f"# {title}", *(f"**{item.sentence()}.**" for item in compared)]
    parts += [_markdown_table(head, lines), f"Fractions have their 95% interval, {len(report.rows)} rows."]
    for item in compared:
        lines = [["now good", str(len(item.fixed)), str(item.good)], ["now bad", str(item.bad), str(len(item.broken))]]
        head = ["", f"{item.before}: bad", f"{item.before}: good"]
        parts += [f"## {item.before} -> {item.after}: {report.criterion}", _markdown_table(head, lines)]
        for name, indexes in (("Broken", item.broken), ("Fixed", item.fixed)):
            parts += [f"### {name}: {len(indexes)} rows", *(_markdown_row(report, index) for index in indexes)]
    last = list(report.losses)[-1]
    failing = [index for index, is_good in enumerate(report.passes(last) if report.rows else []) if not is_good]
    listed = {index for item in compared for index in item.broken}
    others = [index for index in report.worst_first(failing, last) if index not in listed]
    parts += [f"## Other rows that fail with {last}: {len(others)}", *(_markdown_row(report, i) for i in others)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---", *(["--:"] * (len(head) - 1))], *lines]
    return "\n".join("| " + " | ".join(cell.strip().replace("|", "\\|") for cell in row) + " |" for row in rows)


def _markdown_row(report: Report, index: int) -> str:
    row = report.rows[index]
    lines = [f"**{row.file}:{row.row}**", _quoted(row.question), "reference:", _quoted(row.reference)]
    for variant, answer in row.answers.items():
        lines += [f"{variant}{' (good)' if report.good(answer) else ''}:", _quoted(answer.text)]
        lines += [f"- {verdict.name}: {' '.join(verdict.reason.split())}" for verdict in answer.failed]
    return "\n\n".join(lines)


def _quoted(text: str) -> str:
    """Return an indented code block, which no text can end."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])
