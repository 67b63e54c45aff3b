"""Adapters on a model: fresh ones, and saved ones that may be missing or belong elsewhere."""

import json
from copy import deepcopy

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.config.sections import AdapterSection
from tunesmith.errors import ConfigError, ModelError
from tunesmith.modeling.adapters import load_adapter, lora_config, new_adapter


def section(**keys):
    return AdapterSection(**({"adapter": "lora", "lora_r": 4} | keys))


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.fixture
def saved_adapter(small_model, tmp_path):
    """The folder of an adapter of the small model whose weights do something."""
    model = new_adapter(deepcopy(small_model), section(lora_target_modules=["q_proj", "down_proj"]), "float32")
    with torch.no_grad():
        for name, parameter in trained(model).items():
            if "lora_B" in name:
                parameter.normal_()
    model.save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "the/small-model"}))
    return tmp_path / "adapter"


def test_alpha_is_twice_the_rank_unless_set():
    assert lora_config(section(lora_r=8)).lora_alpha == 16
    assert lora_config(section(lora_r=8, lora_alpha=8)).lora_alpha == 8


def test_every_setting_reaches_peft():
    keys = {
        "lora_r": 3,
        "lora_dropout": 0.25,
        "lora_target_modules": ["q_proj", "v_proj"],
        "lora_modules_to_save": ["embed_tokens"],
        "lora_fan_in_fan_out": True,
        "peft_use_dora": True,
        "peft_use_rslora": True,
    }
    made = lora_config(section(**keys))
    assert (made.r, made.lora_dropout, made.target_modules) == (3, 0.25, {"q_proj", "v_proj"})
    assert made.modules_to_save == ["embed_tokens"]
    assert (made.fan_in_fan_out, made.use_dora, made.use_rslora) == (True, True, True)


def test_target_linear_adapts_every_linear_layer_but_the_head(small_model):
    names = trained(new_adapter(small_model, section(lora_target_linear=True), "float32"))
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_target_linear_and_a_list_adapt_both(small_model):
    names = trained(
        new_adapter(small_model, section(lora_target_linear=True, lora_target_modules=["lm_head"]), "float32")
    )
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"}


def test_a_fresh_adapter_changes_nothing(small_model):
    ids = torch.arange(10)[None]
    before = small_model(ids).logits
    assert torch.equal(new_adapter(small_model, section(lora_target_linear=True), "float32")(ids).logits, before)


@pytest.mark.parametrize("form", ["float32", "bfloat16"])
def test_all_that_is_trained_is_in_the_format_asked_for(small_model, form):
    keys = {"lora_target_linear": True, "lora_modules_to_save": ["embed_tokens", "lm_head"]}
    model = new_adapter(small_model.to(torch.bfloat16), section(**keys), form)
    assert {parameter.dtype for parameter in trained(model).values()} == {getattr(torch, form)}
    assert any("modules_to_save" in name for name in trained(model))


@pytest.mark.parametrize("targets", [["nothing"], ["q_proj", "nothing"]])
def test_a_target_that_is_no_layer_lists_the_linear_ones(small_model, targets):
    with pytest.raises(ConfigError, match=r"`lora_target_modules`: .* no layer `nothing`.*down_proj.*q_proj"):
        new_adapter(small_model, section(lora_target_modules=targets), "float32")


def test_a_misspelt_target_is_corrected(small_model):
    with pytest.raises(ConfigError, match=r"did you mean `v_proj`\?"):
        new_adapter(small_model, section(lora_target_modules=["q_proj", "v_porj"]), "float32")


@pytest.mark.parametrize("targets", [".*nothing", ["self_attn"]])
def test_targets_that_cannot_be_adapted_list_the_linear_layers(small_model, targets):
    with pytest.raises(ConfigError, match=r"names no layer that LoRA can adapt; .*down_proj.*q_proj"):
        new_adapter(small_model, section(lora_target_modules=targets), "float32")


def test_a_module_to_save_that_is_no_layer_is_an_error(small_model):
    with pytest.raises(ConfigError, match=r"`lora_modules_to_save`: .* no layer `embed_token`; .*`embed_tokens`"):
        new_adapter(small_model, section(lora_target_linear=True, lora_modules_to_save=["embed_token"]), "float32")


def test_a_path_of_layers_is_a_target_too(small_model):
    names = trained(new_adapter(small_model, section(lora_target_modules=["self_attn.q_proj"]), "float32"))
    assert names
    assert all("self_attn.q_proj" in name for name in names)


def test_a_saved_adapter_is_loaded_frozen_or_to_be_trained(small_model, saved_adapter):
    ids = torch.arange(10)[None]
    base = small_model(ids).logits
    frozen = load_adapter(small_model, str(saved_adapter))
    assert not trained(frozen)
    assert not torch.allclose(frozen(ids).logits, base)


def test_a_saved_adapter_can_be_trained_on(small_model, saved_adapter):
    model = load_adapter(small_model, str(saved_adapter), trained="bfloat16")
    assert {parameter.dtype for parameter in trained(model).values()} == {torch.bfloat16}
    assert all("lora_" in name for name in trained(model))


def test_a_folder_without_an_adapter_is_an_error(small_model, tmp_path):
    with pytest.raises(ModelError, match=r"holds no adapter \(no adapter_config.json\)"):
        load_adapter(small_model, str(tmp_path))


def test_a_folder_without_adapter_weights_is_an_error(small_model, saved_adapter):
    (saved_adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no adapter weights"):
        load_adapter(small_model, str(saved_adapter))


@pytest.mark.parametrize("other", [{"hidden_size": 32}, {"num_hidden_layers": 1}, {"num_hidden_layers": 3}])
def test_the_adapter_of_another_model_is_an_error_that_says_which(small_model, saved_adapter, other):
    model = LlamaForCausalLM(LlamaConfig(**(small_model.config.to_dict() | other | {"head_dim": None})))
    with pytest.raises(ModelError, match=r"does not fit the base model: it was made for the/small-model"):
        load_adapter(model, str(saved_adapter))


@pytest.mark.parametrize("damage", ["config", "weights"])
def test_a_damaged_adapter_is_an_error(small_model, saved_adapter, damage):
    file = saved_adapter / {"config": "adapter_config.json", "weights": "adapter_model.safetensors"}[damage]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match=str(saved_adapter)):
        load_adapter(small_model, str(saved_adapter))
