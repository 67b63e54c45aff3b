"""`tunesmith runs` as a command."""

import json

import pytest

from tunesmith.cli.main import main
from tunesmith.cli.runs import HEIGHT, WIDTH, chart
from tunesmith.training.record.run_record import RunRecord


@pytest.fixture
def folder(tmp_path):
    """Two runs: the second is better."""
    for name, rate, last in (("first", 1e-3, 2.0), ("second", 2e-3, 1.0)):
        record = RunRecord(tmp_path / name / "run")
        record.start({"learning_rate": rate, "lora_r": 8}, {})
        for step in (1, 2, 3):
            record.add_metrics({"step": step, "loss": last + 3 - step, "tokens_per_second": 1234.0})
        record.add_metrics({"step": 3, "eval_loss": last + 0.5, "eval_perplexity": 9.0})
        record.update({"status": "finished", "step": 3, "steps": 4})
    tuned = {"loss": 1.5, "perplexity": 4.48, "tokens": 40, "pass_rate": {"value": 0.75}}
    report = {"criterion": "pass all assertions", "summary": {"tuned": tuned}, "comparisons": [{"sentence": "better"}]}
    (tmp_path / "second/evaluation").mkdir()
    (tmp_path / "second/evaluation/report.json").write_text(json.dumps(report))
    return tmp_path


def test_the_table_shows_the_runs_and_what_differs(folder, capsys):
    assert main(["runs", str(folder)]) == 0
    head, first, _, second, differs = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "status", "started", "steps", "loss", "eval", "loss", "tokens/s"]
    assert first.split()[0:2] == ["first", "finished"]
    assert second.split()[-4:] == ["3/4", "1.0000", "1.5000", "1,234"]
    assert differs == "    learning_rate=0.002"
    assert main(["runs", str(folder), "--sort"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[::2]] == [
        "run",
        "learning_rate=0.002",
        "learning_rate=0.001",
    ]


def test_the_table_fits_a_page_also_with_long_names_and_many_keys(tmp_path, capsys):
    for number in range(2):
        record = RunRecord(tmp_path / f"sweep/{'a_long_key=' * 9}{number}/run")
        record.start({f"key_{number}_{n}": "x" * n * 9 for n in range(12)} | {"lora_target_linear": True}, {})
        record.add_metrics({"step": 1, "loss": 1.5, "eval_loss": 2.5})
    assert main(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "None" not in out
    assert out.count("1.5000     2.5000") == 2
    assert "and 4 more" in out


def test_json_has_all_of_it(folder, capsys):
    assert main(["runs", str(folder), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], second["eval_loss"], second["config"]["lora_r"]) == ("first", 1.5, 8)


def test_one_run_is_shown_in_full(folder, capsys):
    assert main(["runs", str(folder / "second")]) == 0
    out = capsys.readouterr().out
    assert "second: finished, started " in out
    assert "1,234 tokens/s, last training loss 1.0000" in out
    assert "step      3  eval_loss 1.5000" in out
    assert "evaluate: tuned: loss 1.5, perplexity 4.48, pass all assertions 75%\nevaluate: better\n" in out
    assert "· training loss  o eval loss" in out
    assert "learning_rate: 0.002" in out


def test_the_page_is_written(folder, capsys):
    assert main(["runs", str(folder), "--page", str(folder / "runs.html")]) == 0
    assert f"2 runs: {folder}/runs.html" in capsys.readouterr().out
    assert "<title>Runs</title>" in (folder / "runs.html").read_text()


def test_a_folder_without_runs_is_an_error(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 2
    assert f"error: no runs in {tmp_path}; a run is a folder that `tunesmith train` wrote" in capsys.readouterr().err
    assert main(["runs", str(tmp_path / "missing")]) == 2
    assert "missing: no such folder" in capsys.readouterr().err


def test_the_chart_puts_the_first_and_the_last_value_into_its_corners():
    lines = list(chart({"*": [(1, 4.0), (50, 3.0), (100, 1.0)]}))
    assert len(lines) == HEIGHT + 2
    assert lines[0] == f"{'4':>9} │*"
    assert lines[HEIGHT - 1] == f"{'1':>9} │{'*':>{WIDTH}}"
    assert lines[-1].split() == ["1", "100"]
    assert next(chart({"*": [(1, 2.0)]})).endswith("│*")
