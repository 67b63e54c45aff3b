"""Which number formats are chosen on which machine."""

import pytest

from tunesmith.hardware import Hardware, detect
from tunesmith.modeling.precision import choose_precision
from tunesmith.sections import ModelSection


def machine(kind="cpu", *, bf16=True):
    return Hardware(kind=kind, count=1, name="fake", memory=2**34, bf16=bf16)


def choose(hardware, **keys):
    return choose_precision(ModelSection(base_model="x", **keys), hardware)


@pytest.mark.parametrize(
    ("keys", "hardware", "formats", "reason"),
    [
        ({}, machine(), ("bfloat16", "bfloat16", "float32"), "bf16: auto, and this cpu computes in it"),
        ({}, machine(bf16=False), ("float32", "float32", "float32"), "bf16: auto, and this cpu has no bf16"),
        ({}, machine("cuda"), ("bfloat16", "bfloat16", "float32"), "bf16: auto, and this cuda computes in it"),
        ({"bf16": True}, machine(), ("bfloat16", "bfloat16", "float32"), "bf16: true"),
        ({"bf16": "full"}, machine(), ("bfloat16", "bfloat16", "bfloat16"), "bf16: full"),
        ({"bf16": False}, machine(), ("float32", "float32", "float32"), "bf16: false"),
        ({"fp16": True}, machine("cuda", bf16=False), ("float16", "float16", "float32"), "fp16: true"),
        ({"float16": True}, machine("cuda"), ("float16", "float16", "float16"), "float16: true"),
    ],
)
def test_formats_follow_from_the_config_and_the_machine(keys, hardware, formats, reason):
    chosen = choose(hardware, **keys)
    assert (chosen.compute, chosen.frozen, chosen.trained) == formats
    assert chosen.reason == reason


def test_bf16_that_is_only_emulated_is_said_to_be_slow():
    assert "only emulates it, slowly; set bf16: auto" in choose(machine(bf16=False), bf16=True).reason


@pytest.mark.parametrize("key", ["fp16", "float16"])
def test_without_a_gpu_float16_becomes_float32(key):
    chosen = choose(machine(), **{key: True})
    assert (chosen.compute, chosen.frozen, chosen.trained) == ("float32", "float32", "float32")
    assert chosen.reason == f"{key}: true needs a GPU; fp32 in its place rounds less"


def test_this_machine_is_described():
    hardware = detect()
    assert hardware.kind in {"cpu", "cuda", "mps"}
    assert hardware.memory > 2**28
    assert hardware.name in str(hardware)


@pytest.mark.parametrize(
    ("kind", "tf32", "expected"), [("cuda", True, True), ("cuda", "auto", None), ("cpu", True, None)]
)
def test_tf32_is_set_on_nvidia_gpus_only(kind, tf32, expected):
    hardware = Hardware(kind=kind, count=1, name="x", memory=2**30, bf16=True)
    assert choose_precision(ModelSection(base_model="x", tf32=tf32), hardware).tf32 is expected
