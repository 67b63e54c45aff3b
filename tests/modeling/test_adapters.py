"""Adapters on a model: fresh ones, and saved ones that may be missing or belong elsewhere."""

import json
import sys
from copy import deepcopy
from types import ModuleType

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from tunesmith.errors import ConfigError, ModelError
from tunesmith.hardware import Hardware, detect
from tunesmith.modeling.adapters import load_adapter, lora_config, new_adapter
from tunesmith.sections import AdapterSection


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


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"lora_rank_pattern": {"q_porj": 2}}, r"`lora_rank_pattern`: .* no layer `q_porj`; .*did you mean `q_proj`"),
        (
            {"lora_alpha_pattern": {"nothing": 2}},
            r"`lora_alpha_pattern`: .* no layer `nothing`; its linear layers are ",
        ),
        ({"lora_alpha_pattern": {"(": 2}}, r"`lora_alpha_pattern`: `\(` is no regular expression: "),
        ({"lora_target_parameters": "nothing"}, r"`lora_target_parameters`: the model has no parameter `nothing`"),
        ({"peft_layers_to_transform": [0, 100]}, r"`peft_layers_to_transform: \[0, 100\]`: the model has \d+ blocks"),
        ({"peft_trainable_token_indices": [10**7]}, r"there is no token 10000000; the model has \d+"),
        ({"peft_trainable_token_indices": {"lm_heat": [1]}}, r"no layer `lm_heat`; .*did you mean `lm_head`"),
    ],
)
def test_names_and_numbers_that_fit_nothing_are_errors(small_model, keys, expected):
    with pytest.raises(ConfigError, match=expected):
        new_adapter(small_model, section(lora_target_linear=True, **keys), "float32")


def test_patterns_are_names_or_expressions(small_model):
    patterns = {"q_proj": 2, r".*\.1\.mlp.down_proj": 3}
    names = trained(new_adapter(small_model, section(lora_target_linear=True, lora_rank_pattern=patterns), "float32"))
    assert {len(weight) for name, weight in names.items() if "q_proj.lora_A" in name} == {2}


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
    model = load_adapter(small_model, str(saved_adapter), dtype="bfloat16")
    assert {parameter.dtype for parameter in trained(model).values()} == {torch.bfloat16}
    assert all("lora_" in name for name in trained(model))


def test_a_folder_without_an_adapter_is_an_error(small_model, tmp_path):
    with pytest.raises(ModelError, match=r"holds no adapter \(no adapter_config.json\)"):
        load_adapter(small_model, str(tmp_path))


