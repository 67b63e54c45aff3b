"""What holds for every format, tokenizer and option, on texts of any kind.

- The prompt at inference is, token for token, the training sample up to its first trained token.
- A label is the token or -100; something is trained.
- The tokens decode to the text that was rendered.
- With a template that keeps its history, both masks are the same.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tunesmith
from tunesmith.data.formats import FORMATS, find_format
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenize import encode, prompt_ids
from tunesmith.data.tokenizer import chat_template
from tunesmith.data.types import MASKED, Rendered
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TOKENIZERS = ["tokenizer", "mistral_v1", "tekken", "qwen3", "llama3_1"]

PIECES = [
    "a",
    "The bees",
    " ",
    "\n",
    "\n\n",
    "\t",
    "é",
    "e\u0301",
    "🐝",
    "👩‍🚀",
    "שלום",
    "你好",
    "1.5",
    "'s",
    "{x}",
    "[[",
]
texts = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
filled = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join).filter(str.strip)

PLAIN = (
    "instruction", "input", "output", "system", "system_prompt", "question", "answer", "response", "article", "summary",
    "category", "INSTRUCTION", "RESPONSE", "reflection", "corrected", "solution", "prompt", "completion", "generation",
    "context", "unanswerable_question", "revision", "message_1", "message_2", "text", "title", "explanation",
)  # fmt: skip
"""All columns of text that any layout reads."""


def dialogue(role, content, user, model):
    pair = st.tuples(filled, filled).map(lambda p: [{role: user, content: p[0]}, {role: model, content: p[1]}])
    return st.lists(pair, min_size=1, max_size=3).map(lambda pairs: [turn for pair in pairs for turn in pair])


rows = st.fixed_dictionaries(
    {
        **dict.fromkeys(PLAIN, filled),
        "choices": st.lists(filled, min_size=1, max_size=3),
        "scores": st.just({"refusal": 9}),
        "critiques": st.just({"refusal": {"explanation": "fine"}}),
        "segments": st.tuples(filled, filled).map(
            lambda pair: [{"label": False, "text": pair[0]}, {"label": True, "text": pair[1]}]
        ),
        "messages": dialogue("role", "content", "user", "assistant"),
        "conversations": dialogue("from", "value", "human", "gpt"),
        "completions": st.lists(filled, min_size=2, max_size=2),
        "labels": st.just([True, False]),
    }
)
"""Rows that have every column, so that each format finds its own."""

OTHER_ROWS = {
    "pretokenized": {"input_ids": [5, 6], "labels": [-100, 6]},
    "pygmalion": {"conversations": [{"role": "human", "value": "a"}, {"role": "bot", "value": "b"}]},
    "sharegpt.load_guanaco": {"conversations": [{"role": "prompter", "text": "a"}, {"role": "assistant", "text": "b"}]},
    "sharegpt.load_role": {"conversations": [{"role": "human", "value": "a"}, {"role": "gpt", "value": "b"}]},
    "sharegpt.load_glaive": {"system": "SYSTEM: s", "chat": "USER: a ASSISTANT: b"},
}
OTHER_ROWS |= {
    name.replace("sharegpt", "sharegpt_simple"): row for name, row in OTHER_ROWS.items() if "sharegpt" in name
}
"""Types whose columns mean something else than elsewhere."""

TEXTS_OF_ANY_KIND = [name for name in FORMATS if name not in OTHER_ROWS and name not in ("user_defined",)]


@pytest.fixture
def spec(request):
    """`spec(type, tokenizer)` is the settings of a type."""

    def make(kind, tokenizer, **options):
        template = chat_template(tokenizer, "chatml", None, "config.yml")
        return FormatSpec(Dataset(path="x", type=kind), template=template, tokenizer=tokenizer, **options)

    return make


def check(rendered, examples, tokenizer, kind):
    for text, found in zip(rendered, examples, strict=True):
        if isinstance(found, DataError):  # a prompt that grows into its answer, where both are one text
            assert isinstance(text, Rendered)
            assert text.tokenize_whole
            continue
        ids = [token for example in found for token in example.input_ids]
        labels = [label for example in found for label in example.labels]
        assert len(ids) == len(labels)
        if kind != "stepwise_supervised":
            assert all(label in (MASKED, token) for token, label in zip(ids, labels, strict=True))
        assert any(label != MASKED for label in labels)
        if isinstance(text, Rendered) and text.overflow == "" and kind != "stepwise_supervised":
            served = prompt_ids(text, tokenizer)
            assert ids[: len(served)] == served
            assert all(label == MASKED for label in labels[: len(served)])


def holds(kind, row, spec, tokenizer):
    """Check a row; return whether its type accepts it."""
    before = repr(row)
    try:
        rendered = find_format(kind, "config.yml")(row, spec(kind, tokenizer))
    except DataError:
        return False
    assert repr(row) == before
    examples = encode(rendered, tokenizer, sequence_len=10_000)
    check(rendered, examples, tokenizer, kind)
    return not all(isinstance(found, DataError) for found in examples)


@pytest.mark.parametrize("kind", TEXTS_OF_ANY_KIND)
def test_what_is_served_is_how_the_sample_of_each_format_begins(tokenizer, spec, kind):
    accepted = []

    @settings(quick, max_examples=8)
    @given(row=rows)
    def check_row(row):
        accepted.append(holds(kind, row, spec, tokenizer))

    check_row()
    assert sum(accepted) >= len(accepted) / 2, f"{kind} accepted {sum(accepted)} of {len(accepted)} rows"


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(quick, max_examples=150)
@given(kind=st.sampled_from(TEXTS_OF_ANY_KIND), row=rows)
def test_what_is_served_is_how_the_sample_begins_with_each_tokenizer(request, spec, name, kind, row):
    holds(kind, row, spec, request.getfixturevalue(name))


@pytest.mark.parametrize("kind", OTHER_ROWS)
def test_the_same_for_types_with_columns_of_their_own(tokenizer, spec, kind):
    if kind not in FORMATS:
        pytest.fail(f"{kind} is no type")
    rendered = find_format(kind, "config.yml")(OTHER_ROWS[kind], spec(kind, tokenizer))
    check(rendered, encode(rendered, tokenizer), tokenizer, kind)


@pytest.mark.parametrize("template", ["chatml", "llama3", "mistral_v1", "gemma", "qwen_25"])
@quick
@given(messages=dialogue("role", "content", "user", "assistant"))
def test_both_masks_agree_where_the_template_keeps_its_history(request, template, messages):
    """But for the space that a template writes before an answer, which only `served` trains."""
    name = {"chatml": "qwen3", "qwen_25": "qwen3", "llama3": "llama3_1", "gemma": "gemma3"}.get(template, "mistral_v1")
    tokenizer = request.getfixturevalue(name)
    found = {}
    for mask in ("served", "axolotl"):
        dataset = {"type": "chat_template", "chat_template": template}
        ends = {"gemma": ["<end_of_turn>"], "llama3": ["<|eot_id|>"]}.get(template)
        config = {"mask": mask, "sequence_len": 10_000} | ({"eot_tokens": ends} if ends else {})
        try:
            (found[mask],) = tunesmith.encode(
                {"messages": messages}, dataset=dataset, config=config, tokenizer=tokenizer
            )
        except DataError:
            return
    served, axolotl = found["served"], found["axolotl"]
    assert served.input_ids == axolotl.input_ids
    for token, one, other in zip(served.input_ids, served.labels, axolotl.labels, strict=True):
        assert one == other or (other == MASKED and tokenizer.decode([token]).strip() == "")
