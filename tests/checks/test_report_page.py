"""The page of the data doctor in a real browser: what it shows, how it is filtered, and that rows cannot break out."""

import json
import re

import pytest

from tunesmith import encode
from tunesmith.checks.page import write_page
from tunesmith.checks.report import CheckReport, Figures, Finding, Hit, Sample

EVIL = '<img src=x onerror="window.broken = 1"></script><!--<script>window.broken = 1</script>&lt;`'
TRAIN, EVAL = "data/train.jsonl", "data/eval.jsonl"
CONTRAST = """nodes => nodes.map(node => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const light = text => [.2126, .7152, .0722].reduce((sum, of, i) => sum + of * linear(rgb(text)[i] / 255), .05);
    let behind = node;
    while (rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const [a, b] = [getComputedStyle(node).color, getComputedStyle(behind).backgroundColor].map(light);
    return Math.max(a, b) / Math.min(a, b);
})"""
"""Contrast of each node's text with what is behind it, as WCAG has it."""


@pytest.fixture
def show(browser, tmp_path):
    """`show(report)` opens its page. Until the test is over it may ask for nothing but itself, and log no error."""
    requests, errors, contexts = [], [], []
    file = tmp_path / "report.html"

    def open_page(report, *, width=1280, scheme="light"):
        write_page(report, file)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_page
    assert errors == []
    assert set(requests) <= {file.as_uri()}
    for context in contexts:
        context.close()


def make_sample(tokenizer, answer, row, *, file=TRAIN, question="What is\n  1 + 1?", codes=()):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    (found,) = encode({"messages": turns}, dataset={"type": "chat_template"}, tokenizer=tokenizer)
    pieces = [tokenizer.decode([token]) for token in found.input_ids]
    return Sample(file, file, row, found.input_ids, found.labels, pieces, codes)


@pytest.fixture
def report(tokenizer) -> CheckReport:
    """Samples of 12 rows and of one that is held out; findings in no order."""
    samples = [make_sample(tokenizer, f"It is {row}.", row) for row in range(1, 12)]
    samples.insert(2, make_sample(tokenizer, "Two  spaces ", 12, codes=("answer-edge-space",)))
    samples.append(make_sample(tokenizer, "Held out.", 3, file=EVAL))
    hits = [Hit(TRAIN, row, "ends with ' '") for row in (12, 20, 30, 40, 50)]
    return CheckReport(
        "configs/lora.yml",
        64,
        [
            Finding("pad-equals-eos", "info", "the PAD token is the EOS token", "nothing here"),
            Finding("answer-edge-space", "warning", "answers end with whitespace", "strip the answers", 5, tuple(hits)),
            Finding("bad-row", "error", "rows cannot be used", "set `field_messages: turns`", 1, (Hit(EVAL, 9, "no"),)),
        ],
        [
            Figures(
                TRAIN, 20, 12, 480, 120, 3, 9, {"user": (12, 200, 0), "assistant": (12, 90, 11)}, [10, 40, 90], 0.5
            ),
            Figures(EVAL, 2, 1, 40, 10, 0, 1, {}, [40]),
        ],
        samples,
    )


def places(page):
    """Return the rows whose samples are shown."""
    return page.locator("#samples h3").all_text_contents()


def tokens(page, number=0):
    """Return the tokens of the sample shown as the `number`th; they are drawn when it comes near to the screen."""
    page.locator("#samples article").nth(number).scroll_into_view_if_needed()
    found = page.locator("#samples .tokens").nth(number).locator(".t")
    found.first.wait_for()
    return found


def tip(page):
    return page.get_by_role("tooltip").inner_text()


def test_the_head_says_what_was_checked_and_how_it_went(show, report):
    page = show(report)
    assert page.title() == "Data check: lora.yml"
    assert page.get_by_role("heading", level=1).inner_text() == "lora.yml"
    assert page.locator("#verdict > *").all_text_contents() == ["✕ 1 error", "! 1 warning", "i 1 info"]
    names = ["Rows", "Samples", "Tokens", "Trained tokens", "Untrained rows", "sequence_len"]
    assert page.locator("#totals dt").all_text_contents() == names
    assert page.locator("#totals dd").all_text_contents() == ["22", "13", "520", "25%", "3", "64"]


