"""The page of a report in a real browser: what it shows, its filters and keys, and that answers cannot break out."""

import dataclasses

import pytest

from tunesmith.evals.comparison import compare_all
from tunesmith.evals.files import write_report

HOSTILE = '</script><img src=x onerror="document.title=1">'


@pytest.fixture
def show(browser, tmp_path):
    """`show(report)` writes the page and opens it; the test fails if the page has an error or asks the network."""
    errors, contexts = [], []

    def open_page(report, scheme="light", width=1280):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda asked: errors.append(asked.url) if not asked.url.startswith("file:") else None)
        _, _, file = write_report(report, compare_all(report), tmp_path / "report.json", "Evaluation of outputs/a")
        page.goto(f"file://{file}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


def texts(page, selector):
    return [item.strip() for item in page.locator(selector).all_inner_texts()]


def test_the_page_shows_the_verdict_the_counts_and_the_rows(show, changed_report):
    page = show(changed_report(fixed=8, broken=1, good=3, bad=2))
    assert texts(page, ".said.better") == [
        "better: tuned against base, +50.0 points, 95% interval +12.1 to +72.4, p = 0.039 on 14 rows"
    ]
    assert texts(page, "#kinds button") == ["All 14", "Fixed 8", "Broken 1", "Failing 3"]
    assert texts(page, ".row .bar.small") == ["a.jsonl:9\nbroken"]  # what was broken is looked at first
    assert texts(page, ".answer.bad li") == ["test_json: test_json says no"]
    assert page.locator("#changes rect").count() == 4
    assert page.locator("#rates circle").count() == 2 * 4  # two variants; all, each assertion, exact


def test_keys_choose_rows_and_go_through_them(show, changed_report):
    page = show(changed_report(fixed=8, broken=1, good=3, bad=2))
    for key, count in (("a", 14), ("f", 8), ("x", 3), ("b", 1)):
        page.keyboard.press(key)
        assert page.locator(".row").count() == count
    page.keyboard.press("f")
    for key, place in (("j", 0), ("j", 1), ("k", 0), ("k", 0)):
        page.keyboard.press(key)
        assert page.evaluate("[...document.querySelectorAll('.row')].indexOf(document.activeElement)") == place
    page.fill("#text", "question 3?")
    assert texts(page, ".row .question b") == ["question 3?"]
    page.fill("#text", "f")  # typing is no key
    assert texts(page, "#kinds button[aria-pressed=true]") == ["Fixed 8"]


def test_an_answer_cannot_break_out(show, changed_report):
    report = changed_report(bad=1)
    row = report.rows[0]
    answers = {name: dataclasses.replace(answer, text=HOSTILE) for name, answer in row.answers.items()}
    report.rows[0] = dataclasses.replace(row, question=HOSTILE, answers=answers)
    page = show(report)
    assert page.title() == "Evaluation of outputs/a"
    assert texts(page, ".answer.bad pre") == [HOSTILE] * 2
    assert texts(page, ".said") == [report_sentence(report)]


def report_sentence(report):
    return compare_all(report)[0].sentence()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone(show, changed_report, scheme):
    page = show(changed_report(2, 1, 1, 1), scheme, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_one_model_has_no_comparison_and_no_answers_no_rows(show, make_report):
    page = show(make_report([{"tuned": ("no", ["test_json"])}, {"tuned": ("yes", [])}]))
    assert texts(page, "#kinds button") == ["All 2", "Failing 1"]
    assert page.locator("#changes-section").is_hidden()
    page = show(make_report([]))
    assert page.locator("#rows-section").is_hidden()
    assert texts(page, "#figures tbody th") == ["Eval loss", "Perplexity"]
