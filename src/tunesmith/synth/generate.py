"""The story of a generation: prompts in rounds, each reply checked, mended or turned down, until the rows are there.

All that happens follows from the config and the replies, in the order of the prompts. The endpoint keeps every reply on
disk before it is seen, so a run that was killed or stopped is started again: it walks through the replies that it has,
writes the same rows, and asks only for the rest. There is no other state that could be lost or go stale.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any, NamedTuple

from tunesmith.assertions import Case, Jury, jury
from tunesmith.checks.parts import prompt_and_answer
from tunesmith.data.twins import NearTexts, text_hash
from tunesmith.errors import RunError, UserError
from tunesmith.generation.endpoint import Endpoint, Refused, Reply, Request, Spent, open_endpoint
from tunesmith.log import note, progress
from tunesmith.sections import Config, Dataset, Generate
from tunesmith.synth.diversity import Diversity, choices_of, diversity
from tunesmith.synth.output import Output, open_output
from tunesmith.synth.prompts import Prompts

ROUND = 64
"""Prompts that are under way together. Not a setting, since the order in which rows are compared follows from it."""
DRY = 200
"""So many prompts in a row that give no row end the run: it would not end by itself."""
PROVENANCE = "_provenance"
"""Column of a row that was made: by which model and prompt, from which seeds, after how many tries."""

FORM, EQUAL, ALIKE, JUDGE = "form", "duplicate", "near-duplicate", "judge"
"""What a row may be turned down for, besides assertions, which go by their names."""

Critic = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""Says of each question and answer what is wrong with it; nothing of one that is good."""

_MEND = """This row is not taken: {fault}

Write it again without that fault, as one JSON object that fits the same schema, and nothing else."""


class Draft(NamedTuple):
    """A row that is being made.

    Attributes:
        number: of its prompt, from 1.
        messages: what is said to the model and by it so far.
        faults: why it was not taken, each time.
    """

    number: int
    messages: list[dict[str, str]]
    faults: tuple[str, ...] = ()


class Fault(NamedTuple):
    """Why a row is not taken: for what kind of fault, and what the model is told of it."""

    kind: str
    reason: str


class Outcome(NamedTuple):
    """What came of a run.

    Attributes:
        seeds: figures of the seeds.
        made: figures of the rows.
        choices: the columns of a choice and their values; see `choices_of`.
        tries: replies looked at.
        faults: kind of fault -> how many of them had it.
        given_up: how many rows were not mended.
        spent: what it cost.
    """

    seeds: Diversity
    made: Diversity
    choices: dict[str, set[Any]]
    tries: int
    faults: Counter[str]
    given_up: int
    spent: Spent


def generate(config: Config, section: Generate, critic: Critic | None = None) -> Outcome:
    """Make rows until there are as many as the config asks for, and write them, and those turned down, to files.

    Raises:
        ConfigError: the template, the schema or an assertion is at fault.
        DataError: a seed cannot be read.
        RunError: the output was edited since; or prompt after prompt gives no row.
        Stopped: a limit of the endpoint is reached; the rows so far are written.
    """
    prompts = Prompts(section, config.source)
    seconds = config.evaluation.evaluation.assertion_seconds
    checks = jury(section.assertions, config.source, seconds) if section.assertions else nullcontext()
    with (
        open_output(section.output) as output,
        open_endpoint(section.endpoint, config.source) as endpoint,
        checks as judge,
    ):
        making = Making(section, prompts, endpoint, judge, critic)
        try:
            with progress("making", total=section.rows, unit="rows") as advance:
                while len(making.rows) < section.rows:
                    before = len(making.rows)
                    making.round(output)
                    advance(len(making.rows) - before)
        except UserError:
            note(str(endpoint.spent))
            raise
    choices = choices_of([row.values for row in prompts.seeds])
    seeds = diversity([row.values for row in prompts.seeds], choices)
    made = diversity(making.rows, choices)
    return Outcome(seeds, made, choices, making.tries, making.faults, output.turned_down, endpoint.spent)


