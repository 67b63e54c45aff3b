"""The chat page, served and driven by a browser: its answers and tokens are those of the engine."""

import os
import socket
from contextlib import suppress
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
from playwright.sync_api import TimeoutError

from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.question import conversation_prompt
from tunesmith.data.tokenizer import chat_template, load_tokenizer
from tunesmith.errors import ConfigError, RunError
from tunesmith.generation.page import (
    Exchange,
    build_messages,
    build_page,
    build_turns,
    parse_sampling,
    render_tokens,
    serve,
)
from tunesmith.generation.session import GenerationSession
from tunesmith.modeling.generate import ModelVariant, Sampling, find_stop_tokens, generate
from tunesmith.sections import Dataset, ModelSection

pytestmark = pytest.mark.slow

MODEL = "builtin/smollm2-135m-instruct"
SOURCE = "page.yml"
SYSTEM = "Answer in a few words."
SAMPLING = Sampling(max_new_tokens=8)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def session():
    """The built-in model with an adapter of random weights, as two variants, and what makes its prompts."""
    import torch
    from peft import LoraConfig, get_peft_model

    from tunesmith.modeling.builtin import local_base_model
    from tunesmith.modeling.load import load_base_model

    base = load_base_model(ModelSection(base_model=MODEL), "bfloat16")
    torch.manual_seed(0)
    adapter = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(base, adapter).to(torch.bfloat16).eval()
    tokenizer = load_tokenizer(local_base_model(MODEL))
    template = chat_template(tokenizer, None, None, SOURCE)
    spec = FormatSpec(Dataset(path="rows.jsonl", type="chat_template"), template=template)
    variants = [ModelVariant("base", model, adapter_off=True), ModelVariant("tuned", model)]
    return GenerationSession(variants, tokenizer, spec, find_stop_tokens(model, tokenizer, template), SYSTEM)


@pytest.fixture(scope="module")
def address(session):
    page = build_page(session, title="my_tuned_model on the base", sampling=SAMPLING)
    yield serve(page, port=free_port(), block=False)
    page.close()


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


def set_limit(page, tokens):
    """Set the longest answer, and give the page's own state the time to take it in before anything is sent."""
    page.get_by_label("Max new tokens").fill(tokens)
    page.get_by_label("Max new tokens").press("Tab")
    page.wait_for_timeout(2000)


def finish(page):
    """Wait until all variants have answered."""
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
    """Return the last answer in each column."""
    return [texts[-1] for texts in all_answers(page)]


def all_answers(page):
    """Return the answers in each column."""
    columns = page.locator(".variant").all()
    return [column.locator("[data-testid=bot] .md").all_text_contents() for column in columns]


def tokens(page):
    """Return the ids that the prompt view shows for each variant."""
    button(page, "Show prompt tokens").click()
    page.wait_for_timeout(1500)
    return [
        [int(item.get_attribute("data-id")) for item in page.locator(f"#tokens-{variant} li").all()]
        for variant in (0, 1)
    ]


def expected(session, variant, turns, sampling=SAMPLING):
    """Return the prompt of `turns`, and the engine's own answer to it."""
    ids = conversation_prompt(turns, session.spec, session.tokenizer)
    variants = session.variants
    answer = generate(variants[variant], [ids], session.tokenizer, sampling, ends=session.stop_tokens, batch_size=1)[0]
    return ids, answer


def turn(role, content):
    return {"role": role, "content": content}


def test_a_conversation_is_answered_as_the_engine_answers_it(page, session):
    page.get_by_text("my_tuned_model on the base").wait_for()
    question = "What is the capital of France?"
    turns = [turn("system", SYSTEM), turn("user", question)]
    first = [expected(session, variant, turns) for variant in (0, 1)]
    start(page, question)
    finish(page)
    assert answers(page) == [answer for _, answer in first]
    assert first[0] != first[1], "the test needs variants that differ"

    button(page, "Prompt tokens ▼").or_(button(page, "Prompt tokens ◀")).first.click()
    assert tokens(page) == [ids for ids, _ in first]

    follow_up = "Name  one <b>river</b> there:\n  ${1}"
    second = [
        expected(session, variant, [*turns, turn("assistant", first[variant][1]), turn("user", follow_up)])
        for variant in (0, 1)
    ]
    page.get_by_label("Your question").fill(follow_up)
    assert tokens(page) == [ids for ids, _ in second]
    assert len(second[0][0]) > len(first[0][0])
    page.get_by_text(f"base: {len(second[0][0])} tokens").wait_for()
    start(page, follow_up)
    finish(page)
    assert answers(page) == [answer for _, answer in second]

    button(page, "Retry").click()
    page.wait_for_timeout(500)
    finish(page)
    assert answers(page) == [answer for _, answer in second]
    assert page.locator("[data-testid=user]").count() == 4

    button(page, "Clear").click()
    page.wait_for_function("document.querySelectorAll('[data-testid=bot], .tokens').length == 0")
    page.get_by_label("Your question").fill(question)
    assert tokens(page) == [ids for ids, _ in first]


