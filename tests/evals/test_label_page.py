"""The page of labels in a real browser: keys, undo, what is on disk at each moment, and rows that cannot break out."""

import csv
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from tunesmith.cli.label import main
from tunesmith.evals.items import Item
from tunesmith.evals.label_page import LabelServer, shuffle_items
from tunesmith.evals.labels import LabelFile

EVIL = '<img src=x onerror="window.broken = 1"></script><!--<script>window.broken = 1</script>&lt;'
ITEMS = [Item(f"rows.jsonl:{n}", "answer", f"question {n}", f"answer {n}\n  indented") for n in range(1, 5)]


@pytest.fixture
def address(tmp_path):
    """`address(items)` serves their page, with the labels in labels.csv."""
    servers = []

    def start(items=ITEMS, port=0):
        servers.append(LabelServer(items, LabelFile(tmp_path / "labels.csv"), port))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def page(browser):
    """A page that may ask for nothing but what this machine serves, and may log no error."""
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.set_default_timeout(10_000)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []
    assert all(url.startswith(("http://127.0.0.1:", "data:")) for url in requests)
    page.close()


def on_disk(tmp_path):
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as stream:
        return {row["id"]: (row["label"], row["why"]) for row in csv.DictReader(stream)}


def press(page, key):
    """Press a key and wait until what it changes is on disk."""
    page.keyboard.press(key)
    page.wait_for_function("saving.then(() => true)")


def test_labels_are_given_by_keyboard_and_are_on_disk_at_once(page, address, tmp_path):
    page.goto(address())
    assert page.locator("#question").inner_text() == "question 1"
    assert page.locator("#answer").inner_text() == "answer 1\n  indented"
    press(page, "g")
    assert page.locator("#question").inner_text() == "question 2"
    assert on_disk(tmp_path) == {"rows.jsonl:1": ("good", "")}
    press(page, "b")
    assert on_disk(tmp_path)["rows.jsonl:2"] == ("bad", "")
    assert page.evaluate("document.activeElement.id") == "why"
    page.keyboard.type('bug, "go')
    press(page, "Enter")
    assert on_disk(tmp_path)["rows.jsonl:2"] == ("bad", 'bug, "go'), "letters in a reason are no labels"
    assert page.locator("#question").inner_text() == "question 3"
    assert page.locator("#counts").inner_text() == "2 labelled: 1 good, 1 bad"
    assert page.locator("#progress").evaluate("bar => bar.value / bar.max") == 0.5
    assert page.get_by_role("status").inner_text() == f"Saved in {tmp_path / 'labels.csv'}"
    with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as stream:
        first = next(csv.DictReader(stream))
    assert first == {
        "id": "rows.jsonl:1", "question": "question 1", "answer": "answer 1\n  indented", "label": "good", "why": "",
    }  # fmt: skip


def test_undo_goes_back_step_by_step(page, address, tmp_path):
    page.goto(address())
    for key in ("g", "g", "ArrowLeft"):
        press(page, key)
    press(page, "b")
    page.keyboard.press("Escape")
    assert on_disk(tmp_path)["rows.jsonl:2"] == ("bad", "")
    assert page.get_by_role("button", name="Bad").get_attribute("aria-pressed") == "true"
    press(page, "u")
    assert on_disk(tmp_path)["rows.jsonl:2"] == ("good", "")
    press(page, "u")
    press(page, "u")
    assert {label for label, _ in on_disk(tmp_path).values()} == {""}
    assert page.locator("#question").inner_text() == "question 1"
    assert page.get_by_role("button", name="Undo").is_disabled()


def test_a_reload_and_a_new_start_go_on_where_it_was(page, address, tmp_path):
    first = address()
    page.goto(first)
    press(page, "g")
    press(page, "ArrowRight")
    page.keyboard.press("w")
    page.keyboard.type("half a rea")
    page.wait_for_timeout(400)
    assert on_disk(tmp_path)["rows.jsonl:3"] == ("", "half a rea"), "a reason that is being written is kept too"
    page.reload()
    assert page.locator("#question").inner_text() == "question 3"
    assert page.get_by_label("Why").input_value() == "half a rea"
    page.goto("about:blank")
    page.goto(address())
    assert page.locator("#question").inner_text() == "question 2", "the first without a label"
    for key in ("g", "g", "g"):
        press(page, key)
    assert page.locator("#counts").inner_text() == "4 labelled: 4 good, 0 bad"
    assert "All are labelled" in page.get_by_role("status").inner_text()


def test_buttons_do_what_keys_do(page, address, tmp_path):
    page.goto(address())
    page.get_by_label("Why").fill("first the reason")
    page.get_by_role("button", name="Bad").click()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Good").click()
    page.wait_for_function("saving.then(() => true)")
    assert on_disk(tmp_path) == {"rows.jsonl:1": ("bad", "first the reason"), "rows.jsonl:3": ("good", "")}


