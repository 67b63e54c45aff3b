"""Fused layers compute what the layers compute that they stand for, forwards and backwards."""

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tunesmith.modeling.adapters import load_adapter, new_adapter
from tunesmith.modeling.fused import LEFT, FusedLoraLinear, fuse
from tunesmith.sections import AdapterSection

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, 5, 2),
    "mistral": (MistralForCausalLM, MistralConfig, 5, 2),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, 9, 2),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config, 9, 2),
}
IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 35]])


def family(name):
    torch.manual_seed(0)
    model, config, *_ = FAMILIES[name]
    made = model(config(**SIZES))
    for key, weight in made.named_parameters():
        if "norm" in key:
            weight.data.normal_(mean=1.0)
    return made


def section(**keys):
    return AdapterSection(**{"adapter": "lora", "lora_r": 4, "lora_target_linear": True, **keys})


def with_adapter(model, *, fused, **keys):
    made = new_adapter(deepcopy(model), section(**keys), "float32", fused=fused)
    torch.manual_seed(1)
    for key, weight in made.named_parameters():
        if "lora_" in key:
            weight.data.normal_(std=0.1)
    return made


def loss_and_gradients(model):
    torch.manual_seed(2)
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    return loss, {key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None}


def assert_same_training(fused, plain, **tolerance):
    (loss, gradients), (expected, expected_gradients) = loss_and_gradients(fused), loss_and_gradients(plain)
    torch.testing.assert_close(loss, expected, **tolerance)
    assert gradients.keys() == expected_gradients.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[key], msg=key, **tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_an_adapter_as_without(name):
    model = family(name)
    plain, fused = with_adapter(model, fused=False), with_adapter(model, fused=True)
    norms, mlps = FAMILIES[name][2:]
    assert fuse(fused) == {"norms": norms, "feed-forward layers": mlps, "LoRA layers": 14}
    assert list(fused.state_dict()) == list(plain.state_dict())
    assert_same_training(fused, plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_all_weights_as_without(name):
    model = family(name)
    fused = deepcopy(model)
    fuse(fused)
    assert_same_training(fused, model)


@pytest.mark.parametrize(
    "keys",
    [
        {"lora_dropout": 0.3},
        {"peft_use_dora": True},
        {"peft_use_rslora": True},
        {"lora_modules_to_save": ["lm_head"]},
        {"lora_target_linear": False, "lora_target_modules": ["q_proj", "down_proj"]},
        {"lora_rank_pattern": {"q_proj": 2}},
    ],
)
def test_kinds_of_adapters_train_as_without(keys):
    model = family("llama")
    plain, fused = with_adapter(model, fused=False, **keys), with_adapter(model, fused=True, **keys)
    fuse(fused)
    assert_same_training(fused, plain)


def test_bf16_under_autocast_differs_by_rounding_only():
    model = family("llama").to(torch.bfloat16)
    plain, fused = with_adapter(model, fused=False), with_adapter(model, fused=True)
    fuse(fused)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_training(fused, plain, rtol=0.1, atol=0.02)


def test_dora_is_left_to_peft():
    fused = with_adapter(family("llama"), fused=True, peft_use_dora=True)
    assert fuse(fused) == {"norms": 5, "feed-forward layers": 2, LEFT: 14}


def test_layers_of_another_form_are_left_alone():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2))
    before = [type(module) for module in model.modules()]
    assert not any(fuse(model).values())
    assert [type(module) for module in model.modules()] == before


def test_what_is_saved_is_loaded_by_peft_alone_and_by_us(tmp_path):
    model = family("llama")
    fused = with_adapter(model, fused=True)
    fuse(fused)
    fused.save_pretrained(tmp_path)
    logits = fused(IDS).logits
    torch.testing.assert_close(load_adapter(deepcopy(model), str(tmp_path))(IDS).logits, logits)
    again = load_adapter(deepcopy(model), str(tmp_path), dtype="float32", fused=True)
    assert any(isinstance(module, FusedLoraLinear) for module in again.modules())
    torch.testing.assert_close(again(IDS).logits, logits)
    with fused.disable_adapter():
        torch.testing.assert_close(fused(IDS).logits, model(IDS).logits)
    torch.testing.assert_close(fused.merge_and_unload()(IDS).logits, logits)


def test_the_adapter_is_in_the_form_of_peft():
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    expected = get_peft_model(family("llama"), config).state_dict()
    found = with_adapter(family("llama"), fused=True).state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