def test_findings_stand_worst_first_with_their_rows_and_cures(show, report):
    page = show(report)
    codes = page.locator(".finding .bar > code").all_text_contents()
    assert codes == ["bad-row", "answer-edge-space", "pad-equals-eos"]
    worst, edges, pad = (page.locator(".finding").nth(index) for index in range(3))
    assert worst.locator(".cure code").inner_text() == "field_messages: turns"
    assert worst.locator("li").inner_text().split() == ["eval.jsonl:9", "no"]
    assert worst.get_by_role("button").count() == 0, "no sample of that row is on the page"
    assert edges.locator("li:visible").count() == 3
    edges.get_by_text("2 more of 5 rows").click()
    assert edges.locator("li:visible").count() == 5
    assert pad.locator("li").count() == 0
    page.locator("#verdict a").nth(1).click()
    assert page.evaluate("location.hash") == "#warning"


def test_tokens_are_shown_as_they_are_trained(show, report, tokenizer):
    page = show(report)
    sample = report.samples[0]
    trained, masked, every = (
        [
            int(id)
            for id in tokens(page).evaluate_all(f"all => all.filter(t => t.matches('{kind}')).map(t => t.dataset.id)")
        ]
        for kind in (".on", ".off", ".t")
    )
    assert every == sample.input_ids
    assert trained == [label for label in sample.labels if label >= 0] == tokenizer("It is 1.<|im_end|>").input_ids
    assert len(masked) == sample.labels.count(-100)
    text = page.locator(".tokens").first.text_content()
    assert text.replace("↵\n", "\n").replace("·", " ") == tokenizer.decode(sample.input_ids)
    assert "What is↵\n· 1 + 1?<|im_end|>↵\n" in text, "breaks and indents are marked, spaces between words are spaces"
    assert "space" in page.locator(".t", has_text=" is").first.get_attribute("class")
    last = tokens(page, 2).nth(-3)
    assert (last.text_content(), last.get_attribute("class")) == (" ", "t on space")


def test_a_token_tells_its_id_and_label_under_the_mouse_and_by_keyboard(show, report):
    page = show(report)
    sample = report.samples[0]
    first = next(index for index, label in enumerate(sample.labels) if label >= 0)
    tokens(page).nth(first).hover()
    assert tip(page).split("\n") == [
        json.dumps(sample.pieces[first]),
        f"id {sample.input_ids[first]}, label {sample.labels[first]} (trained), token {first} of {len(sample.labels)}",
    ]
    page.mouse.move(0, 0)
    assert page.get_by_role("tooltip").count() == 0

    page.get_by_label("Ids").focus()
    page.keyboard.press("Tab")
    assert f"id {sample.input_ids[0]}, label -100 (masked), token 0 " in tip(page)
    page.keyboard.press("ArrowRight")
    assert f"id {sample.input_ids[1]}, label -100 (masked), token 1 " in tip(page)
    page.keyboard.press("ArrowDown")
    assert f"(trained), token {first} " in tip(page)
    page.keyboard.press("ArrowUp")
    assert f"(masked), token {first - 1} " in tip(page)
    page.keyboard.press("Escape")
    assert page.get_by_role("tooltip").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.parentNode.ariaLabel") == f"Tokens of {TRAIN}:2"


def test_samples_are_filtered_by_row(show, report):
    page = show(report)
    row = page.get_by_label("Row")
    for wanted, found in {
        "train.jsonl:3": ["train.jsonl:3"],
        f"{EVAL}:3": ["eval.jsonl:3"],
        "3": ["train.jsonl:3", "eval.jsonl:3"],
        " eval ": ["eval.jsonl:3"],
        "train.jsonl:99": [],
    }.items():
        row.fill(wanted)
        assert places(page) == found
    page.get_by_text("No sample matches").wait_for()
    assert page.get_by_role("status").inner_text() == "0 samples"
    page.locator("#samples").get_by_role("button", name="Clear filters").click()
    assert len(places(page)) == 10
    assert row.input_value() == ""


def test_samples_are_filtered_by_finding(show, report):
    page = show(report)
    finding = page.get_by_label("Finding", exact=True)
    assert finding.locator("option").all_text_contents() == ["All", "answer-edge-space (1)"]
    page.get_by_role("button", name="Show 1 sample").click()
    assert places(page) == ["train.jsonl:12"]
    assert page.evaluate("document.activeElement.id") == "samples-title"
    page.get_by_role("button", name="Clear filters").click()
    page.locator(".finding").get_by_role("button", name="train.jsonl:12").click()
    assert places(page) == ["train.jsonl:12"]
    assert page.get_by_label("Row").input_value() == "train.jsonl:12"
    page.get_by_role("button", name="Clear filters").click()
    page.locator("#samples").get_by_role("button", name="answer-edge-space").click()
    assert finding.input_value() == "answer-edge-space"