def test_settings_take_effect_and_faults_are_told(page, session):
    button(page, "Settings ▼").or_(button(page, "Settings ◀")).first.click()
    for _ in range(3):  # a busy machine may send the question before the page has taken in the setting
        set_limit(page, "0")
        page.get_by_label("Your question").fill("Count to ten.")
        page.get_by_label("Your question").press("Enter")
        told = page.get_by_text("Max new tokens should be a number of at least 1")
        with suppress(TimeoutError):
            told.wait_for(timeout=15_000)
            break
        finish(page)
        button(page, "Clear").click()  # it was answered: the history must not stand before the next question
        page.wait_for_timeout(1000)
    else:
        pytest.fail("the fault was not told")
    finish(page)
    assert page.get_by_label("Your question").input_value() == "Count to ten."

    page.get_by_label("System prompt").fill("")
    page.get_by_label("System prompt").press("Tab")
    page.wait_for_timeout(1000)
    set_limit(page, "5")
    asked = [turn("user", "Count to ten.")]
    short = [expected(session, variant, asked, Sampling(max_new_tokens=5))[1] for variant in (0, 1)]
    start(page, "Count to ten.")
    finish(page)
    assert answers(page) == short
    assert len(short[0]) < len(expected(session, 0, asked)[1])


def test_stop_ends_an_answer_and_the_next_question_leaves_out_what_was_not_answered(page, session):
    button(page, "Settings ▼").or_(button(page, "Settings ◀")).first.click()
    set_limit(page, "400")
    start(page, "Tell a long story.")
    page.locator("[data-testid=bot]").first.wait_for()
    button(page, "Stop").click()
    finish(page)

    set_limit(page, "5")
    start(page, "Hello!")
    finish(page)
    (partial, base), (tuned,) = all_answers(page)
    assert 0 < len(session.tokenizer(partial).input_ids) < 400
    history = [turn("user", "Tell a long story."), turn("assistant", partial)]
    system, hello = turn("system", SYSTEM), turn("user", "Hello!")
    five = Sampling(max_new_tokens=5)
    assert base == expected(session, 0, [system, *history, hello], five)[1]
    assert tuned == expected(session, 1, [system, hello], five)[1]


class Broken:
    """A model that fails in a way that is no user's fault."""

    device = "cpu"

    def generate(self, **settings):
        raise ZeroDivisionError


def test_after_a_crash_the_page_can_be_used_again(browser, session):
    broken = replace(session, variants=[ModelVariant("broken", Broken())], system=None)
    blocks = build_page(broken, title="broken", sampling=SAMPLING)
    page = browser.new_page()
    page.goto(serve(blocks, port=free_port(), block=False))
    page.get_by_label("Your question").fill("Hello!")
    page.get_by_label("Your question").press("Enter")
    page.get_by_text("Error").first.wait_for()
    finish(page)
    assert page.get_by_label("Your question").input_value() == "Hello!"
    page.close()
    blocks.close()


def test_a_single_turn_type_says_so(session):
    spec = FormatSpec(Dataset(path="rows.jsonl", type="alpaca"))
    page = build_page(replace(session, spec=spec, variants=session.variants[:1]), title="one", sampling=SAMPLING)
    config = str(page.config)
    assert "a prompt has only the last question" in config
    assert config.count("'type': 'chatbot'") == 1


def test_a_taken_port_is_told(session):
    page = build_page(session, title="two", sampling=SAMPLING)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RunError, match="choose another port"):
            serve(page, port=taken.getsockname()[1], block=False)


def test_turns_and_messages_of_a_conversation():
    conversation = (Exchange("q1", ("a1", None)), Exchange("q2", ("", "b2")))
    first = [turn("user", "q1"), turn("assistant", "a1"), turn("user", "q2"), turn("assistant", ""), turn("user", "q3")]
    assert build_turns(conversation, 0, "q3") == first
    second = [turn("user", "q2"), turn("assistant", "b2"), turn("user", "q3")]
    assert build_turns(conversation, 1, "q3") == second
    shown = [message["content"][0]["text"] for message in build_messages(conversation, 0)]
    assert shown == ["q1", "a1", "q2", "(empty: the model ended its answer at once)"]


def test_settings_are_checked():
    assert parse_sampling([5, 1, 1, 0, 1, 42]) == Sampling(5, 1.0, 1.0, 0, 1.0, 42)
    with pytest.raises(ConfigError, match=r"Top p should be a number of at least 0\.01 and at most 1"):
        parse_sampling([5, 1, 2, 0, 1, 42])
    with pytest.raises(ConfigError, match="Seed"):
        parse_sampling([5, 1, 1, 0, 1, None])


def test_tokens_are_escaped(session):
    ids = session.tokenizer("<i>\n</i>").input_ids
    view = render_tokens(ids, session.tokenizer, "a&b")
    assert "<i>" not in view
    assert "a&amp;b" in view
    assert "\\n" in view.replace("&#92;", "\\")
