"""What a learning curve says: that more data helps, that it does not, or that so many rows cannot tell."""

import json

import pytest

from tunesmith.evals.learning import Point, advise, write_curve

JUDGED = "pass all assertions"


def curve(rows, *passed, losses=(1.0, 1.0)):
    """Points at 100 and 200 rows, of which so many of the held-out rows pass, the same ones first."""
    answers = [[number < count for number in range(rows)] for count in passed]
    return [Point(100 * (n + 1), 10, loss, found) for n, (loss, found) in enumerate(zip(losses, answers, strict=True))]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (curve(100, 50, 60), "more data would probably help: from 100 to 200 rows +10.0 points pass, 95% interval"),
        (curve(200, 180, 181), "flat, more data of this kind is unlikely to help: "),
        (curve(400, 399, 400), "flat, more data of this kind is unlikely to help: "),
        (curve(400, 390, 380), "flat, more data of this kind is unlikely to help: "),
        (curve(20, 10, 13), "cannot tell: from 100 to 200 rows +15.0 points pass, "),
        (curve(20, 20, 20), "cannot tell: "),  # 20 rows without a change do not exclude a gain of 5 points
        (curve(400, 0, 0), "cannot tell: "),  # no answer is good yet, whatever the loss does
    ],
)
def test_advice_follows_the_last_step_and_its_interval(points, expected):
    assert advise(points, JUDGED).startswith(expected)


def test_what_cannot_be_told_comes_with_what_could():
    assert "on 20 eval rows; so many show a difference of " in advise(curve(20, 10, 13), JUDGED)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.9, "more data would probably help: "), (0.999, "flat, "), (1.1, "flat, "), (0.99, "cannot tell: ")],
)
def test_without_assertions_the_loss_is_judged_and_said_to_be(loss, expected):
    text = advise(curve(20, 1, 1, losses=(1.0, loss)), "exact match")
    assert text.startswith(expected)
    assert "the eval loss changed by" in text
    assert text.endswith("and there are no assertions")


@pytest.mark.parametrize("rows", [3, 7, 49])
def test_a_curve_of_no_good_answer_is_drawn(tmp_path, rows):
    assert "cannot tell" in write_curve(curve(rows, 0, 0), JUDGED, tmp_path)
    assert (tmp_path / "curve.png").exists()


def test_a_curve_is_a_table_a_plot_and_data(tmp_path):
    points = [Point(0, 0, 2.0, [False] * 50), *curve(50, 20, 40, losses=(1.0, 0.5))]
    lines = write_curve(points, JUDGED, tmp_path).splitlines()
    assert lines[0].split() == ["|", "rows", "|", "steps", "|", "eval", "loss", "|", *f"{JUDGED} |".split()]
    assert [cell.strip() for cell in lines[2].split("|")][1:5] == ["0 (base)", "0", "2", "0% (0-7)"]
    assert lines[-1].startswith("more data would probably help: ")
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "curve.json").read_text())["points"][2]["pass_rate"]["value"] == 0.8
