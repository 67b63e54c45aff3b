"""Loading a base model, and what is said when there is none. (`modeling/load.py`)"""

import json
import os
import subprocess
import sys

import pytest
import torch

from tunesmith.errors import ConfigError, ModelError
from tunesmith.hardware import Hardware
from tunesmith.modeling.attention import DOCUMENTS
from tunesmith.modeling.load import load_base_model, training_attention
from tunesmith.sections import ModelSection

CPU = Hardware(kind="cpu", count=1, name="fake", memory=2**34, bf16=True)
GPU = Hardware(kind="cuda", count=1, name="fake", memory=2**36, bf16=True)
FLASH_GPU = Hardware(kind="cuda", count=1, name="fake", memory=2**36, bf16=True, flash_attention=True)


@pytest.fixture
def small_folder(small_model, tmp_path):
    small_model.save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def load(folder, **keys):
    return load_base_model(ModelSection(base_model=str(folder), **keys), "float32")


@pytest.mark.parametrize("form", ["float32", "bfloat16"])
def test_a_model_is_loaded_in_the_format_asked_for(small_folder, small_model, form):
    loaded = load_base_model(ModelSection(base_model=str(small_folder)), form)
    assert {parameter.dtype for parameter in loaded.parameters()} == {getattr(torch, form)}
    expected = small_model.to(getattr(torch, form)).state_dict()
    assert all(torch.equal(weights, expected[name]) for name, weights in loaded.state_dict().items())


@pytest.mark.parametrize("key", ["load_in_4bit", "load_in_8bit"])
def test_a_quantised_model_computes_nearly_the_same(small_folder, small_model, key):
    ids = torch.arange(20)[None]
    with torch.no_grad():
        quantised = load(small_folder, **{key: True})(ids).logits.float()
        exact = small_model(ids).logits
    assert not torch.equal(quantised, exact)
    assert (quantised - exact).norm() < 0.3 * exact.norm()


@pytest.mark.parametrize("name", ["./missing", "/nowhere/missing", "~/missing"])
def test_a_missing_folder_is_said_to_be_missing(name):
    with pytest.raises(ModelError, match=f"`base_model: {name}`: no such folder"):
        load(name)


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="is a folder, but does not load as a model"):
        load(tmp_path)


def test_a_folder_without_weights_is_an_error(small_folder):
    (small_folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="is a folder, but does not load as a model"):
        load(small_folder)


def test_damaged_weights_are_an_error(small_folder):
    weights = small_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="is a folder, but does not load as a model"):
        load(small_folder)


def test_a_device_without_room_is_not_taken_for_a_missing_model(small_folder, monkeypatch):
    def full(*args, **settings):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", full)
    with pytest.raises(ModelError, match=r"needs more memory than the device has free; set `load_in_4bit: true`"):
        load(small_folder)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"type_of_model": "GPT2LMHeadModel"},
            r"`type_of_model: GPT2LMHeadModel` is for models of type gpt2, and `base_model: .*small` is llama; remove "
            "`type_of_model`, or set it to LlamaForCausalLM",
        ),
        (
            {"cls_model_config": "Qwen2Config"},
            r"`cls_model_config: Qwen2Config` is for models of type qwen2, and `base_model: .*small` is llama; remove",
        ),
        (
            {"model_quantization_config": "Mxfp4Config", "model_quantization_config_kwargs": {"dequantize": True}},
            r"with `dequantize: true`: the weights of .*small are not quantised; remove both keys",
        ),
    ],
)
def test_a_class_that_the_checkpoint_is_not_made_for_is_refused_with_the_cure(small_folder, keys, expected):
    with pytest.raises(ConfigError, match=expected):
        load(small_folder, **keys)


def test_missing_weights_are_an_error_and_tied_ones_are_not(small_folder, small_model):
    more = {"num_hidden_layers": small_model.config.num_hidden_layers + 1}
    with pytest.raises(
        ModelError, match=r"has no model.layers.\d.* and lacks 9 weights of LlamaForCausalLM in all; they"
    ):
        load(small_folder, overrides_of_model_config=more)
    load(small_folder, overrides_of_model_config=more, reinit_weights=True)


