"""Embeddings that fit the tokenizer, at every load, and new tokens that an adapter must train."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.errors import ConfigError
from tunesmith.modeling.embeddings import check_embedding_keys, check_new_tokens
from tunesmith.modeling.load import load_base_model
from tunesmith.modeling.tokenizer import model_tokenizer, new_tokens
from tunesmith.sections import AdapterSection, ModelSection

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def tiny(vocabulary, *, tied=False):
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=tied, num_key_value_heads=1, **SHAPE)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("tiny")
    tiny(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(folder, **keys):
    """Return how many rows the embeddings and the head have after loading."""
    model = load_base_model(ModelSection(base_model=str(folder), **keys), "float32")
    sizes = {len(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    assert sizes == {model.config.vocab_size}
    return model.config.vocab_size


@pytest.mark.parametrize(
    ("keys", "more"),
    [
        ({}, 0),
        ({"tokens": ["<one>", "<two>"]}, 2),
        ({"tokens": ["<|im_start|>"]}, 0),
        ({"special_tokens": {"eos_token": "<stop>", "pad_token": "<pad>"}}, 2),
        ({"special_tokens": {"additional_special_tokens": ["<a>", "<|im_end|>"]}}, 1),
        ({"tokens": ["<one>"], "resize_token_embeddings_to_32x": True}, 32),
        ({"resize_token_embeddings_to_32x": True}, 0),
    ],
)
def test_embeddings_grow_with_the_tokenizer(folder, tokenizer, keys, more):
    assert len(tokenizer) % 32 == 0
    assert rows(folder, **keys) == len(tokenizer) + more


def test_embeddings_shrink_only_if_asked(tokenizer, tmp_path):
    tiny(len(tokenizer) + 7).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert rows(tmp_path, tokens=["<one>"]) == len(tokenizer) + 7
    assert rows(tmp_path, shrink_embeddings=True) == len(tokenizer)


def test_new_rows_are_the_same_at_every_load_and_old_ones_stay(folder, tokenizer):
    section = ModelSection(base_model=str(folder), tokens=["<one>"])
    one, other = (load_base_model(section, "float32").lm_head.weight for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(one[:-1], load_base_model(ModelSection(base_model=str(folder)), "float32").lm_head.weight)


def test_new_rows_can_begin_near_the_mean(folder):
    def distance(**keys):
        model = load_base_model(ModelSection(base_model=str(folder), tokens=["<one>"], **keys), "float32")
        weight = model.get_input_embeddings().weight
        return (weight[-1] - weight[:-1].mean(0)).norm().item()

    assert distance(mean_resizing_embeddings=True) < 1e-3
    assert distance() > 0.01


def test_untrained_tokens_begin_at_the_mean_of_the_others(folder):
    model = load_base_model(ModelSection(base_model=str(folder), fix_untrained_tokens=[3, 5]), "float32")
    plain = load_base_model(ModelSection(base_model=str(folder)), "float32")
    for fixed, old in (
        (model.model.embed_tokens.weight, plain.model.embed_tokens.weight),
        (model.lm_head.weight, plain.lm_head.weight),
    ):
        others = [index for index in range(len(old)) if index not in (3, 5)]
        torch.testing.assert_close(fixed[3], old[others].mean(0))
        assert torch.equal(fixed[others], old[others])


def test_a_token_that_is_not_there_cannot_be_fixed(folder, tokenizer):
    with pytest.raises(ConfigError, match=f"there is no token 999999; the model has {len(tokenizer)}"):
        load_base_model(ModelSection(base_model=str(folder), fix_untrained_tokens=999999), "float32")


def test_new_tokens_are_those_that_texts_may_hold(folder, tokenizer):
    keys = {"eos_token": "<stop>", "bos_token": "<|im_start|>", "pad_token": "<pad>", "unk_token": "<what>"}
    special = keys | {"additional_special_tokens": ["<a>"]}
    section = ModelSection(base_model=str(folder), tokens=["<one>", "<|im_end|>"], special_tokens=special)
    found = new_tokens(section, model_tokenizer(section))
    assert set(found) == {"<one>", "<a>", "<stop>"}
    assert min(found.values()) >= len(tokenizer)
    assert new_tokens(ModelSection(base_model=str(folder)), tokenizer) == {}


WHOLE = "`lora_modules_to_save: [embed_tokens, lm_head]`"


@pytest.mark.parametrize(
    ("tied", "keys", "cure"),
    [
        (False, {}, "`peft_trainable_token_indices: {embed_tokens: [7, 8], lm_head: [7, 8]}`"),
        (False, {"lora_modules_to_save": ["embed_tokens"]}, WHOLE),
        (False, {"peft_trainable_token_indices": [7, 8]}, WHOLE),
        (False, {"lora_modules_to_save": ["embed_tokens", "lm_head"]}, None),
        (False, {"peft_trainable_token_indices": {"embed_tokens": [7, 8], "lm_head": [7, 8]}}, None),
        (False, {"peft_trainable_token_indices": [7, 8], "lora_modules_to_save": ["lm_head"]}, None),
        (True, {}, "`peft_trainable_token_indices: [7, 8]`"),
        (True, {"lora_modules_to_save": ["embed_tokens"]}, WHOLE),
        (True, {"peft_trainable_token_indices": [7]}, WHOLE),
        (True, {"peft_trainable_token_indices": [7, 8]}, None),
        (True, {"lora_modules_to_save": ["embed_tokens", "lm_head"]}, None),
    ],
)
def test_an_adapter_must_train_new_tokens(tied, keys, cure):
    section = AdapterSection(adapter="lora", lora_r=4, **keys)
    new = {"<one>": 7, "<two>": 8}
    if cure is None:
        check_new_tokens(tiny(20, tied=tied), section, new)
        return
    with pytest.raises(ConfigError) as caught:
        check_new_tokens(tiny(20, tied=tied), section, new)
    assert str(caught.value).startswith("<one>, <two>: new tokens")
    assert WHOLE in str(caught.value)
    assert cure in str(caught.value)


ROWS = {"peft_trainable_token_indices": [7]}
SAVED_HEAD = {"lora_modules_to_save": ["lm_head"]}


@pytest.mark.parametrize(
    ("tied", "keys", "reason"),
    [
        (False, ROWS | {"lora_modules_to_save": ["embed_tokens"]}, "both train model.embed_tokens; remove one"),
        (False, ROWS | {"lora_target_modules": ".*embed_tokens"}, "both train model.embed_tokens; remove one"),
        (False, ROWS | SAVED_HEAD, None),
        (True, ROWS | SAVED_HEAD, "both train lm_head and model.embed_tokens, which are tied; remove one"),
        (True, ROWS | {"lora_target_modules": ["q_proj", "lm_head"]}, "`lora_target_modules` both train lm_head"),
        (True, SAVED_HEAD | {"lora_target_modules": ["embed_tokens"]}, None),
        (True, SAVED_HEAD | {"lora_target_modules": ["embed_tokens"], "peft_ensure_weight_tying": True}, "are tied"),
        (
            True,
            {"peft_trainable_token_indices": {"embed_tokens": [7], "lm_head": [8]}, "peft_ensure_weight_tying": True},
            "write one list",
        ),
    ],
)
def test_embeddings_are_trained_in_one_way(tied, keys, reason):
    section = AdapterSection(adapter="lora", lora_r=4, **keys)
    if reason is None:
        check_embedding_keys(tiny(20, tied=tied), section)
        return
    with pytest.raises(ConfigError, match=reason):
        check_embedding_keys(tiny(20, tied=tied), section)
