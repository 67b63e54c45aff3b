"""The optimizer that a run really has: its method, its groups of weights, their learning rates, and its steps."""

import copy
import importlib.metadata

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.config.methods import OPTIMIZERS
from tunesmith.errors import ConfigError
from tunesmith.hardware import Hardware
from tunesmith.modeling.precision import Precision
from tunesmith.sections import TrainingSection
from tunesmith.training.arguments import Schedule, training_arguments
from tunesmith.training.optim.optimizers import choose_optimizer, for_this_machine
from tunesmith.training.trainer import TokenMeanTrainer

PLAIN = Hardware(kind="cpu", count=1, name="CPU", memory=2**34, bf16=True)
CPU = Hardware(kind="cpu", count=1, name="CPU", memory=2**34, bf16=True, quantised_optimizer=True)
GPU = Hardware(kind="cuda", count=1, name="GPU", memory=2**36, bf16=True, quantised_optimizer=True)
FP32 = Precision("float32", "float32", "float32", "")
RATE = 1e-2
ELSEWHERE = {"torchao", "torch_xla", "torch_npu"}
"""Packages whose optimizers are not for a CPU."""


def section(**keys):
    return TrainingSection(**({"learning_rate": RATE, "output_dir": "out"} | keys))


def tiny(**lora):
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=80, tie_word_embeddings=False, **sizes))
    return get_peft_model(model, LoraConfig(r=4, **lora)) if lora else model


def built(tmp_path, model=None, hardware=CPU, **keys):
    """Return a trainer with its optimizer and schedule, as a run has them."""
    training, _ = for_this_machine(section(output_dir=str(tmp_path), warmup_steps=0, **keys), hardware)
    arguments = training_arguments(training, Schedule(10, 10, 1), FP32, hardware, has_eval=False)
    trainer = TokenMeanTrainer(model=model or tiny(), args=arguments, training=training)
    trainer.create_optimizer_and_scheduler(10)
    return trainer


def step(trainer, seed=1):
    """Do a step with the same random gradients, and return the weights by name."""
    generator = torch.Generator().manual_seed(seed)
    for weight in trainer.model.parameters():
        if weight.requires_grad:
            weight.grad = torch.randn(weight.shape, generator=generator)
    trainer.optimizer.step()
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def per_weight(trainer, what="lr"):
    """Return a setting of the groups by the name of the weight."""
    names = {weight: name for name, weight in trainer.model.named_parameters()}
    return {names[weight]: group[what] for group in trainer.optimizer.param_groups for weight in group["params"]}


@pytest.mark.parametrize("name", ["adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit"])
def test_an_8_bit_adamw_is_replaced_where_bitsandbytes_is_missing_and_the_reason_is_given(name):
    optimizer, why = choose_optimizer(name, PLAIN)
    assert optimizer == "adamw_torch"
    assert name in why
    assert "the same method, in full precision" in why


@pytest.mark.parametrize(
    ("name", "hardware", "expected"),
    [
        ("adamw_8bit", GPU, "adamw_8bit"),
        ("paged_adamw_8bit", GPU, "paged_adamw_8bit"),
        ("lion_8bit", GPU, "lion_8bit"),
        ("adamw_bnb_8bit", CPU, "adamw_8bit"),
        ("paged_adamw_8bit", CPU, "adamw_8bit"),
        ("paged_adamw_32bit", CPU, "adamw_torch"),
        ("paged_lion_32bit", CPU, "lion_32bit"),
        ("paged_ademamix_32bit", CPU, "ademamix"),
        ("adamw_torch_8bit", CPU, "adamw_torch"),
        ("ao_adamw_4bit", CPU, "adamw_torch"),
        ("ao_adamw_fp8", CPU, "adamw_torch"),
        ("adamw_torch_xla", CPU, "adamw_torch"),
        ("adamw_hf", CPU, "adamw_torch"),
    ],
)
def test_a_name_stands_for_what_the_machine_has(name, hardware, expected):
    optimizer, why = choose_optimizer(name, hardware)
    assert optimizer == expected
    assert (name in why) == (name != expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lion_8bit", r"`optimizer: lion_8bit` needs bitsandbytes: pip install 'tunesmith\[qlora\]', or set "),
        ("rmsprop_bnb_8bit", "`optimizer: rmsprop_bnb_8bit` needs bitsandbytes"),
    ],
)
def test_an_optimizer_of_another_method_is_not_replaced_silently(name, expected):
    with pytest.raises(ConfigError, match=expected):
        choose_optimizer(name, PLAIN)


def lacking(package):
    try:
        importlib.metadata.version(package or "torch")
    except importlib.metadata.PackageNotFoundError:
        return True
    return package in ELSEWHERE


