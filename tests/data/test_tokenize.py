"""Spans to ids and labels: invariants over texts of any kind and over every format."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.config.sections import Dataset
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.question import question
from tunesmith.data.tokenize import encode, prompt_ids
from tunesmith.data.tokenizer import adds_bos, chat_template
from tunesmith.data.types import MASKED, Example, Rendered, Span
from tunesmith.errors import DataError

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

PIECES = [
    "a",
    "The bees",
    " ",
    "\n",
    "\n\n",
    "\t",
    "é",
    "é",
    "🐝",
    "👩‍🚀",
    "שלום",
    "مرحبا",
    "你好",
    "\u200b",
    "<|im_end|>",
    "1.5",
    "'s",
]
letters = st.characters(exclude_categories=["Cs", "Cn", "Co", "Cc"], max_codepoint=0x3FFFF)
"""SmolLM2's vocabulary lacks the bytes of some control characters and of planes without letters."""
texts = st.one_of(st.text(letters), st.lists(st.sampled_from(PIECES)).map("".join))
filled = texts.filter(str.strip)


def rows_of(kind: str):
    """A strategy for rows of a type."""
    if kind == "completion":
        return st.fixed_dictionaries({"text": filled})
    if kind == "input_output":
        segment = st.fixed_dictionaries({"label": st.booleans(), "text": texts})
        return st.fixed_dictionaries({"segments": st.lists(segment, min_size=1)})
    if kind == "chat_template":
        pair = st.tuples(texts, filled).map(
            lambda pair: [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
        )
        pairs = st.lists(pair, min_size=1, max_size=3).map(lambda pairs: [turn for pair in pairs for turn in pair])
        return st.fixed_dictionaries({"messages": pairs})
    return st.fixed_dictionaries({"instruction": texts, "output": filled}, optional={"input": texts})


@pytest.fixture(scope="module")
def specs(tokenizer):
    """The settings of each type, with SmolLM2's own template for conversations."""
    template = chat_template(tokenizer, None, None, "config.yml")
    return {
        kind: FormatSpec(Dataset(path="x", type=kind), False, template if kind == "chat_template" else None)
        for kind in FORMATS
    }


@pytest.mark.parametrize("kind", FORMATS)
@quick
@given(data=st.data())
def test_what_is_served_and_trained_is_one_sequence_of_tokens(tokenizer, specs, kind, data):
    row = data.draw(rows_of(kind))
    try:
        rendered = FORMATS[kind](row, specs[kind])
    except DataError:
        return
    (example,) = encode([rendered], tokenizer)
    if isinstance(example, DataError):
        assert kind == "chat_template"  # alone tokenised in one piece, where an answer can grow into its prompt
        return
    ids, labels = example
    assert all(label in (MASKED, token) for token, label in zip(ids, labels, strict=True))
    assert any(label != MASKED for label in labels)
    served = prompt_ids(rendered, tokenizer)
    assert ids[: len(served)] == served
    assert all(label == MASKED for label in labels[: len(served)])
    text = "".join(span.text for span in rendered.spans)
    end = tokenizer.eos_token if rendered.eos and not text.endswith(tokenizer.eos_token) else ""
    assert tokenizer.decode(ids) == text + end
    asked = question(row, specs[kind], tokenizer, "config.yml")
    if asked is not None and kind != "chat_template":
        assert asked.input_ids == served


@quick
@given(row=rows_of("chat_template"))
def test_the_first_trained_token_of_a_conversation_is_the_first_of_the_answer(tokenizer, specs, row):
    rendered = FORMATS["chat_template"](row, specs["chat_template"])
    (example,) = encode([rendered], tokenizer)
    if isinstance(example, Example):
        trained = [label for label in example.labels if label != MASKED]
        answers = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
        assert tokenizer.decode(trained) == "".join(answer + "<|im_end|>" for answer in answers)


def test_a_token_over_the_border_is_refused(tokenizer):
    rendered = Rendered((Span("hel", False), Span("lo", True)), joint=True)
    (error,) = encode([rendered], tokenizer)
    assert isinstance(error, DataError)
    assert str(error) == "a token spans the end of the prompt and the start of the answer, near character 3"


def test_rows_of_a_batch_do_not_touch_each_other(tokenizer):
    rendered = [
        Rendered((Span("hel", False), Span("lo", True)), joint=True),
        Rendered(()),
        Rendered((Span("a b", False), Span(" c", True)), bos=True, eos=True),
        Rendered((), joint=True),
        Rendered((Span("a b", False), Span(" c", True)), joint=True),
    ]
    together = encode(rendered, tokenizer)
    alone = [encode([row], tokenizer)[0] for row in rendered]
    assert [str(item) for item in together] == [str(item) for item in alone]
    assert isinstance(together[0], DataError)
    assert together[1] == together[3] == Example([], [])


def test_the_end_token_is_put_on_once_and_trained_as_the_last_span(tokenizer):
    (trained,) = encode([Rendered((Span("a", False), Span("b", True)), eos=True)], tokenizer)
    assert (trained.input_ids[-1], trained.labels[-1]) == (tokenizer.eos_token_id, tokenizer.eos_token_id)
    (masked,) = encode([Rendered((Span("a", True), Span("b", False)), eos=True)], tokenizer)
    assert (masked.input_ids[-1], masked.labels[-1]) == (tokenizer.eos_token_id, MASKED)
    (there,) = encode([Rendered((Span("a<|im_end|>", True),), eos=True)], tokenizer)
    assert there.input_ids.count(tokenizer.eos_token_id) == 1


def test_the_begin_token_is_put_on_only_if_the_tokenizer_does_it_itself(tokenizer):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    rendered = Rendered((Span("a", False), Span("b", True)), bos=True)
    assert not adds_bos(tokenizer)
    assert encode([rendered], tokenizer)[0].input_ids == [*tokenizer("a").input_ids, *tokenizer("b").input_ids]
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", 1)])
    with_begin = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>")
    assert adds_bos(with_begin)
    (example,) = encode([rendered], with_begin)
    assert example.input_ids == [1, *tokenizer("a").input_ids, *tokenizer("b").input_ids]
    assert example.labels[0] == MASKED
    (text,) = encode([Rendered((Span("a", True),), bos=True)], with_begin)
    assert text.labels[0] == 1
