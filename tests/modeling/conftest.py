"""A small model of the same architecture as the built-in one, for what does not depend on trained weights."""

import os

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: see tests/training/conftest.py

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture
def small_model():
    """A two-layer Llama with random weights."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=100, **shape, num_attention_heads=4, num_key_value_heads=2))