def test_the_key_at_fault_is_named(small_folder, tmp_path):
    with pytest.raises(
        ModelError, match=r"with `overrides_of_model_kwargs: \{foo: 1\}`: .*unexpected keyword .* 'foo'"
    ):
        load(small_folder, overrides_of_model_kwargs={"foo": 1})
    with pytest.raises(ModelError, match=r"^`base_model_config: ./none`: no such folder"):
        load(small_folder, base_model_config="./none")


@pytest.mark.slow
def test_a_model_of_the_hub_that_cannot_be_had_offline_is_one_error(tmp_path, write_config):
    config = write_config(tmp_path, base_model="no-such-owner/no-such-model")
    command = [sys.executable, "-m", "tunesmith.cli.train", str(config)]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(command, env=offline, capture_output=True, text=True, timeout=100)
    assert done.returncode == 4, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "no-such-owner/no-such-model" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("wanted", "hardware", "expected"),
    [
        (None, CPU, (DOCUMENTS, "each document by itself")),
        ("sdpa", CPU, (DOCUMENTS, "each document by itself")),
        ("eager", CPU, ("eager", "as set")),
        (None, GPU, ("sdpa", "the default")),
        ("sdpa", FLASH_GPU, ("sdpa", "as set")),
        (None, FLASH_GPU, ("flash_attention_2", "flash_attn is installed")),
        ("flash_attention_2", FLASH_GPU, ("flash_attention_2", "as set")),
    ],
)
def test_attention_follows_from_the_config_and_the_machine(wanted, hardware, expected):
    assert training_attention(ModelSection(base_model="x", attn_implementation=wanted), hardware) == expected


def test_attention_that_needs_a_gpu_is_replaced_on_a_cpu_and_the_reason_is_given():
    section = ModelSection(base_model="x", attn_implementation="flash_attention_2")
    name, why = training_attention(section, CPU)
    assert name == DOCUMENTS
    assert "in place of flash_attention_2, which needs a GPU; the same result" in why


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("flash_attention_2", "in place of flash_attention_2, which needs pip install flash-attn; the same result"),
        ("kernels-community/flash-attn3", "needs pip install kernels; the same result"),
        ("xformers", "in place of xformers, which is not in transformers; the same result"),
    ],
)
def test_attention_that_the_gpu_lacks_is_replaced_and_the_reason_is_given(wanted, reason):
    name, why = training_attention(ModelSection(base_model="x", attn_implementation=wanted), GPU)
    assert name == "sdpa"
    assert reason in why


IDS = torch.arange(20)[None]


def difference(one, other):
    with torch.no_grad():
        return (one(IDS).logits.float() - other(IDS).logits.float()).abs().max().item()


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_theta": 50.0}},
        {"rms_norm_eps": 0.1},
    ],
)
def test_settings_of_the_model_config_change_what_it_computes(small_folder, small_model, changes):
    loaded = load(small_folder, overrides_of_model_config=changes)
    assert difference(loaded, small_model) > 1e-3
    assert loaded.config.rope_parameters["rope_theta"] in (10000.0, 50.0)


def test_a_setting_that_the_model_config_lacks_is_an_error_with_the_nearest(small_folder):
    words = r"`overrides_of_model_config.rms_norm_ep`: LlamaConfig has no `rms_norm_ep`; did you mean `rms_norm_eps`"
    with pytest.raises(ConfigError, match=words):
        load(small_folder, overrides_of_model_config={"rms_norm_ep": 0.1})


def test_arguments_of_from_pretrained_are_passed_on(small_folder):
    assert load(small_folder, overrides_of_model_kwargs={"dtype": torch.float64}).dtype == torch.float64
    with pytest.raises(ModelError, match="unexpected keyword argument 'no_such'"):
        load(small_folder, overrides_of_model_kwargs={"no_such": 1})


