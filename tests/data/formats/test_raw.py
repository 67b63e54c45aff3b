"""Plain text, segments, steps and tokens: what is trained, and what a row at fault is told."""

import pytest

import tunesmith
from tunesmith.data.formats import find_format
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.question import conversation_prompt, question
from tunesmith.data.types import Segment
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

STEPS = {"prompt": "2+2+2?", "completions": ["2+2 is 4.", "So it is 7."], "labels": [True, False]}


def spec_of(kind, tokenizer=None, *, train_on_inputs=False, **keys) -> FormatSpec:
    return FormatSpec(Dataset.model_validate({"path": "x", "type": kind} | keys), train_on_inputs, tokenizer=tokenizer)


@pytest.fixture
def encoded(tokenizer):
    """`encoded(row, kind, config={...}, keys...)` is the examples of a row."""

    def call(row, kind, config=None, **keys):
        return tunesmith.encode(row, dataset={"type": kind} | keys, config=config, tokenizer=tokenizer)

    return call


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        ("completion", {"body": "a"}, "type completion needs column text; found body. Set field: body"),
        ("completion", {"text": "  "}, "column text is blank"),
        ("pretrain", {"text": ["a", ""]}, "column text is blank"),
        ("pretrain", {"body": "a"}, "type pretrain needs column text; found body. Set text_column: body"),
        ("input_output", {"text": "a"}, "type input_output needs column segments; found text"),
        ("input_output", {"segments": 3}, "column segments should hold a list; found 3"),
        ("input_output", {"segments": []}, "no segment has `label: true`: there is nothing to train"),
        ("input_output", {"segments": [{"label": True, "text": ""}]}, "there is nothing to train"),
        ("input_output", {"segments": ["a"]}, "segment 1 needs `label: true|false` and `text`; found 'a'"),
        ("input_output", {"segments": [{"label": "x", "text": "a"}]}, "`label` should be true or false; found 'x'"),
        ("stepwise_supervised", STEPS | {"prompt": None}, "type stepwise_supervised needs column prompt"),
        ("stepwise_supervised", STEPS | {"labels": [True]}, "should be as many; found 2 and 1"),
        ("stepwise_supervised", STEPS | {"labels": [True, 0.5]}, "step 2: its label should be true or false"),
        ("stepwise_supervised", STEPS | {"completions": ["a", None]}, "step 2 should be text; found None"),
        ("stepwise_supervised", STEPS | {"completions": [], "labels": []}, "there are no completions"),
        ("pretokenized", {"input_ids": [1, 2]}, "type pretokenized needs column labels; found input_ids"),
        ("pretokenized", {"input_ids": [1, 2], "labels": [1]}, "should be of one length; found 2 and 1"),
        (
            "pretokenized",
            {"input_ids": [1], "labels": [1], "attention_mask": [1, 1]},
            "should be of one length; found 1 and 1, attention_mask 2",
        ),
        ("pretokenized", {"input_ids": [1, True], "labels": [1, 2]}, "should hold whole numbers; found True"),
        ("pretokenized", {"input_ids": [1, 2], "labels": [-100, -100]}, "all labels are -100"),
        (
            "pretokenized",
            {"input_ids": [1, 99999], "labels": [1, 2]},
            "99999 is no token: the vocabulary ends at 49151",
        ),
        ("pretokenized", {"input_ids": [1, 2], "labels": [-1, 2]}, "-1 is no token"),
    ],
)
def test_a_row_that_does_not_fit_says_what_is_wrong(encoded, kind, row, expected):
    with pytest.raises(DataError) as caught:
        encoded(row, kind)
    assert expected in str(caught.value)


def test_train_on_inputs_trains_segments_that_say_no():
    segments = {"segments": [{"label": False, "text": "a"}, {"label": True, "text": "b"}]}
    (rendered,) = find_format("input_output", "x")(segments, spec_of("input_output", train_on_inputs=True))
    assert rendered.segments == (Segment("a", True), Segment("b", True))


