"""Several devices: nothing changes in one process, FSDP splits for real, DeepSpeed's settings are checked."""

import json
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from tunesmith.config.load import load
from tunesmith.errors import ConfigError, ModelError
from tunesmith.hardware import Hardware
from tunesmith.training.arguments import plan_steps, training_arguments
from tunesmith.training.runtime.distribution import (
    deepspeed_faults,
    deepspeed_settings,
    distribution_arguments,
    fit_fsdp,
)

CPU = Hardware("cpu", 1, "a CPU", 2**30, bf16=True)
GPUS = Hardware("cuda", 8, "a GPU", 2**30, bf16=True)
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None, "optimizer": "adamw_torch"}
V1 = {
    "fsdp": ["full_shard", "auto_wrap"],
    "fsdp_config": {
        "fsdp_limit_all_gathers": True,
        "fsdp_sync_module_states": True,
        "fsdp_offload_params": True,
        "fsdp_use_orig_params": False,
        "fsdp_cpu_ram_efficient_loading": False,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
        "fsdp_state_dict_type": "FULL_STATE_DICT",
        "fsdp_sharding_strategy": "FULL_SHARD",
    },
}
V2 = {
    "fsdp_version": 2,
    "fsdp_config": {
        "offload_params": False,
        "cpu_ram_efficient_loading": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
        "state_dict_type": "SHARDED_STATE_DICT",
        "reshard_after_forward": False,
        "activation_checkpointing": True,
    },
}


@pytest.fixture
def decide(tmp_path, write_config, monkeypatch):
    """`decide(hardware, processes, **keys)` gives the arguments about several processes, and the decisions."""
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "")  # what is set over it is gone after the test

    def call(hardware, processes, **keys):
        return distribution_arguments(load(str(write_config(tmp_path, **(FULL | keys)))), hardware, processes)

    return call


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_config, train, losses):
    """Losses of a run without any key about several devices."""
    return losses(train(tiny_config(tmp_path_factory.mktemp("plain"), max_steps=3, **FULL)))


@pytest.mark.parametrize("keys", [V1, V2, {"deepspeed": "deepspeed_configs/zero2.json"}], ids=["v1", "v2", "deepspeed"])
def test_in_one_process_nothing_changes_and_that_is_said(plain, tmp_path, tiny_config, train, losses, capsys, keys):
    assert losses(train(tiny_config(tmp_path, max_steps=3, **FULL, **keys))) == plain
    name = "deepspeed" if "deepspeed" in keys else "fsdp"
    assert re.search(rf"{name} +off  \(one process; the model is whole on this device\)", capsys.readouterr().err)


def test_without_gpus_each_process_holds_the_model(decide):
    arguments, ((key, value, why),) = decide(CPU, 2, **V2, ddp_timeout=60)
    assert arguments == {"ddp_timeout": 60}
    assert (key, value) == ("fsdp", "off")
    assert "accelerate splits over GPUs only; each process holds the model, same result" in why


def test_both_forms_of_fsdp_become_version_2(decide):
    old, (told,) = decide(GPUS, 8, **V1)
    assert old == {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "reshard_after_forward": True,
            "cpu_offload": True,
            "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
        },
        "ddp_backend": "cuda:nccl,cpu:gloo",
    }
    assert told == (
        "fsdp",
        "over 8 GPUs",
        "version 2 in place of 1, which transformers no longer keeps up; same result",
    )
    new, (told,) = decide(GPUS, 8, **V2)
    assert new["fsdp_config"] == {
        "version": 2,
        "reshard_after_forward": False,
        "cpu_offload": False,
        "cpu_ram_efficient_loading": True,
        "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"],
        "state_dict_type": "SHARDED_STATE_DICT",
        "activation_checkpointing": True,
    }
    assert told.reason == "as set"


