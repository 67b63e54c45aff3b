import pytest

import tunesmith
from tunesmith.errors import DataError


@pytest.fixture
def encoded(tokenizer):
    """`encoded(row, type, config keys...)` is the examples of a row."""

    def call(row, kind, **config):
        return tunesmith.encode(row, dataset={"type": kind}, config={"mask": "axolotl"} | config, tokenizer=tokenizer)

    return call


def test_every_window_of_a_document_has_an_end_token(encoded, tokenizer):
    windows = encoded({"text": "one two three four five six"}, "pretrain", sequence_len=4)
    assert len(windows) > 2
    assert {window.input_ids[-1] for window in windows} == {tokenizer.eos_token_id}


def test_an_empty_text_gives_no_sample(encoded):
    assert encoded({"text": ""}, "completion") == []


def test_tokens_keep_their_padding(encoded, tokenizer):
    ids = [*tokenizer("Say hi: hi").input_ids, 2, 2, 2]
    labels = [-100, -100, -100, *ids[3:-2], -100, -100]
    mask = [*[1] * (len(ids) - 3), 0, 0, 0]
    (example,) = encoded({"input_ids": ids, "labels": labels, "attention_mask": mask}, "pretokenized")
    assert (example.input_ids, example.labels) == (ids, labels)


def test_a_label_of_a_step_may_be_any_whole_number(encoded):
    row = {"prompt": "2+2?", "completions": ["4."], "labels": [7]}
    (example,) = encoded(row, "stepwise_supervised")
    assert max(example.labels) == 7
    with pytest.raises(DataError, match="step 1: its label should be a whole number"):
        encoded(row | {"labels": [0.5]}, "stepwise_supervised")


def test_a_label_of_a_segment_may_be_any_value(encoded, tokenizer):
    (example,) = encoded({"segments": [{"label": "no", "text": "a"}, {"label": None, "text": "b"}]}, "input_output")
    assert tokenizer.decode([label for label in example.labels if label >= 0]) == "a"


@pytest.mark.parametrize("number", [-1, 10**9])
def test_an_id_outside_the_vocabulary_is_an_error(encoded, number):
    with pytest.raises(DataError, match=f"{number} is no token"):
        encoded({"input_ids": [1, number], "labels": [1, 2]}, "pretokenized")
