"""The top-level function of `generate`: rounds of prompts; each reply is accepted, retried with feedback, or rejected.

Everything follows from the config and the replies, in the order of the prompts. The endpoint saves each reply before it
is used, so a run that was killed or stopped is simply started again: it reads the saved replies, writes the same rows,
and sends only the missing requests. There is no other state that could be lost or become stale.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any, NamedTuple

from tunesmith.assertions import AssertionRunner, Case, Verdict, open_assertions
from tunesmith.checks.parts import prompt_and_answer
from tunesmith.data.comparison import Parts, RowComparison, without_columns
from tunesmith.data.near_duplicates import Leaves, NearDuplicateIndex, hash_leaves
from tunesmith.errors import RunError, UserError
from tunesmith.generation.endpoint import Endpoint, Refused, Reply, Request, Spent, open_endpoint
from tunesmith.log import note, progress
from tunesmith.sections import Config, Dataset, Generate
from tunesmith.synth.diversity import Diversity, Scalar, find_choices, measure_diversity
from tunesmith.synth.output import Output, open_output
from tunesmith.synth.prompts import Prompts

ROUND = 64
"""Prompts of one round. Not a setting, because the order in which rows are compared depends on it."""
MAX_FAILURES = 200
"""The run stops after so many rejected drafts in a row, because it would not end by itself."""
PROVENANCE = "_provenance"
"""Column of an accepted row: the model, prompt and seeds that made it, and the number of tries."""

FORM, DUPLICATE, NEAR_DUPLICATE, JUDGE = "form", "duplicate", "near-duplicate", "judge"
"""Kinds of faults, in addition to assertions, whose kind is their name."""

JudgeRows = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""Returns for each question and answer what the LLM judge criticizes; an empty text if the answer is good."""

_RETRY = """This row is not taken: {fault}

Write it again without that fault, as one JSON object that fits the same schema, and nothing else."""


class Draft(NamedTuple):
    """A row in progress.

    Attributes:
        number: of its prompt, from 1.
        messages: the conversation with the model.
        faults: why earlier tries failed.
    """

    number: int
    messages: list[dict[str, str]]
    faults: tuple[str, ...] = ()


class Fault(NamedTuple):
    """Why a draft fails: the kind for the statistics, and the reason that the model is shown."""

    kind: str
    reason: str


class Outcome(NamedTuple):
    """The result of a run.

    Attributes:
        seeds: diversity of the seeds.
        accepted: diversity of the accepted rows.
        choices: the categorical columns and their values; see `find_choices`.
        tries: replies validated.
        faults: kind of fault -> how many replies had it.
        rejected: how many drafts were rejected after the retries.
        spent: the cost.
    """

    seeds: Diversity
    accepted: Diversity
    choices: dict[str, set[Scalar]]
    tries: int
    faults: Counter[str]
    rejected: int
    spent: Spent


def generate(config: Config, section: Generate, judge: JudgeRows | None = None) -> Outcome:
    """Generate rows until there are as many as the config requests; write accepted and rejected ones to files.

    Raises:
        ConfigError: the template, the schema or an assertion is at fault.
        DataError: a seed is invalid.
        RunError: the output was edited since the last run; or too many drafts fail in a row.
        Stopped: a limit of the endpoint is reached; the rows so far are written.
    """
    prompts = Prompts(section, config.source)
    seconds = config.evaluation.evaluation.assertion_seconds
    checks = open_assertions(section.assertions, config.source, seconds) if section.assertions else nullcontext()
    with (
        open_output(section.output) as output,
        open_endpoint(section.endpoint, config.source) as endpoint,
        checks as runner,
    ):
        comparison = RowComparison(Dataset(path=section.seeds), config)
        generator = RowGenerator(section, prompts, endpoint, runner, judge, comparison)
        try:
            with progress("generating", total=section.rows, unit="rows") as advance:
                while len(generator.rows) < section.rows:
                    before = len(generator.rows)
                    generator.run_round(output)
                    advance(len(generator.rows) - before)
        except UserError:
            note(str(endpoint.spent))
            raise
    seeds = [row.values for row in prompts.seeds]
    choices = find_choices(seeds)
    return Outcome(
        measure_diversity(seeds, choices),
        measure_diversity(generator.rows, choices),
        choices,
        generator.tries,
        generator.faults,
        output.num_rejected,
        endpoint.spent,
    )


