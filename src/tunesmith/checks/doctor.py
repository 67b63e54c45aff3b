"""The data doctor: one pass over the rows of a config, with everything that the checks find.

Rows stream; what is kept is counters, hashes and the first rows of each finding.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from tunesmith.checks.catalogue import HITS, Tally, finding
from tunesmith.checks.duplicates import Fingerprints
from tunesmith.checks.report import SEVERITIES, CheckReport, Figures, Finding, Hit, Sample, Severity
from tunesmith.checks.rows import Look, check_row, full_text, look_at, turns_in
from tunesmith.checks.template import injected_system, layout, shown_marks, template_findings
from tunesmith.checks.terminal import one_line
from tunesmith.checks.text import check_text, iterate_strings, mask_pieces, mask_secrets, token_pieces
from tunesmith.checks.tokenizer import embedding_findings, model_json, stop_findings, token_facts, tokenizer_findings
from tunesmith.data.comparison import RowComparison, without_columns
from tunesmith.data.formats.detect import with_types
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.specs import format_spec
from tunesmith.data.pack import pack
from tunesmith.data.prefix import first_difference, prompt_is_prefix
from tunesmith.data.samples import NOTHING_TRAINED, EncodedRow, encoded_rows, fitted
from tunesmith.data.source import read_rows
from tunesmith.data.splits import held_out_count
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow, Example, Rendered, Row
from tunesmith.errors import ConfigError, DataError
from tunesmith.log import note, progress
from tunesmith.sections import Config

QUICK_ROWS = 300
"""Rows of each dataset that are looked at before training."""
STREAM_ROWS = 10_000
"""Rows looked at of a stream for pretraining, which may have no end."""
SAMPLES = 200
"""Samples kept to look at."""
PER_CODE = 12
"""Samples kept of each finding and dataset."""


def run_checks(
    config: Config,
    tokenizer: Tokenizer,
    *,
    quick: bool = False,
    limit: int | None = None,
    model_folder: str | None = None,
) -> CheckReport:
    """Return everything that is found about the data, the tokenizer and the chat templates of a config.

    Args:
        config: it.
        tokenizer: the model's.
        quick: leave out what needs all rows, and what preparing the data reports by itself.
        limit: look at so many rows of each dataset.
        model_folder: folder of the model's config.json, if it is on this machine.

    Raises:
        UserError: a dataset or a template is not there.
    """
    if config.data.rl:
        raise ConfigError(
            f"`rl: {config.data.rl}`: preference data is not checked yet; "
            "`tunesmith preprocess --debug` shows its tokens"
        )
    return Examination(config, tokenizer, quick=quick, limit=limit, model_folder=model_folder).report()


def quick_checks(
    config: Config, tokenizer: Tokenizer, *, model_folder: str | None = None, warn_only: bool = False
) -> None:
    """Look at the tokenizer, the templates and the first rows, and print what is wrong.

    Raises:
        DataError: there is an error, and neither `warn_only` nor `data_checks: warn` is set.
    """
    setting = "warn" if warn_only and config.data.data_checks == "error" else config.data.data_checks
    if setting == "off" or config.data.rl:
        return
    findings = run_checks(config, tokenizer, quick=True, limit=QUICK_ROWS, model_folder=model_folder).findings
    for item in findings:
        if item.severity == "warning" or (item.severity == "error" and setting == "warn"):
            note(one_line(item))
    errors = [one_line(item).removeprefix("error: ") for item in findings if item.severity == "error"]
    if errors and warn_only:
        note("`train` stops on these errors; `data_checks: warn` trains all the same")
    if errors and setting == "error":
        raise DataError(
            "\n".join([*errors, "`tunesmith check` shows the rows; `data_checks: warn` trains all the same"])
        )


class Examination:
    """One look at a config's data."""

    def __init__(
        self, config: Config, tokenizer: Tokenizer, *, quick: bool, limit: int | None, model_folder: str | None
    ) -> None:
        self.config, self.tokenizer, self.quick, self.limit = config, tokenizer, quick, limit
        self.model = model_json(config.model, model_folder, "config.json")
        self.generation = model_json(config.model, model_folder, "generation_config.json") or self.model
        self.facts = token_facts(tokenizer, {} if config.model.changes_vocabulary else self.model)
        self.tally = Tally()
        self.severities: dict[str, Severity] = {}
        self.bad, self.bad_counts = dict[str, list[Hit]](), Counter[str]()
        self.prints = Fingerprints(0 if quick else config.synthesis.curate.near_duplicates)
        self.figures: list[Figures] = []
        self.looks: list[Look] = []
        self.samples: list[Sample] = []
        self.packed: list[int] = []

    def report(self) -> CheckReport:
        """Return the report."""
        data, source = self.config.data, self.config.source
        sides = [with_types(side, source, quiet=self.quick) for side in (data.datasets, data.test_datasets)]
        specs = [
            [format_spec(dataset, data, self.config.model, self.tokenizer, source) for dataset in side]
            for side in sides
        ]
        findings = list(self._about_templates([*specs[0], *specs[1]]))
        for spec in specs[0]:
            self._dataset(spec, spec.dataset.path)
        num_train_samples = len(self.prints.samples)
        for spec in specs[1]:
            self._dataset(spec, f"{spec.dataset.path} (test)")
        if not self.quick:
            self._twice(num_train_samples)
        findings += self._about_ends()
        findings += self._bad_rows()
        for code, count in self.tally.counts.items():
            severity = self.severities.get(code)
            findings.append(finding(code, severity=severity, count=count, hits=self.tally.hits[code]))
        findings.sort(key=lambda item: (SEVERITIES.index(item.severity), -item.count))
        return CheckReport(source, data.sequence_len, findings, self.figures, self._shown(findings))

    def _about_templates(self, specs: Sequence[FormatSpec]) -> Iterator[Finding]:
        """Yield findings about the tokenizer and each template, once."""
        templates = {spec.template.text: spec for spec in reversed(specs) if spec.template}
        layouts = [layout(spec.template) for spec in templates.values() if spec.template]
        yield from tokenizer_findings(self.tokenizer, self.model, layouts=layouts, texts=self._first_texts(specs))
        for spec in templates.values():
            yield from template_findings(spec, self.tokenizer)

    def _first_texts(self, specs: Sequence[FormatSpec]) -> Iterator[str]:
        for spec in specs:
            for row in islice(read_rows(spec.dataset, spec.source), QUICK_ROWS):
                if isinstance(row, Row):
                    yield from iterate_strings(row.values)

    def _dataset(self, spec: FormatSpec, name: str) -> None:
        """Look at one dataset."""
        own_system = injected_system(spec.template) if spec.template else None
        comparison = RowComparison(spec.dataset, self.config)
        look, figures = look_at(spec, self.tokenizer, self.facts, comparison, own_system), Figures(name)
        self.looks.append(look)
        self.figures.append(figures)
        self.packed = []
        num_invalid = self._rows(look, figures)
        if self.config.data.sample_packing and self.packed:
            sequences = pack(self.packed, self.config.data.sequence_len)
            figures.packing = sum(self.packed) / (len(sequences) * self.config.data.sequence_len)
        self._set_severities(look, figures, num_invalid)
        if not figures.samples and not self.quick:
            self.tally.put("nothing-left", Hit(name, 0, f"{figures.rows:,} rows are read"))

    def _rows(self, look: Look, figures: Figures) -> int:
        """Look at the rows of a dataset; return how many are invalid."""
        samples_by_code, num_invalid = Counter[str](), 0
        limit = self.limit or (STREAM_ROWS if look.spec.dataset.kind == "pretrain" else None)
        with progress(f"checking {figures.name}", unit="rows") as advance:
            seconds = self.config.evaluation.evaluation.assertion_seconds
            for batch in encoded_rows(look.spec, self.tokenizer, limit, seconds=seconds):
                if figures.rows == 0:
                    self._compare_segments([item for item in batch if isinstance(item, EncodedRow)], look)
                for item in batch:
                    figures.rows += 1
                    num_invalid += self._row(item, look, figures, samples_by_code)
                advance(len(batch))
        return num_invalid

    def _set_severities(self, look: Look, figures: Figures, num_invalid: int) -> None:
        """Make errors of findings that are worse in this dataset than they are by themselves."""
        data = self.config.data
        if num_invalid and (num_invalid * 10 > figures.rows or data.bad_rows == "error"):
            self.severities["bad-row"] = self.severities["nothing-trained"] = "error"
        if figures.samples and not figures.end_trained and look.wants_end:
            self.severities["end-untrained"] = "error"
        if data.excess_length_strategy == "raise" or not figures.samples:
            self.severities["over-length"] = "error"

    def _row(self, item: EncodedRow | BadRow, look: Look, figures: Figures, samples_by_code: Counter[str]) -> int:
        """Look at one row; return whether it is bad."""
        if isinstance(item, BadRow):
            self._bad(item)
            return 1
        row = item.row
        self.tally.begin(row.file, row.number)
        for text in iterate_strings(row.values):
            for code, detail in check_text(text):
                self.tally.add(code, detail)
        turns = turns_in(row.values, look)
        if look.marks:
            self.tally.add("layout-mark-replaced", look.marks)
        check_row(item, turns, look, self.tally, figures)
        self._remember(row, look)
        token_lists: list[tuple[list[int], list[int]]] = []
        for examples in item.examples:
            if isinstance(examples, str):
                self._unusable(row, examples, figures)
                continue
            for example in examples:
                if isinstance(tokens := self._fit(example, look, figures), tuple):
                    token_lists.append(tokens)
                    if not self.quick:
                        self.prints.add_sample()
        self._keep(row, token_lists, look, samples_by_code)
        return int(any(isinstance(examples, str) for examples in item.examples))

    def _unusable(self, row: Row, reason: str, figures: Figures) -> None:
        if reason == NOTHING_TRAINED:
            figures.nothing_trained += 1
            if not self.quick:
                self.tally.add("nothing-trained")
        else:
            self._bad(BadRow(row.file, row.number, reason))

    def _bad(self, row: BadRow) -> None:
        """Count a row that cannot be used, beside those with a like reason."""
        if self.quick:
            return  # preparing the data reports them
        pattern = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "_", row.reason)[:120]
        group = pattern if pattern in self.bad or len(self.bad) < HITS else "other"
        self.bad_counts[group] += 1
        if len(hits := self.bad.setdefault(group, [])) < HITS:
            hits.append(Hit(row.file, row.number, mask_secrets(row.reason)))

    def _bad_rows(self) -> Iterator[Finding]:
        for group, hits in self.bad.items():
            severity, count = self.severities.get("bad-row"), self.bad_counts[group]
            yield finding("bad-row", hits[0].detail, severity=severity, count=count, hits=hits)

    def _fit(self, example: Example, look: Look, figures: Figures) -> tuple[list[int], list[int]] | None:
        """Count a sample and return what is left of it at `sequence_len`."""
        data = self.config.data
        length = len(example.input_ids)
        figures.lengths.append(length)
        example_or_reason = fitted(example, data)
        if length > data.sequence_len and not self.quick:
            self.tally.add("over-length", f"{length:,} tokens, sequence_len is {data.sequence_len:,}")
        if isinstance(example_or_reason, str):
            if length <= data.sequence_len and not self.quick:
                self.tally.add("under-length", example_or_reason)
            return None
        ids, labels = example_or_reason.input_ids, example_or_reason.labels
        if any(label >= 0 for label in example.labels[len(ids) :]):
            self.tally.add("answer-cut", f"{length - len(ids):,} tokens are cut")
        trained_positions = [index for index, label in enumerate(labels) if label >= 0]
        figures.samples += 1
        figures.tokens += len(ids)
        figures.trained += len(trained_positions)
        figures.end_trained += bool(trained_positions) and look.end_of(ids, trained_positions[-1]) is not None
        self.packed.append(len(ids))
        return ids, labels

    def _compare_segments(self, items: Sequence[EncodedRow], look: Look) -> None:
        """Compare the ids of segments with those of the complete text, in the first rows tokenized per segment."""
        if items and (marks := shown_marks(items[0], self.tokenizer)) and not look.spec.template:
            self.tally.put("template-token-split", Hit(items[0].row.file, items[0].row.number, "; ".join(marks[:3])))
        rows = _rows_of_segments(items)
        texts = [
            full_text(text, self.tokenizer)
            for _, rendered, _ in rows
            for text in (rendered.prompt(last=True), rendered)
        ]
        ids = self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        for (row, rendered, example), prompt_ids, text_ids in zip(rows, ids[::2], ids[1::2], strict=True):
            self.tally.begin(row.file, row.number)
            num_bos = int(example.input_ids[:1] == [self.facts.bos] != text_ids[:1])
            trained_ids = example.input_ids[num_bos:]
            num_segments = sum(bool(segment.text) for segment in rendered.prompt(last=True).segments)
            if num_segments > 1 and not prompt_is_prefix(prompt_ids, trained_ids):
                self.tally.add("prompt-parts-differ", self._difference(prompt_ids, trained_ids, num_bos))
            elif not prompt_is_prefix(text_ids, trained_ids):
                self.tally.add("boundary-merge", self._difference(text_ids, trained_ids, num_bos))

    def _difference(self, text_ids: Sequence[int], trained_ids: Sequence[int], num_before: int) -> str:
        """Return the first token that differs, in words; `num_before` tokens stand before the two lists."""
        index = first_difference(text_ids, trained_ids)
        names = self.tokenizer.convert_ids_to_tokens([*text_ids[index : index + 1], *trained_ids[index : index + 1]])
        return f"token {index + num_before} is {' for one text, '.join(map(repr, names))} as trained"

    def _remember(self, row: Row, look: Look) -> None:
        """Keep the hashes of a row."""
        if not self.quick:
            parts = look.comparison.parts(row.values)
            self.prints.add(row.file, row.number, [*parts.prompt, *parts.answer], without_columns(parts.prompt))

    def _twice(self, num_train_samples: int) -> None:
        """Count rows that stand twice, and prompts on both sides."""
        prints, data = self.prints, self.config.data
        names = sorted({name for look in self.looks for name in look.comparison.left_out})
        not_compared = f" (not compared: {', '.join(names)})" if names else ""
        hits_by_code = {
            "duplicate-row": prints.hits(prints.exact_duplicates(), "as", not_compared),
            "near-duplicate": prints.hits(prints.near_duplicates(), "nearly as", not_compared),
        }
        eval_samples: Sequence[int] = range(num_train_samples, len(prints.samples))
        is_streamed = any(look.spec.dataset.kind == "pretrain" for look in self.looks)
        if data.val_set_size and num_train_samples > 1 and self.limit is None and not is_streamed:
            eval_samples = self._held_out(num_train_samples)
        hits_by_code["leaked-prompt"] = prints.hits(prints.leaked_prompts(eval_samples), "the prompt is that of")
        for code, hits in hits_by_code.items():
            for hit in hits:
                self.tally.put(code, hit)

    def _held_out(self, samples: int) -> list[int]:
        """Return the samples that `val_set_size` holds out, as `prepare_splits` does."""
        import datasets

        order = datasets.Dataset.from_dict({"sample": range(samples)})
        if self.config.data.shuffles:
            order = order.shuffle(seed=self.config.training.shuffle_seed, keep_in_memory=True)
        return list(order["sample"])[samples - held_out_count(samples, self.config.data.val_set_size) :]

    def _about_ends(self) -> Iterator[Finding]:
        """Yield findings about tokens that only the data shows to be in use."""
        end_ids = {token for look in self.looks if look.wants_end for token in look.last_ends}
        yield from stop_findings(end_ids, self.tokenizer, self.generation)
        used_ids = {token for look in self.looks for token in look.used}
        yield from embedding_findings(used_ids, self.facts, self.tokenizer, self.config.adapter)

    def _keep(
        self, row: Row, token_lists: Iterable[tuple[list[int], list[int]]], look: Look, samples_by_code: Counter[str]
    ) -> None:
        """Keep the row's samples to look at, if there are few of its kind."""
        codes = tuple(self.tally.codes)
        max_samples = SAMPLES // (len(self.config.data.datasets) + len(self.config.data.test_datasets))
        if (
            self.quick
            or samples_by_code["all"] >= max_samples
            or all(samples_by_code[code] >= PER_CODE for code in codes or [""])
        ):
            return
        for ids, labels in islice(token_lists, 3):
            samples_by_code.update(["all", *(codes or [""])])
            pieces = mask_pieces(token_pieces(ids, self.tokenizer))
            self.samples.append(Sample(look.spec.dataset.path, row.file, row.number, ids, labels, pieces, codes))

    def _shown(self, findings: Sequence[Finding]) -> list[Sample]:
        """Return the samples, those of the worst findings first, with what was found about them at the end."""
        severity_ranks = {item.code: SEVERITIES.index(item.severity) for item in reversed(findings)}
        late_codes = {"duplicate-row", "near-duplicate", "leaked-prompt", "prompt-parts-differ", "boundary-merge"}
        codes_by_row: dict[tuple[str, int], list[str]] = {}
        for item in findings:
            for hit in item.hits if item.code in late_codes else ():
                codes_by_row.setdefault((hit.file, hit.row), []).append(item.code)
        samples = [
            replace(sample, codes=(*sample.codes, *codes_by_row.get((sample.file, sample.row), ())))
            for sample in self.samples
        ]
        return sorted(
            samples, key=lambda sample: min((severity_ranks.get(code, 3) for code in sample.codes), default=3)
        )


def _rows_of_segments(items: Sequence[EncodedRow]) -> list[tuple[Row, Rendered, Example]]:
    """Return the samples that are tokenized per segment and that are one example each, with their rows."""
    return [
        (item.row, rendered, examples[0])
        for item in items
        for rendered, examples in zip(item.rendered, item.examples, strict=True)
        if isinstance(rendered, Rendered) and not rendered.tokenize_whole
        if len(rendered.segments) > 1 or rendered.segments[0].header
        if not isinstance(examples, str) and len(examples) == 1
    ]
