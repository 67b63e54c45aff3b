from dataclasses import replace

from tunesmith.data import tokenize
from tunesmith.data.axolotl.tokens import encode
from tunesmith.data.types import Rendered, Segment


def one(rendered, tokenizer, **options):
    ((example,),) = encode([rendered], tokenizer, **options)
    return example


def test_a_long_text_is_cut_into_windows_that_overlap(tokenizer):
    words = Rendered((Segment("one two three four five six seven", True),), bos="own", overflow="windows")
    ids = tokenizer(words.text).input_ids
    (windows,) = encode([words], tokenizer, sequence_len=5)
    assert windows[0].input_ids == [*ids[:4], tokenizer.eos_token_id]
    assert windows[1].input_ids[:2] == ids[2:4]  # they overlap by (5 - 1) // 2
    assert all(window.input_ids[-1] == tokenizer.eos_token_id for window in windows)


def test_each_segment_is_truncated_and_a_later_one_loses_its_begin_token(tokenizer):
    rendered = Rendered(
        (Segment("one two three", False), Segment("<|im_start|>four five", True, eos_count=1)), bos="own"
    )
    ids = tokenizer("one two three four five").input_ids
    ((served,),) = tokenize.encode([rendered], tokenizer)
    example = one(rendered, tokenizer)
    assert served.input_ids == [*ids[:3], 1, *tokenizer("four five").input_ids, tokenizer.eos_token_id]
    assert example.input_ids == [*ids[:3], *tokenizer("four five").input_ids, tokenizer.eos_token_id]
    short = one(rendered, tokenizer, sequence_len=2)
    assert short.input_ids == [*ids[:2], tokenizer("four").input_ids[0]]  # no room for an end token


def test_a_row_of_steps_is_truncated_as_a_whole(tokenizer):
    rendered = Rendered((Segment("one two", False), Segment("three", False, label=1)), bos="always")
    example = one(rendered, tokenizer, sequence_len=2)
    assert len(example.input_ids) == len(example.labels) == 2
    assert one(replace(rendered, bos="never"), tokenizer, sequence_len=2).labels[-1] == 1