class RowGenerator:
    """Generates rows in rounds; the state of one run."""

    def __init__(
        self,
        section: Generate,
        prompts: Prompts,
        endpoint: Endpoint,
        runner: AssertionRunner | None,
        judge: JudgeRows | None,
        comparison: RowComparison,
    ) -> None:
        self.section, self.prompts, self.endpoint = section, prompts, endpoint
        self.runner, self.judge = runner, judge
        self.rows: list[dict[str, Any]] = []
        self.faults: Counter[str] = Counter()
        self.tries = self.failures_in_a_row = 0
        self._numbers = count(1)
        self._retries: list[Draft] = []
        self._index = NearDuplicateIndex(section.near_duplicates or 1)
        self._hashes: dict[int, str] = {}
        self._names: list[str] = []
        self._comparison = comparison
        for row in prompts.seeds:
            self._remember(comparison.parts(row.values), f"the seed {row.file}:{row.number}")

    def run_round(self, output: Output) -> None:
        """Request the missing rows, at most `ROUND`; accept, retry or reject each reply."""
        num_new = min(ROUND, self.section.rows - len(self.rows)) - len(self._retries)
        drafts = [*self._retries, *(self._first_draft() for _ in range(num_new))]
        self._retries = []
        replies = self._request(drafts)
        self.tries += len(replies)
        for draft, reply, fault in zip(drafts, replies, self._validate(drafts, replies), strict=True):
            if fault is None:
                self._accept(draft, json.loads(reply.text), output)  # type: ignore[union-attr]  # Refused has a fault
                continue
            self.faults[fault.kind] += 1
            if isinstance(reply, Reply) and len(draft.faults) < self.section.heal:
                answer = {"role": "assistant", "content": reply.text}
                feedback = {"role": "user", "content": _RETRY.format(fault=fault.reason)}
                messages = [*draft.messages, answer, feedback]
                self._retries.append(Draft(draft.number, messages, (*draft.faults, fault.reason)))
            else:
                self._reject(draft, reply, fault, output)

    def _first_draft(self) -> Draft:
        number = next(self._numbers)
        return Draft(number, [{"role": "user", "content": self.prompts.render(number)}])

    def _request(self, drafts: Sequence[Draft]) -> list[Reply | Refused]:
        """Return the reply to each draft."""
        limits, seed = self.section.endpoint, self.section.seed
        requests = (
            Request(draft.messages, self.prompts.schema, limits.temperature, limits.max_tokens, seed + draft.number)
            for draft in drafts
        )
        return [reply for _, reply in sorted(self.endpoint.ask(requests), key=lambda item: item[0])]

    def _validate(self, drafts: Sequence[Draft], replies: Sequence[Reply | Refused]) -> list[Fault | None]:
        """Return the fault of each reply, the first of: JSON form, assertions, duplicate, LLM judge."""
        faults = [Fault(FORM, reply.reason) if isinstance(reply, Refused) else None for reply in replies]
        rows = [{} if isinstance(reply, Refused) else json.loads(reply.text) for reply in replies]
        if self.runner:
            passing = _passing(faults)
            answers = [_split(rows[i])[1] for i in passing]
            numbers = [drafts[i].number for i in passing]
            cases = [
                Case(rows[i], answer, answer, f"prompt {number}")
                for i, answer, number in zip(passing, answers, numbers, strict=True)
            ]
            for index, verdicts in zip(passing, self.runner(cases), strict=True):
                faults[index] = _failed_assertions(verdicts)
        if self.judge:
            self._judge(self.judge, rows, faults)
        for index in _passing(faults):  # in order, so that a row is also compared with earlier ones of this round
            compared = self._comparison.parts(rows[index])
            faults[index] = self._find_duplicate(compared)
            if faults[index] is None:
                self._remember(compared, f"the row of prompt {drafts[index].number}")
        return faults

    def _judge(self, judge: JudgeRows, rows: Sequence[dict[str, Any]], faults: list[Fault | None]) -> None:
        """Set the faults of the rows that the LLM judge criticizes; a duplicate is not worth a judgment."""
        for index in _passing(faults):
            faults[index] = self._find_duplicate(self._comparison.parts(rows[index]))
        passing = _passing(faults)
        for index, critique in zip(passing, judge([_split(rows[i]) for i in passing]), strict=True):
            faults[index] = Fault(JUDGE, critique) if critique else None

    def _find_duplicate(self, parts: Parts) -> Fault | None:
        """Return a fault if a seed or an earlier row has the same question, or is a near-duplicate."""
        if name := self._hashes.get(hash_leaves(_question(parts))):
            return Fault(DUPLICATE, f"it asks the same as {name}")
        duplicate = self._index.find([*parts.prompt, *parts.answer]) if self.section.near_duplicates else None
        if duplicate is None:
            return None
        name = self._names[duplicate.earlier]
        return Fault(NEAR_DUPLICATE, f"it is a near-duplicate of {name} (similarity {duplicate.similarity:.2f})")

    def _remember(self, parts: Parts, name: str) -> None:
        self._hashes.setdefault(hash_leaves(_question(parts)), name)
        self._index.add([*parts.prompt, *parts.answer])
        self._names.append(name)

    def _accept(self, draft: Draft, row: dict[str, Any], output: Output) -> None:
        self.failures_in_a_row = 0
        self.rows.append(row)
        output.accept({**row, PROVENANCE: self._provenance(draft)})

    def _reject(self, draft: Draft, reply: Reply | Refused, fault: Fault, output: Output) -> None:
        """Write a rejected draft; stop the run after too many in a row."""
        text = "" if isinstance(reply, Refused) else reply.text
        reasons = [*draft.faults, fault.reason]
        output.reject({"text": text, "fault": fault.kind, "reasons": reasons, PROVENANCE: self._provenance(draft)})
        self.failures_in_a_row += 1
        if self.failures_in_a_row >= MAX_FAILURES:
            raise RunError(f"{MAX_FAILURES} prompts in a row gave no valid row; the last one: {fault.reason}")

    def _provenance(self, draft: Draft) -> dict[str, Any]:
        return {
            "model": self.section.endpoint.model,
            "prompt": self.prompts.content_hash,
            "number": draft.number,
            "seeds": [f"{row.file}:{row.number}" for row in self.prompts.shown_seeds(draft.number)],
            "tries": len(draft.faults) + 1,
        }