def test_a_folder_without_adapter_weights_is_an_error(small_model, saved_adapter):
    (saved_adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no adapter weights"):
        load_adapter(small_model, str(saved_adapter))


def test_a_fault_of_the_device_is_not_taken_for_an_adapter_that_does_not_fit(small_model, saved_adapter, monkeypatch):
    def full(*args, **settings):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("peft.PeftModel.from_pretrained", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
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


IDS = torch.arange(20)[None]


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def steps(model, count=3):
    optimizer = torch.optim.AdamW(trained(model).values(), lr=1e-2)
    for _ in range(count):
        model(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def adapted(model):
    """Return layer -> rank of its adapter, by the names of layers without `model.layers`."""
    found = {name: weight for name, weight in trained(model).items() if "lora_A" in name}
    return {name.split(".lora_A")[0].split("layers.")[-1]: len(weight) for name, weight in found.items()}


def test_single_layers_may_have_ranks_and_alphas_of_their_own(small_model):
    keys = {"lora_rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 3}, "lora_alpha_pattern": {"q_proj": 40}}
    model = new_adapter(small_model, section(lora_target_modules=["q_proj", "up_proj"], **keys), "float32")
    ranks = {"0.self_attn.q_proj": 2, "1.self_attn.q_proj": 2, "0.mlp.up_proj": 4, "1.mlp.up_proj": 3}
    assert adapted(model) == ranks
    scales = {name: module.scaling["default"] for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert {scale for name, scale in scales.items() if "q_proj" in name} == {20}


@pytest.mark.parametrize("keys", [{"lora_target_linear": True}, {"lora_target_modules": ["q_proj"]}])
@pytest.mark.parametrize("pattern", [None, "layers"])
def test_single_blocks_can_be_adapted(small_model, keys, pattern):
    blocks = {"peft_layers_to_transform": [1], "peft_layers_pattern": pattern}
    names = adapted(new_adapter(small_model, section(**keys, **blocks), "float32"))
    assert names
    assert all(name.startswith("1.") for name in names)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("layers", {"1.mlp.parts.0", "1.mlp.parts.1"}), ("parts", {"0.mlp.parts.1", "1.mlp.parts.1"})],
)
def test_of_lists_within_lists_the_pattern_names_the_blocks(small_model, pattern, expected):
    for layer in small_model.model.layers:
        layer.mlp.parts = torch.nn.ModuleList(torch.nn.ModuleDict({"own": torch.nn.Linear(4, 4)}) for _ in range(2))
    keys = {"lora_target_modules": ["own"], "peft_layers_to_transform": [1], "peft_layers_pattern": pattern}
    names = adapted(new_adapter(small_model, section(**keys), "float32"))
    assert {name.removesuffix(".own") for name in names} == expected


@pytest.mark.parametrize("start", [True, "gaussian", "orthogonal", "olora", "pissa"])
def test_an_adapter_begins_without_effect_and_comes_back_on_the_plain_base(small_model, tmp_path, start):
    """Some begin by changing the base weights; the saved adapter changes them again when it is loaded."""
    plain, base = deepcopy(small_model), logits(small_model)
    keys = {"lora_target_linear": True, "peft_init_lora_weights": start}
    model = new_adapter(small_model, section(**keys), "float32")
    torch.testing.assert_close(logits(model.eval()), base, atol=1e-4, rtol=0)
    after = logits(steps(model))
    assert (after - base).abs().max() > 0.1
    model.save_pretrained(tmp_path)
    torch.manual_seed(7)
    loaded = load_adapter(plain, str(tmp_path))
    torch.testing.assert_close(logits(loaded.eval()), after, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits(loaded.merge_and_unload()), after, atol=1e-4, rtol=0)


def test_an_adapter_may_begin_at_random(small_model):
    base = logits(small_model)
    model = new_adapter(small_model, section(lora_target_linear=True, peft_init_lora_weights=False), "float32")
    assert (logits(model) - base).abs().max() > 0.1


@pytest.mark.parametrize("keys", [{"peft": {"loftq_config": {"loftq_bits": 2}}}, {"peft_init_lora_weights": "loftq"}])
def test_loftq_without_a_gpu_is_an_error_that_says_what_to_set(small_model, keys):
    asked = section(lora_target_modules=["q_proj"], **keys)
    if detect().kind == "cuda":
        assert lora_config(asked).loftq_config["loftq_bits"] in (2, 4)
        return
    with pytest.raises(ConfigError, match=r"set `peft_init_lora_weights: true` and no `peft.loftq_config`"):
        new_adapter(small_model, asked, "float32")


def test_the_bits_of_loftq_reach_peft_on_a_gpu(monkeypatch):
    gpu = Hardware(kind="cuda", count=1, name="fake", memory=2**36, bf16=True)
    scipy = ModuleType("scipy")  # peft asks whether it is there
    scipy.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "scipy", scipy)
    monkeypatch.setattr("tunesmith.modeling.adapters.detect", lambda: gpu)
    made = lora_config(section(peft={"loftq_config": {"loftq_bits": 8}}))
    assert (made.init_lora_weights, made.loftq_config["loftq_bits"]) == ("loftq", 8)
    assert lora_config(section(peft_init_lora_weights="loftq")).loftq_config["loftq_bits"] == 4


def test_rows_of_single_tokens_are_trained(small_model):
    before = small_model.model.embed_tokens.weight.detach().clone()
    keys = {"lora_target_modules": ["q_proj"], "peft_trainable_token_indices": [3, 5]}
    merged = steps(new_adapter(small_model, section(**keys), "float32")).merge_and_unload()
    changed = (merged.model.embed_tokens.weight != before).any(1).nonzero()[:, 0]
    assert changed.tolist() == [3, 5]


@pytest.mark.parametrize(("asked", "tied"), [(None, True), (True, True), (False, False)])
def test_tied_embeddings_stay_so_unless_they_are_not_to(small_model, asked, tied):
    small_model.config.tie_word_embeddings = True
    small_model.tie_weights()
    keys = {"lora_target_modules": ["q_proj"], "lora_modules_to_save": ["embed_tokens", "lm_head"]}
    model = new_adapter(small_model, section(**keys, peft_ensure_weight_tying=asked), "float32")
    merged = steps(model).merge_and_unload()
    assert torch.equal(merged.lm_head.weight, merged.model.embed_tokens.weight) is tied


@pytest.fixture
def mixture():
    """A small mixture of experts."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "moe_intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen3MoeConfig(vocab_size=100, num_experts=4, num_experts_per_tok=2, **shape, **heads)
    return Qwen3MoeForCausalLM(config)


@pytest.mark.parametrize("names", [["mlp.experts.down_proj", "mlp.experts.gate_up_proj"], "mlp.experts.down_proj"])
def test_bare_parameters_of_experts_are_adapted(mixture, tmp_path, names):
    plain, before = deepcopy(mixture), deepcopy(mixture.model.layers[0].mlp.experts)
    model = steps(new_adapter(mixture, section(lora_target_parameters=names), "float32"))
    after = logits(model)
    model.save_pretrained(tmp_path)
    merged = load_adapter(plain, str(tmp_path)).merge_and_unload()
    experts = merged.model.layers[0].mlp.experts
    moved = [
        name for name in ("down_proj", "gate_up_proj") if not torch.equal(getattr(experts, name), getattr(before, name))
    ]
    assert moved == ["down_proj", "gate_up_proj"][: 2 if isinstance(names, list) else 1]
    torch.testing.assert_close(logits(merged), after, atol=1e-4, rtol=0)


def test_a_parameter_that_is_not_there_is_an_error(mixture):
    with pytest.raises(ConfigError, match=r"`lora_target_parameters`: the model has no parameter `experts.down`"):
        new_adapter(mixture, section(lora_target_parameters=["experts.down"]), "float32")
