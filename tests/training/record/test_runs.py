"""Runs are found by their records, summed up, compared, and drawn on a page."""

import json
import platform
import subprocess
import sys

import pytest

from tunesmith.training.record.run_record import RunRecord
from tunesmith.training.record.runs import POINTS, differences, find_runs, write_page


def make_run(folder, losses, *, evals=(), **config):
    """Write the record of a finished run."""
    record = RunRecord(folder / "run")
    record.start({"base_model": "x", "output_dir": str(folder), **config}, {"source": "x.yml"})
    for step, loss in enumerate(losses, start=1):
        record.add_metrics({"step": step, "loss": loss, "tokens_per_second": 100.0 * step})
    for step, loss in evals:
        record.add_metrics({"step": step, "eval_loss": loss})
    record.update({"status": "finished", "step": len(losses), "steps": len(losses)})
    return record


@pytest.fixture
def two(tmp_path):
    make_run(tmp_path / "a", [3.0, 2.0, 1.0], evals=[(2, 1.5), (3, 1.8)], learning_rate=1e-3, datasets=[{"path": "d"}])
    make_run(tmp_path / "sweep/b", [3.0, float("nan")], learning_rate=2e-3, datasets=[{"path": "<e>"}])
    return find_runs([tmp_path])


def test_runs_are_found_below_a_folder_and_summed_up(two):
    first, second = two
    assert (first.name, second.name) == ("a", "sweep/b")
    assert {key: first.summary[key] for key in ("status", "step", "loss", "eval_loss", "tokens_per_second")} == {
        "status": "finished",
        "step": 3,
        "loss": 1.0,
        "eval_loss": 1.5,
        "tokens_per_second": 200.0,
    }
    assert (second.summary["loss"], second.summary["eval_loss"]) == (3.0, None)


def test_the_eval_loss_of_a_run_is_that_of_the_checkpoint_that_its_metric_chose(tmp_path):
    record = make_run(tmp_path / "a", [1.0], metric_for_best_model="reward_margin")
    for step, loss, margin in ((1, 0.6, 0.5), (2, 0.5, 0.1)):
        record.add_metrics({"step": step, "eval_loss": loss, "eval_reward_margin": margin})
    summary = find_runs([tmp_path])[0].summary
    assert (summary["metric"], summary["best"], summary["eval_loss"]) == ("eval_reward_margin", 0.5, 0.6)


def test_a_run_that_is_named_itself_has_the_name_of_its_folder(two):
    assert [run.name for run in find_runs([two[0].folder])] == ["a"]
    assert len(find_runs([two[0].folder, two[0].folder.parent])) == 2


def test_only_keys_that_differ_are_compared(two):
    assert differences(two) == {"learning_rate": [1e-3, 2e-3], "datasets.0.path": ["d", "<e>"]}
    assert differences(two[:1]) == {}


def test_a_run_that_was_killed_is_not_shown_as_running(tmp_path):
    record = make_run(tmp_path / "a", [1.0])
    record.update({"status": "running"})
    assert find_runs([tmp_path])[0].summary["status"] == "running"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    record.update({"process": gone.pid})
    assert find_runs([tmp_path])[0].summary["status"] == "killed"
    record.update({"process": record.about()["process"], "host": "elsewhere"})
    assert find_runs([tmp_path])[0].summary["status"] == "running"


def test_a_process_of_the_same_number_that_began_later_is_another(tmp_path):
    record = make_run(tmp_path / "a", [1.0])
    record.update({"status": "running", "started": "2020-01-01T00:00:00+0000", "host": platform.node()})
    assert find_runs([tmp_path])[0].summary["status"] == "killed"


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps({"status": "running"}))
    (run,) = find_runs([tmp_path])
    assert (run.summary["status"], run.summary["loss"], run.config) == ("running", None, {})


def test_the_page_draws_the_chosen_runs_and_shows_values(two, tmp_path, browser):
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith("file:") else None)
    write_page(two, tmp_path / "runs.html")
    page.goto(f"file://{tmp_path}/runs.html")
    assert page.title() == "Runs"
    assert page.locator("#plot .curve").count() == 3
    assert page.locator("#table tbody th").all_inner_texts() == ["a", "sweep/b"]
    assert page.locator("#differences tbody tr").all_inner_texts() == [
        "learning_rate\t0.001\t0.002",
        "datasets.0.path\td\t<e>",
    ]
    box = page.locator("#plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 100)
    assert page.locator("#tip").inner_text().split("\n") == ["step 3", "a: 1", "a (eval): 1.8000"]
    page.get_by_label("sweep/b").uncheck()
    assert page.locator("#plot .curve").count() == 2
    page.locator("#metric").select_option("tokens_per_second")
    assert page.locator("#plot .curve").count() == 1
    page.get_by_role("button", name="Run", exact=False).first.click()
    page.get_by_role("button", name="Run", exact=False).first.click()
    assert page.locator("#table tbody th").all_inner_texts() == ["sweep/b", "a"]
    assert problems == []
    page.close()


def test_a_long_run_has_few_points_on_the_page_and_its_last_one(tmp_path):
    make_run(tmp_path / "long", [1.0 / step for step in range(1, 5 * POINTS)])
    write_page(find_runs([tmp_path]), tmp_path / "runs.html")
    text = (tmp_path / "runs.html").read_text()
    (run,) = json.loads(text.partition('id="report">')[2].partition("</script>")[0])["runs"]
    assert len(run["metrics"]["loss"]) == POINTS
    assert run["metrics"]["loss"][-1][0] == 5 * POINTS - 1