def test_what_is_split_and_the_version_reach_the_library(decide):
    by_size = {"auto_wrap_policy": "size_based_wrap", "min_num_params": 1000, "fsdp_version": 2}

    def plugin_of(block):
        arguments, (told,) = decide(GPUS, 2, fsdp_config=block)
        made = TrainingArguments(use_cpu=True, fsdp=arguments["fsdp"], fsdp_config=arguments["fsdp_config"])
        return made.fsdp_plugin_args, told.reason

    plugin, why = plugin_of(by_size)
    assert why == "as set"
    assert (plugin["auto_wrap_policy"], plugin["min_num_params"]) == ("SIZE_BASED_WRAP", 1000)
    plugin, why = plugin_of({"offload_params": False})
    assert why.startswith("version 2 in place of 1")
    assert plugin["auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"


@pytest.mark.parametrize(
    ("keys", "reshards"),
    [
        ({"fsdp": "full_shard auto_wrap offload"}, True),
        ({"fsdp": ["shard_grad_op"]}, False),
        ({"fsdp_config": {"sharding_strategy": "SHARD_GRAD_OP"}}, False),
        ({"fsdp_config": {"fsdp_reshard_after_forward": True}}, True),
        ({"fsdp": True}, True),
    ],
)
def test_the_strategy_says_whether_weights_are_freed(decide, keys, reshards):
    assert decide(GPUS, 2, **keys)[0]["fsdp_config"]["reshard_after_forward"] is reshards


@pytest.mark.parametrize(
    "keys", [{"fsdp": []}, {"fsdp": False}, {"fsdp": ["no_shard"]}, {"fsdp_version": 2}, {"fsdp_config": {}}]
)
def test_what_asks_for_no_splitting_is_off(decide, keys):
    assert decide(GPUS, 2, **keys) == ({}, [])


def test_copies_of_a_split_model(decide):
    mesh = decide(GPUS, 8, fsdp_config={"offload_params": False}, dp_replicate_size=2, dp_shard_size=4)[0]
    assert (mesh["parallelism_config"].dp_replicate_size, mesh["parallelism_config"].dp_shard_size) == (2, 4)
    with pytest.raises(ConfigError, match=r"`dp_replicate_size: 3` times `dp_shard_size: 2` must be .* 8"):
        decide(GPUS, 8, fsdp=["full_shard"], dp_replicate_size=3)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"optimizer": "adamw_bnb_8bit"}, "`optimizer: adamw_bnb_8bit` does not go with FSDP"),
        ({"optimizer": "paged_adamw_32bit"}, "`optimizer: paged_adamw_32bit` does not go with FSDP"),
        (
            {"adapter": "qlora", "load_in_4bit": True, "lora_r": 8, "lora_target_linear": True},
            "FSDP does not split quantised weights here; remove `fsdp` and `fsdp_config`",
        ),
        (
            {"gradient_checkpointing": True, "fsdp_config": {"activation_checkpointing": True}},
            "`gradient_checkpointing: true` and `fsdp_config.activation_checkpointing: true`: use only one",
        ),
    ],
)
def test_what_fsdp_does_not_go_with_is_refused_on_several_gpus_alone(decide, keys, expected):
    with pytest.raises(ConfigError) as caught:
        decide(GPUS, 2, **({"fsdp": ["full_shard"]} | keys))
    assert expected in str(caught.value)
    assert decide(GPUS, 1, **({"fsdp": ["full_shard"]} | keys))[0] == {}


def test_the_ddp_keys_reach_the_trainer(tmp_path, write_config, decide):
    keys = {"ddp_timeout": 77, "ddp_bucket_cap_mb": 5, "ddp_broadcast_buffers": False}
    keys["average_tokens_across_devices"] = False
    arguments, _ = decide(CPU, 2, **keys)
    config = load(str(write_config(tmp_path, **FULL)))
    from tunesmith.modeling.precision import choose_precision

    made = training_arguments(
        config.training,
        plan_steps(config.training, 4, 2),
        choose_precision(config.model, CPU),
        CPU,
        has_eval=False,
        others=arguments,
    )
    assert (made.ddp_timeout, made.ddp_bucket_cap_mb, made.ddp_broadcast_buffers) == (77, 5, False)
    assert made.average_tokens_across_devices is False


def test_a_class_of_layers_that_the_model_lacks_is_named():
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=64, intermediate_size=8, num_hidden_layers=1))

    def fit(name):
        config = {"transformer_layer_cls_to_wrap": [name]}
        fit_fsdp(SimpleNamespace(bf16=False, fp16=False, fsdp_config=config), model)

    fit("LlamaDecoderLayer")
    with pytest.raises(ModelError, match=r"`transformer_layer_cls_to_wrap: QwenLayer`.*it has LlamaDecoderLayer"):
        fit("QwenLayer")


def test_the_loss_is_not_rounded_to_the_format_of_the_weights():
    import torch

    arguments = SimpleNamespace(bf16=True, fp16=False, fsdp_config={}, fsdp_plugin_args={})
    fit_fsdp(arguments, torch.nn.Linear(1, 1))
    policy = arguments.fsdp_plugin_args["mixed_precision_policy"]
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (torch.bfloat16, torch.float32, None)