def test_the_config_may_lie_elsewhere(small_folder, small_model, tmp_path):
    small_model.config.rms_norm_eps = 0.1
    small_model.config.save_pretrained(tmp_path / "other")
    assert load(small_folder, base_model_config=str(tmp_path / "other")).config.rms_norm_eps == 0.1
    assert load(small_folder, base_model_config=str(small_folder)).config.rms_norm_eps != 0.1


def test_classes_can_be_named(small_folder):
    for name in ("LlamaForCausalLM", "AutoModelForCausalLM"):
        named = load(small_folder, type_of_model=name, cls_model_config="LlamaConfig")
        assert type(named).__name__ == "LlamaForCausalLM"
    with pytest.raises(ConfigError, match="`type_of_model: LamaForCausalLM`: transformers has no such class; did you"):
        load(small_folder, type_of_model="LamaForCausalLM")


def test_random_weights_have_the_shape_of_the_model(small_folder, small_model):
    made = load(small_folder, reinit_weights=True)
    assert {name: weight.shape for name, weight in made.state_dict().items()} == {
        name: weight.shape for name, weight in small_model.state_dict().items()
    }
    assert difference(made, small_model) > 1e-3


def test_settings_of_bitsandbytes_change_the_quantisation(small_folder):
    usual = load(small_folder, load_in_4bit=True)
    other = load(small_folder, load_in_4bit=True, bnb_config_kwargs={"bnb_4bit_quant_type": "fp4"})
    assert difference(usual, other) > 1e-4
    assert other.config.quantization_config.bnb_4bit_use_double_quant


@pytest.fixture
def mixture(tmp_path):
    """A folder with a mixture of experts."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    shape = {"hidden_size": 64, "moe_intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = Qwen3MoeConfig(vocab_size=100, num_experts=4, num_experts_per_tok=2, **shape, **heads)
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "mixture")
    return tmp_path / "mixture"


@pytest.mark.parametrize("name", ["eager", "batched_mm", "grouped_mm"])
def test_the_code_of_experts_can_be_chosen(mixture, name):
    loaded = load(mixture, experts_implementation=name)
    assert loaded.config._experts_implementation == name
    assert difference(loaded, load(mixture)) < 1e-4


@pytest.mark.parametrize("dequantised", [True, False])
def test_revision_and_quantisation_reach_the_library(small_folder, small_model, monkeypatch, dequantised):
    """What they do there needs the Hub, and a GPU."""
    asked = {}

    def from_pretrained(name, **arguments):
        asked.update(arguments)
        return small_model, {"missing_keys": set()}

    config = json.loads((small_folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (small_folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", from_pretrained)
    quantised = {"model_quantization_config": "Mxfp4Config"}
    settings = {"model_quantization_config_kwargs": {"dequantize": True}} if dequantised else {}
    load(small_folder, revision_of_model="old", **quantised, **settings)
    assert asked["revision"] == "old"
    assert type(asked["quantization_config"]).__name__ == "Mxfp4Config"
    assert asked["quantization_config"].dequantize is dequantised


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_code_that_comes_with_a_model_runs_only_if_it_is_trusted(small_folder, monkeypatch, tmp_path):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (small_folder / "own.py").write_text(OWN_CODE)
    config = json.loads((small_folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (small_folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    with pytest.raises(ModelError, match="contains custom code which must be executed"):
        load(small_folder)
    assert type(load(small_folder, trust_remote_code=True)).__name__ == "OwnModel"


def test_gptq_weights_say_what_they_need_when_they_are_loaded(small_folder):
    with pytest.raises(ConfigError, match=r"`gptq: true`: .* is not quantized with GPTQ; remove `gptq`"):
        load(small_folder, gptq=True)
    file = small_folder / "config.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    for keys in ({}, {"gptq": True}):  # a file may leave the key out
        with pytest.raises(ModelError, match=r"is quantized with GPTQ: loading it needs .*pip install gptqmodel"):
            load(small_folder, **keys)
