"""The assertion runner: verdicts in order, from processes that may hang, crash, print or die without harm."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tunesmith.assertions import Case, open_assertions, runner, worker
from tunesmith.errors import ConfigError

FAULTY = """
import ctypes, os, sys
def test_prints(row):
    print("some text"); os.write(1, b"more"); sys.stdout.flush()
    assert input is not None
def test_hangs(row):
    while row["n"] == 5: pass
def test_hangs_in_c(row):
    if row["n"] == 40:
        sum(range(10**12))
def test_exits(row):
    if row["n"] == 7:
        os._exit(3)
def test_crashes(row):
    if row["n"] == 30:
        ctypes.string_at(0)
def test_key(row):
    if row["n"] in (3, 50):
        row["no"]
"""


def cases(count):
    return [Case({"n": number}, "answer", place=f"a.jsonl:{number}") for number in range(count)]


def written(folder, text):
    (folder / "rules.py").write_text(text)
    return "rules.py", str(folder / "config.yml")


def workers():
    """Return how many workers run that this process started."""
    found = subprocess.check_output(["ps", "-o", "args=", "--ppid", str(os.getpid())], text=True)
    return found.count("assertions.worker")


def test_verdicts_come_in_order_and_memory_is_flat(tmp_path):
    place = written(tmp_path, "def test_even(row):\n    assert row['n'] % 2 == 0, str(row['n'])\n")
    taken = []

    def source():
        for case in cases(3000):
            taken.append(case)
            yield case

    with open_assertions(*place, workers=2) as judge:
        assert judge.names == ["test_even"]
        ahead = 0
        for number, (verdict,) in enumerate(judge(source())):
            assert verdict.reason == ("" if number % 2 == 0 else str(number))
            ahead = max(ahead, len(taken) - number)
        assert number == 2999
        assert ahead <= 5 * 128
        assert [[item.ok for item in found] for found in judge(cases(2))] == [[True], [False]]  # it goes on working
    assert workers() == 0


def test_many_cheap_cases_take_few_messages(tmp_path, monkeypatch):
    """At most 4 messages are on their way while a batch doubles from 1 to 128 cases; after that all are full."""
    place = written(tmp_path, "def test_a(answer):\n    assert answer\ndef test_b(n):\n    assert n >= 0\n")
    monkeypatch.setattr(runner, "BATCH_SECONDS", 3600)  # cheap, however busy the machine is
    monkeypatch.setattr(runner, "GATHER_SECONDS", 3600)
    sizes = []
    run = runner._Worker.run
    monkeypatch.setattr(runner._Worker, "run", lambda self, batch: sizes.append(len(batch)) or run(self, batch))
    with open_assertions(*place, workers=2) as judge:
        assert sum(all(verdict.ok for verdict in found) for found in judge(iter(cases(6400)))) == 6400
    assert sum(sizes) == 6400
    assert len(sizes) <= 6400 / 128 + 4 * 8


def test_the_time_limit_is_not_set_for_each_call(monkeypatch, tmp_path):
    """1,000 calls of 0.01 s under a limit of 5 s: it is set again after half a second, which is 51 calls."""
    moments = iter(number / 100 for number in range(1, 1001))
    limits = []
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=moments.__next__))
    monkeypatch.setattr(
        worker, "faulthandler", SimpleNamespace(dump_traceback_later=lambda seconds, **_: limits.append(seconds))
    )
    with (tmp_path / "mark").open("wb") as mark:
        watchdog = worker._Watchdog(mark.fileno(), 5.0)
        watchdog.set_at = -1.0
        for number in range(1000):
            watchdog.start(number, 0)
    assert set(limits) == {5.5}
    assert 19 <= len(limits) <= 20


def test_every_fault_is_told_at_the_end_and_none_counts_as_a_verdict(tmp_path, capfd):
    given = []
    with open_assertions(*written(tmp_path, FAULTY), seconds=1.0) as judge, pytest.raises(ConfigError) as error:
        given += judge(cases(100))
    text = str(error.value)
    assert len(given) == 3  # up to the first fault
    assert all(verdict.ok for found in given for verdict in found)
    assert "rules.py:19: test_key raised KeyError: 'no'; an assertion fails a case by `assert`, or returns" in text
    assert "(a.jsonl:3 and 1 more)" in text
    assert "rules.py:7: test_hangs took over 1 s, the limit (`evaluation.assertion_seconds`), and was ended" in text
    assert "rules.py:10: test_hangs_in_c took over 1 s" in text
    assert "rules.py:11: test_exits ended its process with exit code 3" in text
    assert "rules.py:16: test_crashes crashed: Segmentation fault (a.jsonl:30)" in text
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "some text" in captured.err
    assert workers() == 0


def test_at_most_five_faults_are_named_and_five_lost_workers_end_it(tmp_path):
    many = "".join(f"def test_{name}(row):\n    row['no']\n" for name in "abcdefg")
    with (
        open_assertions(*written(tmp_path, many)) as judge,
        pytest.raises(ConfigError, match=r"test_e(?s:.)*and 2 more faults"),
    ):
        list(judge(cases(3)))
    with (
        open_assertions(*written(tmp_path, "import os\ndef test_x(): os._exit(0)\n"), workers=1) as judge,
        pytest.raises(ConfigError, match=r"test_x ended its process with exit code 0.*a.jsonl:0 and 4 more"),
    ):
        list(judge(cases(10_000)))


def test_a_jury_that_was_given_up_passes_nothing(tmp_path):
    with open_assertions(*written(tmp_path, "import os\ndef test_x(): os._exit(0)\n")) as judge:
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"rules\.py"):
                next(judge(cases(20)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\nos._exit(4)\n", r"rules.py: loading it ended its process with exit code 4"),
        ("def test_x(:\n", "does not load: SyntaxError"),
        ("import sys\nimport nothing_like_it\n", r"rules.py:2 does not load: ModuleNotFoundError"),
    ],
)
def test_a_file_that_does_not_load_is_told_before_anything_is_judged(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message), open_assertions(*written(tmp_path, text)):
        pass


def test_what_one_assertion_does_to_the_row_another_does_not_see(tmp_path):
    text = "def test_a(row): row.clear()\ndef test_b(row): assert row['n'] == 0\n"
    with open_assertions(*written(tmp_path, text)) as judge:
        assert [item.ok for item in next(judge(cases(1)))] == [True, True]


def test_the_line_at_which_a_file_does_not_load_is_named_from_its_folder_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text("x = 1\nx / 0\n")
    with (
        pytest.raises(ConfigError, match=r"^rules.py:2 does not load: ZeroDivisionError"),
        open_assertions("rules.py", "rows.jsonl"),
    ):
        pass


def test_several_files_are_one_jury_and_may_import_what_lies_beside_them(tmp_path):
    (tmp_path / "beside.py").write_text("LIMIT = 3\n")
    (tmp_path / "one.py").write_text("from beside import LIMIT\ndef test_one(n): assert n < LIMIT\n")
    (tmp_path / "two.py").write_text("def test_two(n): assert n > 0\ndef test_one(): pass\n")
    source = str(tmp_path / "config.yml")
    with open_assertions(["one.py", "two.py:test_two"], source) as judge:
        assert judge.names == ["test_one", "test_two"]
        assert [[item.ok for item in found] for found in judge(cases(4))] == [[1, 0], [1, 1], [1, 1], [0, 1]]
    with (
        pytest.raises(ConfigError, match="two assertions are called test_one"),
        open_assertions(["one.py", "two.py"], source),
    ):
        pass


def test_assertions_hold_under_python_o_and_load_no_torch(tmp_path):
    place = written(
        tmp_path, "import sys\ndef test_x():\n    assert 'torch' not in sys.modules\n    assert False, 'no'\n"
    )
    code = (
        "from tunesmith.assertions import Case, open_assertions\n"
        f"with open_assertions(*{place!r}) as judge: print(list(judge([Case({{}}, '')]))[0][0].reason)"
    )
    run = [sys.executable, "-O", "-c", code]
    assert subprocess.check_output(run, text=True, env={**os.environ, "PYTHONOPTIMIZE": "1"}) == "no\n"


def test_a_consumer_that_stops_early_leaves_no_process(tmp_path):
    with open_assertions(*written(tmp_path, "import time\ndef test_x(): time.sleep(0.2)\n"), seconds=60) as judge:
        next(judge(iter(cases(1000))))
    assert workers() == 0