def test_deepspeed_settings_come_from_the_file_or_from_a_file_of_json(tmp_path):
    settings = {"zero_optimization": {"stage": 2}}
    assert deepspeed_settings(settings, "config.yml") is settings
    (tmp_path / "zero2.json").write_text(json.dumps(settings))
    assert deepspeed_settings("zero2.json", str(tmp_path / "config.yml")) == settings
    (tmp_path / "zero2.json").write_text("[")
    with pytest.raises(ConfigError, match=r"`deepspeed: zero2.json` is not JSON"):
        deepspeed_settings("zero2.json", str(tmp_path / "config.yml"))


def test_deepspeed_settings_reach_the_trainer_on_several_gpus(decide, monkeypatch):
    settings = {"zero_optimization": {"stage": 2}}
    found = ModuleType("deepspeed")
    found.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "deepspeed", found)
    arguments, decisions = decide(GPUS, 2, deepspeed=settings)
    assert (arguments, decisions) == ({"deepspeed": settings}, [("deepspeed", "ZeRO 2", "2 GPUs")])


def test_a_file_of_deepspeed_is_needed_only_on_several_gpus(decide):
    assert decide(GPUS, 1, deepspeed="deepspeed_configs/zero3_bf16.json")[1][0][:2] == ("deepspeed", "off")
    with pytest.raises(ConfigError, match=r"no such file; get one by `tunesmith examples copy`, or write the settings"):
        decide(GPUS, 2, deepspeed="deepspeed_configs/zero3_bf16.json")


def test_deepspeed_must_say_what_the_file_says(tmp_path, write_config):
    keys = FULL | {"micro_batch_size": 2, "gradient_accumulation_steps": 4}
    training = load(str(write_config(tmp_path, **keys))).training
    auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_clipping"), "auto")
    assert not list(deepspeed_faults(auto, training, 2))
    assert not list(deepspeed_faults({"train_batch_size": 16, "gradient_clipping": 1.0}, training, 2))
    other = {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 1, "gradient_clipping": 0.5, "optimizer": {}}
    assert list(deepspeed_faults(other, training, 2)) == [
        "`deepspeed` sets train_micro_batch_size_per_gpu to 1, but `micro_batch_size` is 2; set it to auto there",
        "`deepspeed` sets train_batch_size to 8, but `rows in a step` is 16; set it to auto there",
        "`deepspeed` sets gradient_clipping to 0.5, but `max_grad_norm` is 1.0; set it to auto there",
        "`deepspeed` has a block optimizer; remove it there, `optimizer` of this file decides",
    ]


@pytest.mark.slow
def test_a_split_model_trains_evaluates_saves_and_goes_on_as_a_whole_one(tmp_path, tiny_config, train, metrics):
    """Two processes over gloo, each with half of the weights; accelerate itself splits over GPUs alone."""
    import subprocess
    from pathlib import Path

    from safetensors.torch import load_file

    keys = FULL | {"num_epochs": 2, "val_set_size": 4, "evals_per_epoch": 1}
    split = {"fsdp_config": {"state_dict_type": "SHARDED_STATE_DICT", "cpu_ram_efficient_loading": True}}

    def run(config, *arguments):
        launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2")
        script = Path(__file__).with_name("fsdp_on_cpu.py")
        done = subprocess.run([*launcher, script, config, *arguments], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stderr

    train(tiny_config(tmp_path / "whole", **keys, micro_batch_size=2))
    config = tiny_config(tmp_path / "split", **keys, **split)
    assert re.search("fsdp +over 2 GPUs", run(config))
    whole, parts = metrics(tmp_path / "whole/out"), metrics(tmp_path / "split/out")
    for key in ("loss", "eval_loss", "eval_tokens"):
        assert [entry.get(key) for entry in parts] == [pytest.approx(entry.get(key), abs=1e-3) for entry in whole]

    output = tmp_path / "split/out"
    first, last = sorted(output.glob("checkpoint-*"))
    assert len(list((first / "pytorch_model_fsdp_0").glob("*.distcp"))) == 2
    weights = load_file(output / "model.safetensors")
    assert weights.keys() == load_file(tmp_path / "whole/out/model.safetensors").keys()
    (output / "model.safetensors").unlink()
    last.rename(tmp_path / "put-aside")
    run(config, "--resume")
    again = load_file(output / "model.safetensors")
    assert all((again[name] == weights[name]).all() for name in weights)


def test_layers_are_shared_by_no_processes(decide):
    keys = {"context_parallel_size": 2, "tensor_parallel_size": 4, "expert_parallel_size": 2}
    arguments, decisions = decide(GPUS, 1, **keys)
    assert arguments == {}
    assert [(item.key, item.value) for item in decisions] == [(key, "off") for key in keys]
    for key, value in keys.items():
        with pytest.raises(ConfigError, match=f"`{key}: {value}` over 8 processes is not supported"):
            decide(GPUS, 8, **{key: value})