@pytest.mark.parametrize("name", [name for name, package in OPTIMIZERS.items() if package not in ELSEWHERE])
def test_every_optimizer_steps_or_names_the_package_to_install(tmp_path, name):
    keys = {"optimizer": name, "optim_target_modules": "all_linear"}
    if lacking(OPTIMIZERS[name]):
        with pytest.raises(ConfigError, match=f"needs {OPTIMIZERS[name]}: pip install {OPTIMIZERS[name]}, or set"):
            built(tmp_path, **keys)
        return
    trainer = built(tmp_path, **keys)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    if name.startswith("schedule_free"):
        trainer.optimizer.train()
    for _ in range(6):  # ADOPT and RAdam only measure in their first steps
        after = step(trainer)
    assert all(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("name", ["adamw_8bit", "lion_8bit", "ademamix_8bit", "rmsprop_bnb_8bit"])
def test_an_8_bit_optimizer_has_a_state_of_8_bits_on_a_cpu(tmp_path, name):
    trainer = built(tmp_path, optimizer=name)
    step(trainer)
    weight = trainer.model.model.layers[0].mlp.up_proj.weight
    assert trainer.optimizer.state[weight]["state1"].dtype == torch.uint8


def test_weight_decay_leaves_out_norms(tmp_path):
    decayed = {name for name, value in per_weight(built(tmp_path, weight_decay=0.1), "weight_decay").items() if value}
    assert "model.layers.0.mlp.up_proj.weight" in decayed
    assert not any("norm" in name for name in decayed)


def test_learning_rates_of_embeddings_and_head(tmp_path):
    for keys in ({"embedding_lr": 3e-4}, {"embedding_lr_scale": 0.03}):
        found = per_weight(built(tmp_path, weight_decay=0.1, **keys))
        apart = {name for name, rate in found.items() if rate == pytest.approx(3e-4)}
        assert apart == {"model.embed_tokens.weight", "lm_head.weight"}
        assert {rate for name, rate in found.items() if name not in apart} == {RATE}


def test_groups_of_weights_with_a_learning_rate_of_their_own(tmp_path):
    groups = [
        {"name": "queries", "modules": ["q_proj", "layers.0.mlp"], "lr": 1e-5},
        {"name": "norms", "modules": ["norm"], "lr": 1e-6},
        {"name": "never", "modules": ["layers.0"], "lr": 1e-7},
    ]
    trainer = built(tmp_path, weight_decay=0.1, lr_groups=groups, embedding_lr=1e-4)
    found = per_weight(trainer)
    assert found["model.layers.1.self_attn.q_proj.weight"] == found["model.layers.0.mlp.up_proj.weight"] == 1e-5
    assert found["model.norm.weight"] == found["model.layers.0.input_layernorm.weight"] == 1e-6
    assert found["model.layers.0.self_attn.k_proj.weight"] == 1e-7
    assert found["model.layers.1.self_attn.k_proj.weight"] == RATE
    assert found["lm_head.weight"] == 1e-4
    assert set(found) == {name for name, _ in trainer.model.named_parameters()}
    assert per_weight(trainer, "weight_decay")["model.norm.weight"] == 0
    assert trainer.lr_scheduler.get_last_lr()[0] == RATE, "the rate that the log shows"


def test_a_weight_of_another_learning_rate_moves_as_far_as_that_says(tmp_path):
    model = tiny()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    after = step(built(tmp_path, model, embedding_lr_scale=0.1))
    moved = {name: (after[name] - before[name]).abs().mean().item() for name in before}
    assert moved["model.embed_tokens.weight"] == pytest.approx(RATE / 10, rel=0.01)
    assert moved["model.layers.0.mlp.up_proj.weight"] == pytest.approx(RATE, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_8bit", "muon"])
def test_loraplus_has_the_learning_rates_of_peft(tmp_path, optimizer):
    model = tiny(target_modules=["q_proj", "embed_tokens"])
    keys = {"loraplus_lr_ratio": 16, "loraplus_lr_embedding": 1e-5}
    found = per_weight(built(tmp_path, model, optimizer=optimizer, **keys))
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=RATE, **keys)
    names = {weight: name for name, weight in model.named_parameters()}
    expected = {names[weight]: group["lr"] for group in theirs.param_groups for weight in group["params"]}
    assert found == expected
    assert set(found.values()) == {RATE, RATE * 16, 1e-5}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"embedding_lr": 1e-5}, "`embedding_lr` sets the learning rate of weights of which none is trained"),
        (
            {"lr_groups": [{"name": "typo", "modules": ["qproj"], "lr": 1e-5}]},
            "`lr_groups: typo` sets the learning rate of weights of which none is trained",
        ),
    ],
)
def test_a_learning_rate_for_nothing_is_refused(tmp_path, keys, expected):
    with pytest.raises(ConfigError, match=expected):
        built(tmp_path, tiny(target_modules=["q_proj"]), **keys)


@pytest.mark.parametrize("given", [{"amsgrad": True}, "amsgrad=True"])
def test_further_arguments_reach_adamw(tmp_path, given):
    assert built(tmp_path, optim_args=given).optimizer.param_groups[0]["amsgrad"] is True


