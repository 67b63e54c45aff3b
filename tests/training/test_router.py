"""The load-balancing loss is that of the model, for a batch and for a step of several batches."""

import pytest
import torch
from transformers import DogeConfig, GraniteMoeConfig, JetMoeConfig, MixtralConfig, Qwen3MoeConfig
from transformers.models.auto import AutoModelForCausalLM

from tunesmith.data.types import MASKED
from tunesmith.errors import ConfigError
from tunesmith.training.losses import TokenLoss
from tunesmith.training.router import RouterLoss, adds_router_loss

SHAPE = {"vocab_size": 99, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_key_value_heads": 2}
ROUTER = SHAPE | {"output_router_logits": True, "num_experts_per_tok": 2}
HEADS = ROUTER | {"num_attention_heads": 4}
MODELS = {
    "mixtral": MixtralConfig(**HEADS, num_local_experts=4),
    "qwen3_moe": Qwen3MoeConfig(**HEADS, num_experts=4, head_dim=16, moe_intermediate_size=32),
    "granitemoe": GraniteMoeConfig(**HEADS, num_local_experts=4),
    "jetmoe": JetMoeConfig(**ROUTER, num_local_experts=4, kv_channels=16),
}


def make_model(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def make_batch(*ids):
    return {"input_ids": torch.tensor([ids]), "shift_labels": torch.tensor([ids]), "use_cache": False}


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_of_a_step_add_up_to_the_loss_of_one_batch(name):
    model = make_model(MODELS[name])
    assert adds_router_loss(model)
    loss = RouterLoss(model, lambda *_: torch.zeros(()))  # without the loss of tokens
    batches = [make_batch(3, 4, 5, 6, 7, 8, 9), make_batch(60, 61)]
    outputs = [model(**batch) for batch in batches]
    targets = [batch["shift_labels"] for batch in batches]
    alone = loss(outputs[0], targets[0]).item()
    assert alone == pytest.approx(loss.coefficient * outputs[0].aux_loss.item(), rel=1e-3)
    assert loss(outputs[0], torch.full((1, 7), MASKED)) == 0  # what trains nothing does not count
    loss.counts = loss.measure(model, batches)
    routed = loss.counts[-1]
    assert routed % (2 * 9) == 0  # tokens of both layers; JetMoE also routes in its attention
    assert loss.counts[:-1].sum() == 2 * routed
    probs = sum(logits.softmax(-1).sum(0) for output in outputs for logits in output.router_logits)
    whole = loss.coefficient * 4 * (loss.counts[:-1] / routed * probs / routed).sum().item()
    parts = sum(loss(output, target).item() for output, target in zip(outputs, targets, strict=True))
    assert parts == pytest.approx(whole, rel=1e-5)
    assert parts != pytest.approx((alone * 7 + outputs[1].aux_loss.item() * loss.coefficient * 2) / 9, rel=1e-4)


def test_a_model_with_another_loss_is_refused_with_the_key_to_set():
    model = make_model(DogeConfig(**HEADS | {"num_experts": 16, "num_experts_per_tok": 4}, is_moe=True))
    with pytest.raises(ConfigError, match=r"DogeForCausalLM .*output_router_logits: false"):
        RouterLoss(model, TokenLoss()).count(model(**make_batch(3, 4, 5)))