def _passing(faults: Sequence[Fault | None]) -> list[int]:
    return [index for index, fault in enumerate(faults) if fault is None]


def _failed_assertions(verdicts: Sequence[Verdict]) -> Fault | None:
    """Return the fault of a row, named after the first assertion that fails."""
    failures = [verdict for verdict in verdicts if not verdict.ok]
    if not failures:
        return None
    return Fault(failures[0].name, "; ".join(f"{verdict.name}: {verdict.reason}" for verdict in failures))


def _question(parts: Parts) -> Leaves:
    """Return what a row asks; all that it says if it has no prompt."""
    return without_columns(parts.prompt or parts.answer)


def _split(values: dict[str, Any]) -> tuple[str, str]:
    return prompt_and_answer(values, Dataset(path="generated"))


def estimate(section: Generate, prompts: Prompts) -> tuple[int, int, float]:
    """Return prompt tokens, completion tokens and cost if every row is accepted at once, with 4 characters a token."""
    sample = range(1, 1 + min(section.rows, 20))
    prompt_tokens = sum(len(prompts.render(number)) for number in sample) / len(sample) / 4
    completion_tokens = (
        sum(len(json.dumps(row.values, ensure_ascii=False)) for row in prompts.seeds) / len(prompts.seeds) / 4
    )
    num_sent, num_received = round(prompt_tokens * section.rows), round(completion_tokens * section.rows)
    limits = section.endpoint
    cost = (num_sent * (limits.input_cost or 0) + num_received * (limits.output_cost or 0)) / 1e6
    return num_sent, num_received, cost
