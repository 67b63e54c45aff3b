"""Kernels and compilation: what the Trainer is told on a GPU, and what the user is told where it is not to be had."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch

from tunesmith.hardware import Hardware
from tunesmith.sections import ModelSection, TrainingSection
from tunesmith.training.runtime.kernels import kernel_arguments, spare_checkpointing

CPU = Hardware(kind="cpu", count=1, name="fake", memory=2**34, bf16=True)
GPU = Hardware(kind="cuda", count=1, name="fake", memory=2**36, bf16=True)
LIGER = "axolotl.integrations.liger.LigerPlugin"
CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
KERNELS = "axolotl.integrations.kernels.KernelsPlugin"


@pytest.fixture
def with_liger(monkeypatch):
    """A machine that has the package."""
    found = ModuleType("liger_kernel")
    found.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "liger_kernel", found)


def asked(hardware, **keys):
    return kernel_arguments(ModelSection(base_model="x", **keys), hardware)


def test_nothing_is_decided_where_nothing_is_asked():
    assert asked(GPU) == ({}, [])


@pytest.mark.usefixtures("with_liger")
def test_liger_is_switched_on_part_by_part():
    arguments, (decision,) = asked(GPU, plugins=[LIGER], liger_rope=True, liger_glu_activation=True)
    assert arguments["use_liger_kernel"]
    on = {name for name, value in arguments["liger_kernel_config"].items() if value}
    assert on == {"rope", "swiglu", "geglu"}
    assert decision.value == "liger_rope, liger_glu_activation"


@pytest.mark.usefixtures("with_liger")
@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("liger_rope", {"rope"}),
        ("liger_rms_norm", {"rms_norm"}),
        ("liger_layer_norm", {"layer_norm"}),
        ("liger_glu_activation", {"swiglu", "geglu"}),
        ("liger_cross_entropy", {"cross_entropy"}),
        ("liger_fused_linear_cross_entropy", {"fused_linear_cross_entropy"}),
    ],
)
def test_each_part_of_liger_has_a_key_and_needs_the_plugin(key, parts):
    on = asked(GPU, plugins=[LIGER], **{key: True})[0]["liger_kernel_config"]
    assert {name for name, value in on.items() if value} == parts
    assert asked(GPU, plugins=[LIGER])[0] == asked(GPU, **{key: True})[0] == {}


@pytest.mark.usefixtures("with_liger")
@pytest.mark.parametrize(("keys", "on"), [({}, True), ({"cut_cross_entropy": False}, False)])
def test_cut_cross_entropy_is_done_by_ligers_kernel(keys, on):
    arguments, _ = asked(GPU, plugins=[CUT], **keys)
    assert arguments.get("liger_kernel_config", {}).get("fused_linear_cross_entropy", False) is on


@pytest.mark.parametrize("hardware", [CPU, GPU])
@pytest.mark.parametrize("plugins", [[LIGER], [CUT], [LIGER, CUT, KERNELS]])
def test_where_they_are_not_to_be_had_it_is_said(hardware, plugins):
    arguments, (decision,) = asked(hardware, plugins=plugins, liger_rope=True)
    assert arguments == {}
    assert decision.value == "plain code"
    assert decision.reason.endswith("needs an NVIDIA GPU and liger-kernel; speed and memory only, the same result")


def test_kernels_for_experts_are_replaced_and_it_is_said():
    arguments, (decision,) = asked(CPU, experts_implementation="scattermoe")
    assert arguments == {}
    assert decision.reason == "in place of scattermoe, a kernel for some GPUs; the same result"


def test_flags_without_their_plugin_do_nothing():
    assert asked(CPU, liger_rope=True) == ({}, [])


def test_compilation_is_for_gpus_and_rows_of_one_length():
    settings = {"torch_compile_backend": "inductor", "torch_compile_mode": "max-autotune"}
    assert asked(GPU, torch_compile=True, **settings)[0] == {"torch_compile": True, **settings}
    for hardware, value, reason in ((CPU, True, "on a cpu it gains nothing"), (GPU, "auto", "rows differ in length")):
        arguments, (decision,) = asked(hardware, torch_compile=value)
        assert arguments == {}
        assert reason in decision.reason


TOKENS = 1000
MODEL = torch.nn.Sequential(torch.nn.Linear(100, 300), torch.nn.ReLU(), torch.nn.Linear(300, 100))
KEPT = (400 + 400) * TOKENS * 4
"""Bytes of what goes into and out of the linear layers in fp32."""


@pytest.mark.parametrize(
    ("hardware", "spared"),
    [
        (CPU, True),
        (replace(CPU, memory=4 * KEPT), True),
        (replace(CPU, memory=4 * KEPT - 4), False),
        (replace(GPU, memory=CPU.memory), False),
    ],
)
def test_checkpointing_is_spared_where_a_cpu_has_the_memory(hardware, spared):
    given = TrainingSection(learning_rate=1e-4, gradient_checkpointing=True)
    training, decisions = spare_checkpointing(MODEL, given, TOKENS, hardware)
    assert training == given.model_copy(update={"gradient_checkpointing": not spared})
    assert [(item.key, item.value) for item in decisions] == [("gradient_checkpointing", "off")] * spared
    assert all(item.reason.startswith("what it saves, at most 0.0 GiB, fits; the same result") for item in decisions)


def test_without_checkpointing_there_is_nothing_to_spare():
    given = TrainingSection(learning_rate=1e-4)
    assert spare_checkpointing(MODEL, given, TOKENS, CPU) == (given, [])
