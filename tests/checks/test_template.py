"""What is seen of a chat template by rendering known words with it."""

import re

import pytest

from tunesmith.checks.template import TURNS, injected_system, probe, split_marks, template_findings, writes_date
from tunesmith.data.formats.specs import format_spec
from tunesmith.sections import DataSection, Dataset, ModelSection

TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
STABLE = "{% for m in messages %}" + TURN + "{% endfor %}" + ASK
REWRITTEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}" + ASK
)
UNSERVABLE = STABLE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
MARKED = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n"
    "{% else %}" + TURN + "{% endif %}{% endfor %}" + ASK
)


@pytest.fixture
def spec(tokenizer):
    """`spec(jinja, **keys)` is the spec of a dataset with a template; a name in place of Jinja is looked up."""

    def make(jinja, mask="served", **keys):
        template = (
            {"chat_template": "jinja", "chat_template_jinja": jinja} if "{" in jinja else {"chat_template": jinja}
        )
        dataset = Dataset(path="x", type="chat_template", mask=mask, **template, **keys)
        return format_spec(dataset, DataSection(datasets=[dataset]), ModelSection(base_model="x"), tokenizer, "a.yml")

    return make


@pytest.fixture
def codes(spec, tokenizer):
    def look(jinja, **keys):
        return {item.code: item for item in template_findings(spec(jinja, **keys), tokenizer)}

    return look


@pytest.mark.parametrize(
    ("jinja", "kind"), [(STABLE, "stable"), (REWRITTEN, "rewritten"), (UNSERVABLE, "unservable"), (MARKED, "stable")]
)
def test_templates_are_of_three_kinds(jinja, kind, spec):
    assert probe(spec(jinja).template).kind == kind


def test_the_difference_is_told(spec):
    assert "it has '<think>\\n', the training text 'Sentinel-A answers." in probe(spec(UNSERVABLE).template).difference


def test_a_stable_template_has_no_finding(codes):
    for jinja in (STABLE, MARKED, "tokenizer_default", "chatml"):
        assert codes(jinja) == {}


def test_a_template_that_cannot_be_served_as_trained_is_an_error(codes):
    assert codes(UNSERVABLE)["served-prompt-mismatch"].severity == "error"
    assert codes(UNSERVABLE, mask="axolotl")["served-prompt-mismatch"].severity == "warning"


def test_a_template_that_always_reasons_is_none(codes):
    reasons = UNSERVABLE.replace(
        "{{ m.content }}",
        "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}",
    )
    assert codes(reasons)["served-prompt-mismatch"].severity == "info"


def test_rewritten_history_is_told(codes):
    assert codes(REWRITTEN)["history-rewritten"].severity == "info"
    told = codes(REWRITTEN, mask="axolotl")["history-rewritten"]
    assert (told.severity, "`mask: axolotl` keeps one sample" in told.title) == ("warning", True)


def test_a_template_without_an_end(codes):
    ask = "{% if add_generation_prompt %}assistant: {% endif %}"
    endless = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" + ask
    assert codes(endless)["no-turn-end"].severity == "error"
    assert "no-turn-end" not in codes(endless, train_on_eos="none")


def test_marks_that_are_several_tokens(codes, tokenizer):
    found = codes("llama3")["template-token-split"]
    assert re.search(r"<\|start_header_id\|> is \d+ tokens \['<'", found.title)
    assert split_marks("<|im_start|>user <filename> a < b", tokenizer) == []


@pytest.mark.parametrize(
    ("jinja", "text"),
    [
        ("tokenizer_default", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        (STABLE, None),
        ("chatml", None),
        ("llama3", None),
    ],
)
def test_a_system_text_that_the_template_puts_in(jinja, text, spec):
    found = injected_system(spec(jinja).template)
    assert (found is None) if text is None else (text in found)
    assert TURNS[0]["content"] not in (found or "")


@pytest.mark.parametrize(
    ("line", "dated"),
    [
        ("Today is {{ strftime_now('%d %b %Y') }}.", True),
        (
            "{% if date_string is not defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}",
            True,
        ),
        ("{% if false %}{{ strftime_now('%d') }}{% endif %}", False),
        ("Cutting Knowledge Date: December 2023", False),
    ],
)
def test_a_date_in_the_prompt(line, dated, spec, codes):
    assert writes_date(spec(line + STABLE).template) is dated
    assert ("template-date" in codes(line + STABLE)) is dated


def test_a_date_that_the_config_fixes_is_none(tokenizer):
    jinja = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}"
        + STABLE
    )
    dataset = Dataset(path="x", type="chat_template", chat_template="jinja", chat_template_jinja=jinja)
    model = ModelSection(base_model="x", chat_template_kwargs={"date_string": "26 Jul 2024"})
    spec = format_spec(dataset, DataSection(datasets=[dataset]), model, tokenizer, "a.yml")
    assert not writes_date(spec.template)


@pytest.mark.parametrize(
    "marked",
    [
        MARKED.replace("{{ m.content }}<|im_end|>{% endgeneration %}", "{{ m.content }}{% endgeneration %}<|im_end|>"),
        MARKED.replace("{% generation %}{{ m.content }}", "{{ m.content }}{% generation %}"),
        "{% for m in messages %}{% generation %}" + TURN + "{% endgeneration %}{% endfor %}" + ASK,
    ],
)
def test_marks_that_disagree_with_what_is_trained(marked, codes):
    found = codes(marked)["generation-marks-differ"]
    assert found.severity == "error"
    assert "trained is 'Sentinel-A answers.<|im_end|>', marked " in found.title


@pytest.mark.parametrize(
    "marked",
    [
        MARKED.replace("{% endgeneration %}\n", "\n{% endgeneration %}"),
        MARKED.replace("<|im_start|>assistant\n{% generation %}", "{% generation %}<|im_start|>assistant\n"),
    ],
)
def test_marks_may_hold_the_header_and_the_newline_after_the_end(marked, codes):
    assert codes(marked) == {}


def test_a_template_that_refuses_the_conversation_has_no_finding(codes):
    assert codes("{{ raise_exception('only tools') }}") == {}
