"""What the data doctor says: findings with their rows and cures, figures of each dataset, and samples to look at."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Worst first. Training stops on an error unless it is told to go on."""


class Hit(NamedTuple):
    """A row that a finding is about, and what of it."""

    file: str
    row: int
    detail: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or that one should know.

    Attributes:
        code: stable name, such as `bos-doubled`.
        severity: how bad it is.
        title: what is wrong, in a sentence.
        cure: what to do, with the change of the YAML file where there is one.
        count: rows (or other things) that it is about.
        hits: the first of them; empty for a finding about the tokenizer, the template or the whole data.
    """

    code: str
    severity: Severity
    title: str
    cure: str
    count: int = 0
    hits: tuple[Hit, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A sample to look at.

    Attributes:
        dataset: path of its dataset.
        file: file of its row.
        row: number of its row.
        input_ids: token ids, shape (tokens,).
        labels: labels, shape (tokens,).
        pieces: text of each token, shape (tokens,).
        codes: findings about this row.
    """

    dataset: str
    file: str
    row: int
    input_ids: list[int]
    labels: list[int]
    pieces: list[str]
    codes: tuple[str, ...] = ()


@dataclass
class Figures:
    """Numbers of one dataset.

    Attributes:
        name: its path.
        rows: rows read.
        samples: samples that they became.
        tokens: tokens of these.
        trained: tokens of these that are trained.
        nothing_trained: rows of which no token is trained.
        end_trained: samples whose last trained token ends an answer.
        by_role: role -> (turns, characters, turns that are trained); empty for types without roles.
        lengths: tokens of each sample, before it is cut or left out.
        packing: share of packed rows that is filled, 0 to 1; None without packing.
    """

    name: str
    rows: int = 0
    samples: int = 0
    tokens: int = 0
    trained: int = 0
    nothing_trained: int = 0
    end_trained: int = 0
    by_role: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    packing: float | None = None


@dataclass
class CheckReport:
    """The whole report.

    Attributes:
        source: config file.
        sequence_len: its longest sample.
        findings: worst first.
        figures: of each dataset.
        samples: to look at; those with findings first.
    """

    source: str
    sequence_len: int
    findings: list[Finding] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
