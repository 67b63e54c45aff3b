"""Spans to ids and labels: invariants over texts of any kind and over every format."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.question import question
from tunesmith.data.tokenize import encode, prompt_ids
from tunesmith.data.tokenizer import adds_bos, chat_template
from tunesmith.data.types import MASKED, Example, Rendered, Segment
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

KINDS = ("alpaca", "alpaca:chat", "alpaca:chatml", "chat_template", "completion", "input_output")
"""Types with columns of each kind; all types are in test_invariants.py."""

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
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(data=st.data())
def test_what_is_served_and_trained_is_one_sequence_of_tokens(tokenizer, specs, kind, data):
    row = data.draw(rows_of(kind))
    try:
        (rendered,) = FORMATS[kind](row, specs[kind])
    except DataError:
        return
    (examples,) = encode([rendered], tokenizer, sequence_len=100_000)
    if isinstance(examples, DataError):
        assert kind == "chat_template"  # alone tokenised in one piece, where an answer can grow into its prompt
        return
    ((ids, labels, text, *_),) = examples
    assert text == rendered.text
    assert all(label in (MASKED, token) for token, label in zip(ids, labels, strict=True))
    assert any(label != MASKED for label in labels)
    served = prompt_ids(rendered, tokenizer)
    assert ids[: len(served)] == served
    assert all(label == MASKED for label in labels[: len(served)])
    end = tokenizer.eos_token if rendered.segments[-1].eos_count and not text.endswith(tokenizer.eos_token) else ""
    assert tokenizer.decode(ids) == text + end
    asked = question(row, specs[kind], tokenizer)
    if asked is not None and kind != "chat_template":
        assert asked.input_ids == served


@quick
@given(row=rows_of("chat_template"))
def test_the_first_trained_token_of_a_conversation_is_the_first_of_the_answer(tokenizer, specs, row):
    (examples,) = encode(FORMATS["chat_template"](row, specs["chat_template"]), tokenizer)
    if not isinstance(examples, DataError):
        trained = [label for label in examples[0].labels if label != MASKED]
        answers = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
        assert tokenizer.decode(trained) == "".join(answer + "<|im_end|>" for answer in answers)


def one(rendered, tokenizer, **options):
    """The one example of a rendered row."""
    ((example,),) = encode([rendered], tokenizer, **options)
    return example


def test_a_prompt_that_grows_into_its_answer_is_refused(tokenizer):
    (error,) = encode(
        [Rendered((Segment("hel", False), Segment("lo", True)), tokenize_whole=True, prompt_ends=(3,))], tokenizer
    )
    assert isinstance(error, DataError)
    assert str(error).startswith("a server's prompt, up to 'hel', becomes other tokens than in the training text")


def test_each_prompt_of_a_row_is_compared_from_its_last_added_token_on(tokenizer):
    text = "<|im_start|>a\n<|im_end|><|im_start|>b"
    good = Rendered(
        (Segment(text, False), Segment(" c", True)),
        tokenize_whole=True,
        prompt_ends=(len("<|im_start|>a\n"), len(text)),
    )
    assert one(good, tokenizer).text == text + " c"
    bad = Rendered((Segment(text + " ", False), Segment("c", True)), tokenize_whole=True, prompt_ends=(len(text) + 1,))
    assert isinstance(encode([bad], tokenizer)[0], DataError)


def test_rows_of_a_batch_do_not_touch_each_other(tokenizer):
    rendered = [
        Rendered((Segment("hel", False), Segment("lo", True)), tokenize_whole=True, prompt_ends=(3,)),
        Rendered(()),
        Rendered((Segment("a b", False), Segment(" c", True, eos_count=1)), bos="own"),
        Rendered((), tokenize_whole=True),
        Example([1], [1]),
        Rendered((Segment("a b", False), Segment(" c", True)), tokenize_whole=True),
    ]
    together = encode(rendered, tokenizer)
    alone = [encode([row], tokenizer)[0] for row in rendered]
    assert [str(item) for item in together] == [str(item) for item in alone]
    assert isinstance(together[0], DataError)
    assert together[1] == together[3] == [Example([], [])]
    assert together[4] == [Example([1], [1])]


def test_the_end_token_is_put_on_once_and_trained_as_its_span(tokenizer):
    end = tokenizer.eos_token_id
    trained = one(Rendered((Segment("a", False), Segment("b", True, eos_count=1))), tokenizer)
    assert (trained.input_ids[-1], trained.labels[-1]) == (end, end)
    masked = one(Rendered((Segment("a", True), Segment("b", False, eos_count=1))), tokenizer)
    assert (masked.input_ids[-1], masked.labels[-1]) == (end, MASKED)
    assert one(Rendered((Segment("a<|im_end|>", True, eos_count=1),)), tokenizer).input_ids.count(end) == 1
    assert one(Rendered((Segment("a", True, eos_count=3),)), tokenizer).input_ids.count(end) == 3


def test_a_head_is_not_trained_and_a_value_labels_the_last_token(tokenizer):
    head = one(Rendered((Segment("bot: yes", True, header="bot:", eos_count=1),)), tokenizer)
    assert tokenizer.decode([label for label in head.labels if label != MASKED]) == " yes<|im_end|>"
    assert (
        one(Rendered((Segment("bot: yes", True, header="bot:"),)), tokenizer).input_ids
        == tokenizer("bot: yes").input_ids
    )
    step = one(Rendered((Segment("a step", False), Segment("\n", False, label=1))), tokenizer)
    assert step.labels == [*[MASKED] * (len(step.input_ids) - 1), 1]


def test_a_token_that_reaches_into_a_hole_is_not_trained(tokenizer):
    segments = (Segment("The ans", True), Segment("wer is", False, masked=True), Segment(" 4.", True))
    example = one(Rendered(segments, tokenize_whole=True), tokenizer)
    assert tokenizer.decode([label for label in example.labels if label != MASKED]) == "The 4."


def test_a_long_text_is_cut_into_pieces(tokenizer):
    words = Rendered((Segment("one two three four five six seven", True, eos_count=1),), overflow="chunks")
    ids = one(words, tokenizer, sequence_len=100).input_ids
    (pieces,) = encode([words], tokenizer, sequence_len=3)
    assert [piece.input_ids for piece in pieces] == [ids[:3], ids[3:6], ids[6:]]


def with_begin(tokenizer):
    """The tokenizer, but with a begin token that it puts before a text."""
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|im_start|>", eos_token="<|im_end|>")


def test_the_begin_token_is_put_on_only_if_the_tokenizer_does_it_itself(tokenizer):
    rendered = Rendered((Segment("a", False), Segment("b", True)), bos="own")
    parts = [*tokenizer("a").input_ids, *tokenizer("b").input_ids]
    assert not adds_bos(tokenizer)
    assert one(rendered, tokenizer).input_ids == parts
    assert one(replace(rendered, bos="always"), tokenizer).input_ids == [1, *parts]
    begins = with_begin(tokenizer)
    assert adds_bos(begins)
    assert (one(rendered, begins).input_ids, one(rendered, begins).labels[0]) == ([1, *parts], MASKED)
    assert one(Rendered((Segment("a", True),), bos="own"), begins).labels[0] == 1
    assert (
        one(Rendered((Segment("", False), Segment("a", True)), bos="own"), begins).input_ids == tokenizer("a").input_ids
    )


def test_the_prompt_ends_at_the_first_answer_or_at_the_last(tokenizer):
    segments = (
        Segment("q", False),
        Segment("b: x", True, header="b:"),
        Segment("r", False),
        Segment("b: y", True, header="b:"),
    )
    assert Rendered(segments).prompt().text == "qb:"
    assert Rendered(segments).prompt(last=True).text == "qb: xrb:"
    assert prompt_ids(Rendered(segments), tokenizer) == tokenizer(["q", "b:"]).input_ids[0] + tokenizer("b:").input_ids


def test_a_segment_may_hold_its_tokens(tokenizer):
    """Placeholders of an image, for example: any ids, in the loss or not."""
    placeholders = Segment("", False, token_ids=(5, 5, 5))
    example = one(Rendered((Segment("see ", False), placeholders, Segment("a cat", True, eos_count=1))), tokenizer)
    before, after = tokenizer("see ").input_ids, tokenizer("a cat").input_ids
    assert example.input_ids == [*before, 5, 5, 5, *after, tokenizer.eos_token_id]
    assert example.labels == [*[-100] * (len(before) + 3), *after, tokenizer.eos_token_id]
