"""The chat page, served and driven by a browser: its answers and tokens are those of the engine."""

import os
import shutil
import socket

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from tunesmith.config.sections import Dataset, ModelSection
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.question import conversation_prompt
from tunesmith.data.tokenizer import chat_template, load_tokenizer
from tunesmith.errors import ConfigError, RunError
from tunesmith.generation.engine import Sampling, Voice, end_tokens, generate
from tunesmith.generation.page import Exchange, build_page, messages_of, sampling_of, serve, tokens_html, turns_of

pytestmark = pytest.mark.slow

MODEL = "builtin/smollm2-135m-instruct"
SOURCE = "page.yml"
SYSTEM = "Answer in a few words."
SAMPLING = Sampling(max_new_tokens=12)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def parts():
    """The built-in model as two voices, and what makes its prompts."""
    from tunesmith.modeling.builtin import local_base_model
    from tunesmith.modeling.load import load_base_model

    model = load_base_model(ModelSection(base_model=MODEL), "bfloat16").eval()
    tokenizer = load_tokenizer(local_base_model(MODEL))
    template = chat_template(tokenizer, None, None, SOURCE)
    spec = FormatSpec(Dataset(path="rows.jsonl", type="chat_template"), template=template)
    return {
        "voices": [Voice("base", model), Voice("tuned", model)],
        "spec": spec,
        "tokenizer": tokenizer,
        "ends": end_tokens(model, tokenizer, template),
        "source": SOURCE,
    }


@pytest.fixture(scope="module")
def address(parts):
    page = build_page(**parts, title="my_tuned_model on the base", system=SYSTEM, sampling=SAMPLING)
    yield serve(page, port=free_port(), block=False)
    page.close()


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The loaded page. It may ask no other host, and may log no error, until the test is over."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.get_by_label("Your question").wait_for()
    yield page
    assert errors == []
    assert requests
    assert [url for url in requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
    page.close()


def button(page, name):
    return page.get_by_role("button", name=name, exact=True).locator("visible=true")


def finish(page):
    """Wait until all voices have answered."""
    page.wait_for_function(
        "[...document.querySelectorAll('button')].find(b => b.textContent.trim() == 'Stop').disabled"
    )
    page.wait_for_function(
        "![...document.querySelectorAll('button')].find(b => b.textContent.trim() == 'Send').disabled"
    )


def start(page, question):
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    page.wait_for_function(
        "![...document.querySelectorAll('button')].find(b => b.textContent.trim() == 'Stop').disabled"
    )


def answers(page):
    """Return the last answer in each column, or None where there is none."""
    found = [column.locator("[data-testid=bot] .md").all() for column in page.locator(".voice").all()]
    return [texts[-1].text_content() if texts else None for texts in found]


def tokens(page):
    """Return the ids that the prompt view shows for each voice."""
    button(page, "Show prompt tokens").click()
    page.wait_for_timeout(1500)
    return [
        [int(item.get_attribute("data-id")) for item in page.locator(f"#tokens-{voice} li").all()] for voice in (0, 1)
    ]


def expected(parts, turns, sampling=SAMPLING):
    """Return the prompt of `turns`, and the engine's own answer to it."""
    ids = conversation_prompt(turns, parts["spec"], parts["tokenizer"], SOURCE)
    answer = generate(parts["voices"][0], [ids], parts["tokenizer"], sampling, ends=parts["ends"], batch_size=1)[0]
    return ids, answer


def turn(role, content):
    return {"role": role, "content": content}


def test_a_conversation_is_answered_as_the_engine_answers_it(page, parts):
    page.get_by_text("my_tuned_model on the base").wait_for()
    turns = [turn("system", SYSTEM), turn("user", "What is the capital of France?")]
    first_ids, first = expected(parts, turns)
    start(page, "What is the capital of France?")
    finish(page)
    assert answers(page) == [first, first]

    button(page, "Prompt tokens ▼").or_(button(page, "Prompt tokens ◀")).first.click()
    assert tokens(page) == [first_ids, first_ids]

    follow_up = "Name  one <b>river</b> there:\n  ${1}"
    turns += [turn("assistant", first), turn("user", follow_up)]
    ids, second = expected(parts, turns)
    assert len(ids) > len(first_ids)
    page.get_by_label("Your question").fill(follow_up)
    assert tokens(page) == [ids, ids]
    page.get_by_text(f"base: {len(ids)} tokens").wait_for()
    start(page, follow_up)
    finish(page)
    assert answers(page) == [second, second]

    button(page, "Retry").click()
    page.wait_for_timeout(500)
    finish(page)
    assert answers(page) == [second, second]
    assert page.locator("[data-testid=user]").count() == 4

    button(page, "Clear").click()
    page.wait_for_function("document.querySelectorAll('[data-testid=bot], .tokens').length == 0")
    page.get_by_label("Your question").fill("What is the capital of France?")
    assert tokens(page) == [first_ids, first_ids]


def test_settings_take_effect_and_faults_are_told(page, parts):
    button(page, "Settings ▼").or_(button(page, "Settings ◀")).first.click()
    page.get_by_label("Max new tokens").fill("0")
    page.get_by_label("Your question").fill("Count to ten.")
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("Max new tokens should be a number of at least 1").wait_for()
    finish(page)
    assert page.get_by_label("Your question").input_value() == "Count to ten."

    page.get_by_label("Max new tokens").fill("5")
    page.get_by_label("System prompt").fill("")
    _, long = expected(parts, [turn("user", "Count to ten.")])
    _, short = expected(parts, [turn("user", "Count to ten.")], Sampling(max_new_tokens=5))
    start(page, "Count to ten.")
    finish(page)
    assert answers(page) == [short, short]
    assert len(short) < len(long)


def test_stop_ends_an_answer_and_the_next_question_leaves_out_what_was_not_answered(page, parts):
    button(page, "Settings ▼").or_(button(page, "Settings ◀")).first.click()
    page.get_by_label("Max new tokens").fill("400")
    start(page, "Tell a long story.")
    page.locator("[data-testid=bot]").first.wait_for()
    button(page, "Stop").click()
    finish(page)
    partial, unasked = answers(page)
    assert partial
    assert unasked is None

    page.get_by_label("Max new tokens").fill("5")
    turns = [turn("system", SYSTEM), turn("user", "Hello!")]
    history = [turn("user", "Tell a long story."), turn("assistant", partial)]
    expected_base = expected(parts, [turns[0], *history, turns[1]], Sampling(max_new_tokens=5))[1]
    expected_tuned = expected(parts, turns, Sampling(max_new_tokens=5))[1]
    start(page, "Hello!")
    finish(page)
    assert answers(page) == [expected_base, expected_tuned]


def test_a_single_turn_type_says_so(parts):
    spec = FormatSpec(Dataset(path="rows.jsonl", type="alpaca"))
    page = build_page(
        **{**parts, "spec": spec, "voices": parts["voices"][:1]}, title="one", system=None, sampling=SAMPLING
    )
    config = str(page.config)
    assert "each question is asked by itself" in config
    assert config.count("'type': 'chatbot'") == 1


def test_a_taken_port_is_told(parts):
    page = build_page(**parts, title="two", system=None, sampling=SAMPLING)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RunError, match="choose another port"):
            serve(page, port=taken.getsockname()[1], block=False)