class Making:
    """Rows in the making."""

    def __init__(
        self, section: Generate, prompts: Prompts, endpoint: Endpoint, judge: Jury | None, critic: Critic | None
    ) -> None:
        self.section, self.prompts, self.endpoint = section, prompts, endpoint
        self.judge, self.critic = judge, critic
        self.rows: list[dict[str, Any]] = []
        self.faults: Counter[str] = Counter()
        self.tries = self.dry = 0
        self._numbers = count(1)
        self._again: list[Draft] = []
        self._near = NearTexts(section.near_duplicates or 1)
        self._hashes: dict[int, str] = {}
        self._names: list[str] = []
        for row in prompts.seeds:
            self._remember(_parts(row.values), f"the seed {row.file}:{row.number}")

    def round(self, output: Output) -> None:
        """Ask for as many rows as are missing, at most a round of them, and take the good ones."""
        missing = min(ROUND, self.section.rows - len(self.rows)) - len(self._again)
        drafts = [*self._again, *(self._first() for _ in range(missing))]
        self._again = []
        replies = self._ask(drafts)
        self.tries += len(replies)
        for draft, reply, fault in zip(drafts, replies, self._check(drafts, replies), strict=True):
            if fault is not None:
                self.faults[fault.kind] += 1
            if fault is None:
                self._take(draft, json.loads(reply.text), output)  # type: ignore[union-attr]  # no reply is a fault
            elif isinstance(reply, Reply) and len(draft.faults) < self.section.heal:
                turns = [("assistant", reply.text), ("user", _MEND.format(fault=fault.reason))]
                said = [{"role": role, "content": text} for role, text in turns]
                self._again.append(Draft(draft.number, [*draft.messages, *said], (*draft.faults, fault.reason)))
            else:
                self._turn_down(draft, reply, fault, output)

    def _first(self) -> Draft:
        number = next(self._numbers)
        return Draft(number, [{"role": "user", "content": self.prompts.render(number)}])

    def _ask(self, drafts: Sequence[Draft]) -> list[Reply | Refused]:
        """Return the reply to each draft."""
        limits, seed = self.section.endpoint, self.section.seed
        requests = (
            Request(draft.messages, self.prompts.schema, limits.temperature, limits.max_tokens, seed + draft.number)
            for draft in drafts
        )
        return [reply for _, reply in sorted(self.endpoint.ask(requests), key=lambda item: item[0])]

    def _check(self, drafts: Sequence[Draft], replies: Sequence[Reply | Refused]) -> list[Fault | None]:
        """Return what is wrong with each reply: first its form, then the assertions, its twins, the judge."""
        faults = [Fault(FORM, reply.reason) if isinstance(reply, Refused) else None for reply in replies]
        rows = [{} if isinstance(reply, Refused) else json.loads(reply.text) for reply in replies]
        parts = [_parts(row) for row in rows]

        def good() -> list[int]:
            return [index for index, fault in enumerate(faults) if fault is None]

        if self.judge:
            cases = [Case(rows[i], parts[i][1], parts[i][1], f"prompt {drafts[i].number}") for i in good()]
            for index, verdicts in zip(good(), self.judge(cases), strict=True):
                failed = [verdict for verdict in verdicts if not verdict.ok]
                if failed:
                    reasons = "; ".join(f"{name}: {reason}" for name, _, reason in failed)
                    faults[index] = Fault(failed[0].name, reasons)
        if self.critic:
            for index in good():  # a twin is not worth a verdict; what is judged bad may come again, mended
                faults[index] = self._twin(parts[index])
            left = good()
            for index, reason in zip(left, self.critic([parts[i] for i in left]), strict=True):
                faults[index] = Fault(JUDGE, reason) if reason else None
        for index in good():
            faults[index] = self._twin(parts[index])
            if faults[index] is None:
                self._remember(parts[index], f"the row of prompt {drafts[index].number}")
        return faults

    def _twin(self, parts: tuple[str, str]) -> Fault | None:
        """Return of which seed or earlier row a row is a twin: it asks the same, or says nearly the same."""
        if name := self._hashes.get(text_hash(parts[0] or parts[1])):
            return Fault(EQUAL, f"it asks the same as {name}")
        twin = self._near.find("\n".join(parts)) if self.section.near_duplicates else None
        if twin is None:
            return None
        return Fault(ALIKE, f"{twin.share:.2f} of its runs of words are those of {self._names[twin.earlier]}")

    def _remember(self, parts: tuple[str, str], name: str) -> None:
        self._hashes.setdefault(text_hash(parts[0] or parts[1]), name)
        self._near.add("\n".join(parts))
        self._names.append(name)

    def _take(self, draft: Draft, row: dict[str, Any], output: Output) -> None:
        self.dry = 0
        self.rows.append(row)
        output.take({**row, PROVENANCE: self._provenance(draft)})

    def _turn_down(self, draft: Draft, reply: Reply | Refused, fault: Fault, output: Output) -> None:
        """Write what is given up, and stop when nothing else comes."""
        text = "" if isinstance(reply, Refused) else reply.text
        reasons = [*draft.faults, fault.reason]
        output.turn_down({"text": text, "fault": fault.kind, "reasons": reasons, PROVENANCE: self._provenance(draft)})
        self.dry += 1
        if self.dry >= DRY:
            raise RunError(f"{DRY} prompts in a row gave no row that could be taken; the last one: {fault.reason}")

    def _provenance(self, draft: Draft) -> dict[str, Any]:
        seeds = [f"{row.file}:{row.number}" for row in self.prompts.shown(draft.number)]
        made_by = {"model": self.section.endpoint.model, "prompt": self.prompts.digest}
        return {**made_by, "number": draft.number, "seeds": seeds, "tries": len(draft.faults) + 1}


def _parts(values: dict[str, Any]) -> tuple[str, str]:
    return prompt_and_answer(values, Dataset(path="generated"))


def estimate(section: Generate, prompts: Prompts) -> tuple[int, int, float]:
    """Return tokens sent, tokens received and cost, if every row is taken at once; a token is taken as 4 characters."""
    sample = range(1, 1 + min(section.rows, 20))
    sent = sum(len(prompts.render(number)) for number in sample) / len(sample) / 4
    received = sum(len(json.dumps(row.values, ensure_ascii=False)) for row in prompts.seeds) / len(prompts.seeds) / 4
    tokens = round(sent * section.rows), round(received * section.rows)
    limits = section.endpoint
    return *tokens, (tokens[0] * (limits.input_cost or 0) + tokens[1] * (limits.output_cost or 0)) / 1e6