@pytest.mark.parametrize(
    ("optimizer", "given", "what", "expected"),
    [
        ("sgd", "momentum=0.9,nesterov=true", "momentum", 0.9),
        ("adamw_8bit", {"min_8bit_size": 16}, "lr", RATE),
        ("ademamix", "alpha=2.5", "alpha", 2.5),
        ("adafactor", {"clip_threshold": 0.5}, "clip_threshold", 0.5),
        ("muon", {"momentum": 0.8}, "momentum", 0.8),
    ],
)
def test_further_arguments_reach_the_optimizer(tmp_path, optimizer, given, what, expected):
    assert built(tmp_path, optimizer=optimizer, optim_args=given).optimizer.param_groups[0][what] == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"optim_args": {"nestrov": True}},
            r"`optimizer: adamw_torch` and `optim_args: .*nestrov.*` do not go together: ",
        ),
        ({"optim_args": {"betas": 2}}, "`optimizer: adamw_torch` and `optim_args: "),
        (
            {"lr_scheduler_kwargs": {"cycles": 2}},
            "`lr_scheduler: cosine` and `lr_scheduler_kwargs: .*cycles.*` do not go together: ",
        ),
        ({"lr_scheduler": "warmup_stable_decay"}, "`lr_scheduler: warmup_stable_decay` and `lr_scheduler_kwargs: {}`"),
        ({"lr_scheduler": "rex", "lr_scheduler_kwargs": {"a": 1}}, "`lr_scheduler: rex` and `lr_scheduler_kwargs: "),
    ],
)
def test_arguments_at_fault_are_named_before_anything_slow(keys, expected):
    with pytest.raises(ConfigError, match=expected):
        for_this_machine(section(**keys), CPU)


def test_muon_turns_matrices_and_leaves_the_rest_to_adamw(tmp_path):
    model, other = tiny(), tiny()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    keys = {"weight_decay": 0.1, "adam_beta1": 0.8, "adam_beta2": 0.9}
    after = step(built(tmp_path, model, optimizer="muon", **keys))
    adamw = step(built(tmp_path, other, **keys))
    same = {name for name in after if torch.allclose(after[name], adamw[name], atol=1e-6)}
    assert same == {name for name in after if "norm" in name or name in ("model.embed_tokens.weight", "lm_head.weight")}
    name = "model.layers.0.self_attn.q_proj.weight"
    turned = (before[name] * (1 - RATE * 0.1) - after[name]) / (RATE * 0.2 * 64**0.5)
    singular = torch.linalg.svdvals(turned)
    assert 0.6 < singular.median() < singular.max() < 1.3, "Newton and Schulz's steps come near to a rotation"


@pytest.mark.parametrize("optimizer", ["muon", "adamw_8bit", "sgd"])
def test_an_optimizer_goes_on_from_its_saved_state(tmp_path, optimizer):
    keys = {"optimizer": optimizer, "embedding_lr": 1e-3}
    whole = built(tmp_path, **keys)
    step(whole, 1)
    saved, weights = copy.deepcopy(whole.optimizer.state_dict()), copy.deepcopy(whole.model.state_dict())
    again = built(tmp_path, **keys)
    again.model.load_state_dict(weights)
    again.optimizer.load_state_dict(saved)
    expected, found = step(whole, 2), step(again, 2)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.optional
def test_came_has_its_own_keys(tmp_path):
    pytest.importorskip("came_pytorch")
    group = built(tmp_path, optimizer="came_pytorch", adam_beta3=0.99, adam_epsilon2=1e-12).optimizer.param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.9, 0.999, 0.99), (1e-30, 1e-12))


@pytest.mark.optional
def test_galore_projects_the_named_modules(tmp_path):
    pytest.importorskip("galore_torch")
    keys = {"optim_target_modules": ["q_proj"], "optim_args": {"rank": 3}, "weight_decay": 0.1, "adam_beta1": 0.8}
    rest, projected = built(tmp_path, optimizer="galore_adamw", **keys).optimizer.param_groups
    assert [weight.shape for weight in projected["params"]] == [(64, 64)] * 2
    assert (projected["rank"], rest["weight_decay"], rest["betas"]) == (3, 0.1, (0.8, 0.999))


@pytest.mark.optional
@pytest.mark.parametrize("optimizer", ["optimi_adamw", "lion_pytorch", "adopt_adamw"])
def test_a_foreign_optimizer_has_the_keys_of_the_file_and_its_own_defaults_for_the_rest(tmp_path, optimizer):
    if lacking(OPTIMIZERS[optimizer]):
        pytest.skip(f"{OPTIMIZERS[optimizer]} is not installed")
    own = built(tmp_path, optimizer=optimizer).optimizer.param_groups[0]
    given = built(tmp_path, optimizer=optimizer, adam_beta1=0.7, weight_decay=0.1).optimizer.param_groups[0]
    own_betas, betas = (tuple(g["betas"]) if "betas" in g else (g["beta1"], g["beta2"]) for g in (own, given))
    assert own_betas != (0.9, 0.999)
    assert betas == (0.7, 0.999)
    assert (own["weight_decay"], given["weight_decay"]) == (0, 0.1)
