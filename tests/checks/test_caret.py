"""The display of where tokens part."""

from tunesmith.checks.caret import show_parting
from tunesmith.data.prefix import first_difference


def ids(tokenizer, text):
    return tokenizer(text)["input_ids"]


def test_lists_part_at_the_first_difference_or_at_the_end_of_the_shorter_one():
    assert first_difference([1, 2, 3], [1, 4, 3]) == 1
    assert first_difference([1, 2], [1, 2, 3]) == 2
    assert first_difference([], [1]) == 0


def test_the_first_token_that_differs_has_its_id_and_the_caret(tokenizer):
    left, right = ids(tokenizer, "One two three four five six seven"), ids(tokenizer, "One two three four five nine")
    assert show_parting(("training", left), ("now", right), tokenizer).split("\n") == [
        f"    training: ... `Ġtwo` `Ġthree` `Ġfour` `Ġfive` `Ġsix`({left[5]}) `Ġseven`",
        f"    now:      ... `Ġtwo` `Ġthree` `Ġfour` `Ġfive` `Ġnine`({right[5]})",
        " " * 50 + "^",
    ]


def test_a_list_that_ends_says_so_and_the_start_is_shown_whole(tokenizer):
    whole = ids(tokenizer, "One two")
    shown = show_parting(("a", whole), ("b", whole[:1]), tokenizer).split("\n")
    assert shown == [f"    a: `One` `Ġtwo`({whole[1]})", "    b: `One` (end)", " " * 13 + "^"]


def test_a_secret_is_blotted_out(tokenizer):
    key = "AKIA" + "Q7" * 8
    left, right = ids(tokenizer, f"The key is {key}."), ids(tokenizer, "The key is lost.")
    shown = show_parting(("a", left), ("b", right), tokenizer)
    assert "•" in shown
    assert "Q" not in shown