@pytest.mark.parametrize(
    ("kind", "column"), [("completion", "field"), ("pretrain", "text_column"), ("pretrain", "field")]
)
def test_a_document_has_one_end_token_at_its_end(encoded, tokenizer, kind, column):
    pieces = encoded({"body": "one two three four five six"}, kind, {"sequence_len": 4}, **{column: "body"})
    assert [len(piece.input_ids) for piece in pieces] == [4, 3]
    assert [token for piece in pieces for token in piece.input_ids].count(tokenizer.eos_token_id) == 1
    assert pieces[-1].labels[-1] == tokenizer.eos_token_id
    assert all(piece.labels == piece.input_ids for piece in pieces)


def test_a_row_of_several_texts_is_several_documents(encoded, tokenizer):
    found = encoded({"text": ["one", "two"]}, "pretrain")
    assert [tokenizer.decode(example.input_ids) for example in found] == ["one<|im_end|>", "two<|im_end|>"]


def test_the_label_of_a_step_stands_at_its_separator(encoded, tokenizer):
    (example,) = encoded(STEPS, "stepwise_supervised")
    labelled = [(tokenizer.decode(token), label) for token, label in zip(*example[:2], strict=True) if label != -100]
    assert labelled == [("\n", 1), ("\n", 0)]
    assert example.input_ids[0] == tokenizer.bos_token_id
    (example,) = encoded(STEPS, "stepwise_supervised", train_on_last_step_only=True)
    assert [label for label in example.labels if label != -100] == [0]


def test_without_a_separator_the_label_stands_at_the_last_token_of_the_step(encoded, tokenizer):
    (example,) = encoded(STEPS, "stepwise_supervised", step_separator="")
    labelled = [(tokenizer.decode(token), label) for token, label in zip(*example[:2], strict=True) if label != -100]
    assert labelled == [(".", 1), (".", 0)]
    with pytest.raises(DataError, match="step 1 and `step_separator` are empty"):
        encoded(STEPS | {"completions": ["", "b"]}, "stepwise_supervised", step_separator="")


def test_a_long_answer_is_cut_to_max_completion_length(encoded):
    (whole,), (cut,) = (
        encoded(STEPS, "stepwise_supervised"),
        encoded(STEPS, "stepwise_supervised", max_completion_length=3),
    )
    size = len(cut.input_ids)
    (prompt,) = encoded({"segments": [{"label": True, "text": STEPS["prompt"]}]}, "input_output")
    assert size == 1 + len(prompt.input_ids) + 3
    assert (cut.input_ids, cut.labels) == (whole.input_ids[:size], whole.labels[:size])


def test_tokens_are_taken_as_they_stand_without_padding(encoded, tokenizer):
    ids = [*tokenizer("Say hi: hi").input_ids, 2, 2, 2]
    labels = [-100, -100, -100, *ids[3:-2], -100, -100]
    mask = [*[1] * (len(ids) - 3), 0, 0, 0]  # as Axolotl writes it where the end token is the pad token
    row = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    (example,) = encoded(row, "pretokenized")
    assert (example.input_ids, example.labels) == (ids[:-2], labels[:-2])
    assert example.text == "Say hi: hi<|im_end|>"


def test_columns_of_tokens_need_no_type(tokenizer):
    (example,) = tunesmith.encode({"input_ids": [5, 6], "labels": [-100, 6]}, tokenizer=tokenizer)
    assert example[:2] == ([5, 6], [-100, 6])


def test_a_person_can_go_on_with_a_text_but_not_with_steps_or_tokens(tokenizer):
    turns = [{"role": "user", "content": "Bees"}]
    for kind in ("completion", "pretrain", "input_output"):
        assert conversation_prompt(turns, spec_of(kind), tokenizer) == tokenizer("Bees").input_ids
    for kind in ("stepwise_supervised", "pretokenized"):
        with pytest.raises(DataError, match=f"a model is not asked in words with type {kind}"):
            conversation_prompt(turns, spec_of(kind), tokenizer)


def test_rows_without_a_trained_answer_have_no_question(tokenizer):
    for kind, row in {
        "stepwise_supervised": STEPS,
        "pretokenized": {"input_ids": [5], "labels": [5]},
        "pretrain": {"text": ["a", "b"]},
    }.items():
        assert question(row, spec_of(kind, tokenizer), tokenizer) is None