def test_a_row_that_a_finding_names_has_that_finding(show, report):
    """Duplicates and leaks are found after the samples are kept."""
    report.findings.append(Finding("leaked-prompt", "warning", "leaks", "take out", 1, (Hit(EVAL, 3, ""),)))
    page = show(report)
    page.get_by_label("Finding", exact=True).select_option("leaked-prompt")
    assert places(page) == ["eval.jsonl:3"]


def test_samples_are_filtered_by_dataset_and_paged(show, report):
    page = show(report)
    names = [f"{sample.file.split('/')[-1]}:{sample.row}" for sample in report.samples]
    previous, following = (page.get_by_role("button", name=name) for name in ("Previous", "Next"))
    assert places(page) == names[:10]
    assert previous.is_disabled()
    following.click()
    assert places(page) == names[10:]
    assert page.get_by_role("status").inner_text() == "11–13 of 13 samples"
    assert following.is_disabled()
    previous.click()
    assert places(page) == names[:10]
    page.get_by_label("Dataset", exact=True).select_option(EVAL)
    assert places(page) == ["eval.jsonl:3"]


def test_files_of_one_name_keep_their_folders(show, report, tokenizer):
    report.samples.append(make_sample(tokenizer, "Else.", 1, file="other/train.jsonl"))
    page = show(report)
    assert places(page)[0] == f"{TRAIN}:1"
    page.get_by_label("Row").fill("other/train.jsonl:1")
    assert places(page) == ["other/train.jsonl:1"]


def test_only_what_is_trained_and_ids_can_be_shown(show, report):
    page = show(report)
    sample = report.samples[0]
    masked = sum(label < 0 for label in sample.labels[:-1])
    assert tokens(page).count() == len(sample.labels)
    page.get_by_label("Trained only").check()
    assert page.locator(".tokens").first.text_content() == f"{masked} maskedIt is 1.<|im_end|>1 masked"
    page.locator(".fold").first.click()
    assert tokens(page).count() == len(sample.labels) - 1
    content = "node => getComputedStyle(node, '::after').content"
    assert tokens(page).first.evaluate(content) == "none"
    page.get_by_label("Ids").check()
    assert tokens(page).first.evaluate(content) == f'"{sample.input_ids[0]}"'


def test_figures_of_each_dataset(show, report):
    page = show(report)
    train, held_out = (page.locator(".dataset").nth(index) for index in range(2))
    assert train.locator(".facts dd").all_text_contents() == ["20", "12", "480", "3 (15%)", "75%"]
    trained, packed = train.locator(".meter").all_inner_texts()
    assert trained == "25% of the tokens are trained"
    assert packed == "50.0% of each packed sequence of 64 is filled"
    assert train.locator(".meter i").evaluate_all("bars => bars.map(bar => bar.style.width)") == ["25%", "50%"]
    assert train.locator("tbody tr").last.locator("th, td").all_text_contents() == ["assistant", "12", "90", "11 (92%)"]
    assert held_out.locator(".meter").count() == 1
    assert held_out.locator("table").count() == 0


@pytest.mark.parametrize(
    ("lengths", "limit", "bars", "above", "line"),
    [
        ([10, 40, 90], 64, 3, "1 sample (33%) above sequence_len, by 26 tokens.", True),
        ([5] * 99 + [50_000], 64, 2, "1 sample (1%) above sequence_len, by 49,936 tokens.", True),
        ([7], 4096, 1, "All fit in sequence_len 4,096.", False),
        (list(range(1, 1001)), 512, 21, "488 samples (49%) above sequence_len, by 119,316 tokens.", True),
    ],
)
def test_the_histogram_counts_every_sample_and_shows_the_border(show, lengths, limit, bars, above, line):
    page = show(CheckReport("a.yml", limit, [], [Figures("a", lengths=lengths)]))
    titles = page.locator(".chart title").all_text_contents()
    counts = [int(re.search(r": ([\d,]+) sample", title)[1].replace(",", "")) for title in titles]
    assert sum(counts) == len(lengths)
    assert sum(map(bool, counts)) == bars
    assert len(counts) <= 60
    assert page.locator("figcaption").inner_text().endswith(above)
    assert page.locator(".chart line").count() == line
    over = page.locator(".chart .over").evaluate_all("bars => bars.map(bar => bar.height.baseVal.value > 0)")
    assert any(over) == (max(lengths) > limit)
    if line and any(over):
        assert over.index(True) >= int(float(page.locator(".chart line").get_attribute("x1")))