def test_rows_cannot_break_out(page, address, tmp_path):
    page.goto(address([Item(EVIL, "answer", EVIL, EVIL)]))
    assert [page.locator(f"#{name}").text_content() for name in ("id", "question", "answer")] == [EVIL] * 3
    page.keyboard.press("w")
    page.keyboard.type(EVIL)
    page.keyboard.press("Escape")
    press(page, "g")
    page.reload()
    assert page.get_by_label("Why").input_value() == EVIL
    assert page.locator("img").count() == 0
    assert page.evaluate("window.broken") is None
    assert on_disk(tmp_path)[EVIL] == ("good", EVIL)


def test_a_label_that_could_not_be_saved_is_said(browser, address, tmp_path):
    page = browser.new_page()
    page.goto(address())
    (tmp_path / "labels.csv").unlink(missing_ok=True)
    (tmp_path / "labels.csv").mkdir()  # no file can take its place
    press(page, "g")
    assert page.get_by_role("status").inner_text().startswith("not saved: ")
    page.close()


def send(address, method="POST", body=None, **headers):
    host = address.split("/")[2]
    connection = http.client.HTTPConnection(host)
    content = json.dumps(body or {"index": 0, "label": "bad", "why": ""})
    connection.request(method, "/", content, {"Content-Type": "application/json", **headers})
    return connection.getresponse().status


def test_other_sites_cannot_read_or_write(address, tmp_path):
    here = address()
    assert send(here, **{"Content-Type": "text/plain"}) == 403
    assert send(here, Host="evil.example:80") == 403
    assert send(here, "GET", Host="evil.example") == 404
    assert send(here, "OPTIONS") == 501
    assert send(here, body={"index": 9, "label": "bad", "why": ""}) == 400
    assert send(here, body={"index": 0, "label": "so so", "why": ""}) == 400
    assert not (tmp_path / "labels.csv").exists()
    assert send(here) == 200


def test_labels_of_other_answers_and_other_columns_stay(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("who,question,answer,label\nme,question 1,an older answer,bad\nyou,q,a,GOOD\n")
    labels = LabelFile(file)
    assert labels.of(ITEMS[0]).label == "", "another answer to the same question"
    labels.put(ITEMS[0], "good", "new")
    labels.put(Item("7", "answer", "q", "a"), "bad", "")
    rows = list(csv.DictReader(file.open(newline="")))
    assert [(row["who"], row["label"]) for row in rows] == [("me", "bad"), ("you", "bad"), ("", "good")]


def test_the_order_tells_nothing_and_stays():
    items = [
        Item(f"{n}:{variant}", variant, f"q{n}", f"{variant} {n}") for n in range(50) for variant in ("base", "tuned")
    ]
    order = [item.variant for item in shuffle_items(items)]
    assert order == [item.variant for item in shuffle_items(items[::-1])]
    assert 15 < order[:50].count("base") < 35
    assert len(shuffle_items([ITEMS[0], ITEMS[0]._replace(id="again")])) == 1


def test_the_command_serves_until_it_is_interrupted_and_survives_a_kill(tmp_path, write_config, write_jsonl):
    write_config(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", [{"question": "q", "answer": "a"}, {"prompt": "p", "base": "x", "tuned": "y"}])
    command = [sys.executable, "-m", "tunesmith", "label", str(tmp_path / "config.yml"), "--answers"]
    command += [str(tmp_path / "rows.jsonl"), "--labels", str(tmp_path / "labels.csv")]
    for how in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
        here = re.search(r"label 3 answers at (\S+) ", process.stderr.readline())[1]
        index = 0 if how is signal.SIGKILL else 1
        assert send(here, body={"index": index, "label": "bad", "why": "no"}) == 200
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, f"{tmp_path / 'labels.csv'}: 0 good, 2 bad, of 3\n"), err
    assert len(on_disk(tmp_path)) == 2


def test_mistakes_are_told_in_a_line(tmp_path, write_config, write_jsonl, capsys, address):
    write_config(tmp_path)
    write_jsonl(tmp_path / "answers.jsonl", [{"question": "q", "answer": "a"}])
    given = [str(tmp_path / "config.yml"), "--labels", str(tmp_path / "labels.csv")]
    assert main(given) == 3
    assert "out/evaluation/report.json: no such file; `tunesmith evaluate` writes" in capsys.readouterr().err
    given += ["--answers", str(tmp_path / "answers.jsonl")]
    taken = address().rstrip("/").rpartition(":")[2]
    assert main([*given, "--port", taken]) == 2
    assert f"--port {taken}: " in capsys.readouterr().err
    assert main([*given, "--labels", str(tmp_path / "labels.jsonl")]) == 2
    assert "labels.jsonl: labels are written as CSV; name a file that ends in .csv" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("question,answer,label\nq,a,maybe\n")
    assert main(given) == 3
    assert "labels.csv:2: `label` is good or bad, found 'maybe'" in capsys.readouterr().err
