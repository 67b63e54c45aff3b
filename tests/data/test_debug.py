"""The debug view."""

import pytest

from tunesmith.data.debug import token_view


@pytest.fixture
def sample(tokenizer):
    ids = tokenizer("Hi\n bees").input_ids
    return ids, [-100, -100, *ids[2:]]


def test_a_token_is_shown_as_text_label_and_id(tokenizer, sample):
    view = token_view(*sample, tokenizer)
    assert view.plain == "Hi(-100, 26843) \\n(-100, 198)  bees(9356, 9356)"


def test_masked_tokens_are_red_and_trained_ones_green(tokenizer, sample):
    view = token_view(*sample, tokenizer, text_only=True)
    assert view.plain == "Hi\n bees"
    assert [(view.plain[span.start : span.end], span.style) for span in view.spans] == [
        ("Hi", "red"),
        ("\n", "red"),
        (" bees", "green"),
    ]


def test_ids_and_labels_must_be_of_one_length(tokenizer):
    with pytest.raises(ValueError, match="shorter"):
        token_view([1, 2], [1], tokenizer)
