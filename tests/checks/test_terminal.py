"""The report as text, and the page of the documentation that lists every finding."""

import re
from pathlib import Path

import pytest

from tunesmith.checks.catalogue import finding, known_findings, table
from tunesmith.checks.report import SEVERITIES, CheckReport, Figures, Hit
from tunesmith.checks.terminal import as_text, histogram, one_line, summary

ROOT = Path(__file__).parents[2]


@pytest.fixture
def report():
    hits = [Hit("a.jsonl", number, f"detail {number}") for number in range(1, 6)]
    figures = Figures("a.jsonl", 10, 9, 900, 300, 1, 9, {"user": (10, 100, 0)}, [50, 100, 100, 260], 0.9)
    findings = [
        finding("bos-doubled", count=5, hits=hits),
        finding("mojibake", count=1, hits=hits[:1]),
        finding("pad-equals-eos", "</s>"),
    ]
    return CheckReport("a.yml", 200, findings, [figures])


def test_the_report_as_text(report):
    assert (
        as_text(report).plain
        == """error    bos-doubled  5 rows
  samples start with two BOS tokens
    a.jsonl:1: detail 1
    a.jsonl:2: detail 2
    a.jsonl:3: detail 3
    and 2 more
  fix: remove BOS from the rows or from the chat template: the tokenizer adds it
warning  mojibake  1 row
  texts were decoded with the wrong encoding, such as Ã© for é
    a.jsonl:1: detail 1
  fix: read the source as UTF-8; the ftfy package repairs existing text
info     pad-equals-eos
  the PAD token is the EOS token: </s>
  fix: nothing here: padding is masked by its position; other trainers may mask EOS with it

a.jsonl
  10 rows (1 with nothing trained), 9 samples
  900 tokens, 300 trained (33%); the end of an answer is trained in 100% of the samples
  user: 10 turns, 100 characters, 0 turns trained
  packing: 90.0% of each sequence of 200 is filled
  tokens of a sample (sequence_len 200):
      0-25          0
     26-51          1  ####################
     52-77          0
     78-103         2  ########################################
    104-129         0
    130-155         0
    156-181         0
    182-207         0
    208-233         0
    234-259         0
    260-285         1  xxxxxxxxxxxxxxxxxxxx
  samples over sequence_len: 1, by 60 tokens
"""
    )


def test_a_summary_and_a_line(report):
    assert summary(report) == "1 error, 1 warning, 1 info"
    assert summary(CheckReport("a.yml", 8)) == "0 errors, 0 warnings, 0 infos"
    assert one_line(report.findings[1]).startswith("warning: mojibake: texts were decoded")
    assert "(1 row, first a.jsonl:1: detail 1); read the source as UTF-8" in one_line(report.findings[1])
    assert one_line(report.findings[2]).startswith(
        "info: pad-equals-eos: the PAD token is the EOS token: </s>; nothing"
    )


@pytest.mark.parametrize("lengths", [[1], [7, 7, 7], list(range(1, 5000))])
def test_every_sample_is_in_a_bar(lengths):
    lines = list(histogram(lengths, 10_000))
    assert sum(int(line.split()[-1 if "#" not in line else -2].replace(",", "")) for line in lines) == len(lengths)
    assert max(line.count("#") for line in lines) == 40


def test_every_finding_has_a_severity_a_title_and_a_cure():
    for code, known in known_findings().items():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+|[a-z]+", code)
        assert known.severity in SEVERITIES
        assert known.title[0].islower() or known.title.startswith("`")
        assert known.cure


def test_every_code_in_the_source_is_known_and_every_known_one_in_use():
    source = "".join(
        file.read_text() for file in (ROOT / "src/tunesmith/checks").glob("*.py") if file.name != "catalogue.py"
    )
    for code in known_findings():
        assert f'"{code}"' in source, f"{code} is never reported"


def test_every_finding_is_planted_in_some_test():
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("*.py"))
    assert [code for code in known_findings() if f'"{code}"' not in tests] == []


def test_the_documentation_lists_every_finding():
    assert table() in (ROOT / "docs/check.md").read_text(), "put in what python -m tunesmith.checks.catalogue prints"