def test_text_of_rows_cannot_break_out(show, tokenizer):
    sample = make_sample(tokenizer, EVIL, 1, file=f"{EVIL}.jsonl", question=EVIL, codes=(EVIL,))
    whole = Sample(sample.dataset, sample.file, 2, [1], [1], [EVIL])
    hit = Hit(sample.file, 1, EVIL)
    finding = Finding(EVIL, "error", EVIL, EVIL, 1, (hit, Hit("", 0, f"{EVIL}\n{EVIL}")))
    figures = Figures(EVIL, by_role={EVIL: (1, 1, 1)}, lengths=[1])
    page = show(CheckReport(EVIL, 8, [finding], [figures], [sample, whole]))
    assert tokens(page, 1).text_content() == EVIL
    assert page.locator("#samples .tokens").first.text_content().count(EVIL) == 2
    assert page.locator(".finding .bar > code").text_content() == EVIL
    assert page.locator(".finding pre").text_content() == f"{EVIL}\n{EVIL}"
    assert page.locator(".dataset h3").first.text_content() == EVIL
    page.locator(".finding").get_by_role("button").last.click()
    assert len(places(page)) == 1
    tokens(page).first.hover()
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.evaluate("window.broken") is None


def test_what_cannot_be_seen_is_named(show):
    pieces = ["a\u200b", "\u202eb", "\x00", "\t", "", "\n\n", "   ", "c "]
    sample = Sample("a", "a", 1, list(range(8)), [-100] * 8, pieces)
    page = show(CheckReport("a.yml", 8, samples=[sample]))
    assert tokens(page).all_text_contents() == ["a⟨U+200B⟩", "⟨U+202E⟩b", "␀", "⇥\t", "▫", "↵\n↵", "···", "c·"]


def test_an_empty_report_says_so(show):
    page = show(CheckReport("a.yml", 8))
    for text in ("No findings", "No datasets", "No samples"):
        page.get_by_text(text).wait_for()
    assert not page.get_by_label("Row").is_visible()


def test_a_dataset_without_samples_is_shown(show):
    page = show(CheckReport("a.yml", 8, [], [Figures("a", rows=3, nothing_trained=3)]))
    assert "3 (100%)" in page.locator(".dataset").inner_text()
    page.get_by_text("No row became a sample").wait_for()
    assert page.get_by_text("NaN").count() == 0


def test_a_large_report_opens_fast(show, tokenizer):
    text = "The quick brown fox jumps over the lazy dog, and the dog sleeps on.\n" * 100
    ids = tokenizer(text).input_ids[:1500]
    pieces = [tokenizer.decode([token]) for token in ids]
    assert len(ids) == 1500
    alternating = [token if index // 50 % 2 else -100 for index, token in enumerate(ids)]
    kinds = [alternating, [-100] * 1200 + ids[1200:], ids]
    samples = [Sample("a", "a", row, ids, kinds[row % 3], pieces) for row in range(1, 201)]
    page = show(CheckReport("a.yml", 2048, [], [Figures("a", 200, 200, lengths=[1500] * 200)], samples))
    assert page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") < 3000
    assert page.locator("*").count() < 6000
    page.get_by_role("button", name="Next").click()
    assert page.locator("*").count() < 6000

    page.get_by_label("Row").fill("199")
    assert tokens(page).count() < 500
    page.get_by_role("button", name="1,080 masked").click()
    assert page.evaluate("document.activeElement.dataset.index") == "60"
    assert tokens(page).count() == 1200 + 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_both_themes(show, report, scheme):
    page = show(report, scheme=scheme)
    assert tokens(page).count() > 30
    texts = ".t, .badge, .small, .muted, code, dt, dd, td, th, .link, label, li span"
    ratios = page.locator(texts).evaluate_all(CONTRAST)
    assert len(ratios) > 200
    assert min(ratios) >= 4.5
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", back)[0]) < 128) == (scheme == "dark")
    line = "node => getComputedStyle(node).borderBottomColor"
    on, off = (page.locator(kind).first.evaluate(line) for kind in (".t.on", ".t.off"))
    assert on != off, "hue alone does not tell them apart"


def test_it_fits_a_narrow_screen(show, report):
    page = show(report, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    tokens(page).last.hover()
    box = page.get_by_role("tooltip").bounding_box()
    assert 0 <= box["x"] <= 400 - box["width"]


def test_the_file_holds_the_report_and_can_hold_half_a_character(report, tmp_path):
    report.samples[0].pieces[0] = "\ud83d"
    write_page(report, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="report">(.*?)</script>', text)[1])
    assert data["samples"][1]["pieces"] == report.samples[1].pieces
    assert data["figures"][0]["lengths"] == [[10, 1], [40, 1], [90, 1]]
    assert re.findall(r"\w+://[^\"']+", text) == ["http://www.w3.org/2000/svg"]