def test_turns_and_messages_of_a_talk():
    talk = (Exchange("q1", ("a1", None)), Exchange("q2", ("", "b2")))
    first = [turn("user", "q1"), turn("assistant", "a1"), turn("user", "q2"), turn("assistant", ""), turn("user", "q3")]
    assert turns_of(talk, 0, "q3", " ") == first
    second = [turn("system", "s"), turn("user", "q2"), turn("assistant", "b2"), turn("user", "q3")]
    assert turns_of(talk, 1, "q3", "s") == second
    shown = [message["content"][0]["text"] for message in messages_of(talk, 0)]
    assert shown == ["q1", "a1", "q2", "(empty: the model ended its answer at once)"]


def test_settings_are_checked():
    assert sampling_of([5, 1, 1, 0, 1, 42]) == Sampling(5, 1.0, 1.0, 0, 1.0, 42)
    with pytest.raises(ConfigError, match=r"Top p should be a number of at least 0\.01 and at most 1"):
        sampling_of([5, 1, 2, 0, 1, 42])
    with pytest.raises(ConfigError, match="Seed"):
        sampling_of([5, 1, 1, 0, 1, None])


def test_tokens_are_escaped(parts):
    ids = parts["tokenizer"]("<i>\n</i>").input_ids
    view = tokens_html(ids, parts["tokenizer"], "a&b")
    assert "<i>" not in view
    assert "a&amp;b" in view
    assert "\\n" in view.replace("&#92;", "\\")
