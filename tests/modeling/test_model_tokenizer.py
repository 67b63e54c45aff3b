"""The tokenizer of a config: each key of the vocabulary changes it. (`modeling/tokenizer.py`)"""

import pytest

from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import ModelSection

SMALL = "builtin/smollm2-135m-instruct"


@pytest.mark.parametrize("kind", ["bos_token", "eos_token", "pad_token", "unk_token"])
def test_the_special_tokens_are_those_of_the_config(tokenizer, kind):
    changed = model_tokenizer(ModelSection(base_model=SMALL, special_tokens={kind: "<new>"}))
    assert getattr(changed, kind) == "<new>" != getattr(tokenizer, kind)
    assert changed("a<new>").input_ids == [*tokenizer("a").input_ids, len(tokenizer)]


def test_a_reserved_token_has_the_text_of_the_config(tokenizer):
    index = tokenizer.convert_tokens_to_ids("<repo_name>")
    changed = model_tokenizer(ModelSection(base_model=SMALL, added_tokens_overrides={index: "<|tool|>"}))
    assert changed("a<|tool|>").input_ids == [*tokenizer("a").input_ids, index]


def test_the_tokenizer_may_lie_elsewhere(tokenizer, tmp_path):
    other = model_tokenizer(ModelSection(base_model=SMALL, tokens=["<one>"]))
    other.save_pretrained(tmp_path)
    assert len(model_tokenizer(ModelSection(base_model=SMALL, tokenizer_config=str(tmp_path)))) == len(tokenizer) + 1
