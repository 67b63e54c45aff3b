"""Loss and gradient of a step do not depend on how its rows are cut into batches, for all that is in the loss."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tunesmith.data.types import MASKED, Example
from tunesmith.training.collate import FlatCollator
from tunesmith.training.noise import EmbeddingNoise, document_lengths

CUTS = {"8x1": (8, 1), "1x8": (1, 8), "2+2+1": (2, 3)}
"""Name -> micro_batch_size and gradient_accumulation_steps of a step over five rows."""
PROCESSES = "two processes"
KINDS = {
    "sft": {},
    "sft packed": {"sample_packing": True, "sequence_len": 24},
    "sft eaft": {"use_eaft": True},
    "sft router": {},
    "eaft router": {"use_eaft": True},
    "dpo": {"rl": "dpo"},
    "dpo with sft": {"rl": "dpo", "dpo_loss_type": ["sigmoid", "sft"], "dpo_use_weighting": True},
    "ipo": {"rl": "ipo"},
    "simpo": {"rl": "simpo", "cpo_alpha": 0.5},
    "orpo": {"rl": "orpo"},
    "kto": {"rl": "kto", "rl_beta": 0.5},
}
"""Name -> keys: each objective, and what can be added to its loss."""
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}
WORDS = ["one", "two three", "four five six seven", "eight nine ten eleven twelve thirteen", "x"]
TEXTS = [{"text": f"Count: {words}, and so on."} for words in WORDS]
PAIRS = [{"prompt": f"Say {words}.", "chosen": f" {words}", "rejected": f" No, {words[::-1]}"} for words in WORDS]
JUDGED = [
    {"prompt": pair["prompt"], "completion": pair["chosen"], "label": index % 2 == 0}
    for index, pair in enumerate(PAIRS)
]


@pytest.fixture(scope="module")
def tiny_experts(tmp_path_factory, tokenizer):
    """A folder with a tiny mixture of experts whose load-balancing loss is in the loss."""
    from transformers import MixtralConfig, MixtralForCausalLM

    folder = tmp_path_factory.mktemp("experts") / "model"
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_local_experts": 4}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    router = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
    MixtralForCausalLM(MixtralConfig(vocab_size=len(tokenizer), **shape, **heads, **router)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cut_config(tmp_path_factory, tiny_config, tiny_experts, write_jsonl):
    """`cut_config(kind, cut)` writes a config of two steps of plain gradient descent, each over all five rows."""
    folder = tmp_path_factory.mktemp("cuts")
    files = {name: write_jsonl(folder / f"{name}.jsonl", rows) for name, rows in (("kto", JUDGED), ("dpo", PAIRS))}
    files["sft"] = write_jsonl(folder / "texts.jsonl", TEXTS)

    def write(kind, cut):
        rl = KINDS[kind].get("rl", "sft")
        size, steps = CUTS.get(cut, (1, 3))
        path = files.get(rl, files["dpo"])
        values = {
            "datasets": [{"path": str(path), **({"type": "completion"} if rl == "sft" else {})}],
            "optimizer": "sgd",
            "learning_rate": 0.5,
            "lr_scheduler": "constant",
            "max_grad_norm": 0,
            "max_steps": 2,
            "save_strategy": "no",
            "micro_batch_size": size,
            "gradient_accumulation_steps": steps,
            "dataset_prepared_path": str(folder / "prepared"),
        }
        if "router" in kind:
            values["base_model"] = str(tiny_experts)
        return tiny_config(folder / kind / cut, **(FULL | values | KINDS[kind]))

    return write


@pytest.fixture(scope="module")
def uncut(cut_config, train):
    """`uncut(kind)` is the output of the run whose steps are one batch; each is trained once."""
    outputs: dict[str, Path] = {}

    def output(kind):
        if kind not in outputs:
            outputs[kind] = train(cut_config(kind, "8x1"))
        return outputs[kind]

    return output


@pytest.fixture(scope="module")
def in_two_processes(cut_config):
    """The outputs of all kinds, trained by two processes: the second one has a row less."""
    configs = {kind: cut_config(kind, PROCESSES) for kind in KINDS}
    script = Path(__file__).with_name("several_runs.py")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, *map(str, configs.values())], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    return {kind: config.parent / "out" for kind, config in configs.items()}


def assert_same_steps(output, expected, losses, tiny_weights):
    """Check that two runs have the same losses and changed the weights by the same."""
    assert losses(output) == pytest.approx(losses(expected), rel=1e-4)
    new, other = (load_file(folder / "model.safetensors") for folder in (output, expected))
    change = sum(float((other[name] - tiny_weights[name]).pow(2).sum()) for name in other) ** 0.5
    difference = sum(float((new[name] - other[name]).pow(2).sum()) for name in new) ** 0.5
    assert change > 1e-3
    assert difference < 1e-3 * change


@pytest.fixture
def start_weights(tiny_model, tiny_experts):
    """`start_weights(kind)` reads the weights that a kind starts from."""
    return lambda kind: load_file((tiny_experts if "router" in kind else tiny_model) / "model.safetensors")


@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut != "8x1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_does_not_depend_on_its_batches(kind, cut, cut_config, uncut, train, losses, start_weights):
    assert_same_steps(train(cut_config(kind, cut)), uncut(kind), losses, start_weights(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_does_not_depend_on_its_processes(kind, in_two_processes, uncut, losses, start_weights):
    assert_same_steps(in_two_processes[kind], uncut(kind), losses, start_weights(kind))


def test_the_strength_of_neftune_follows_from_the_length_of_each_document(tiny_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    embeddings = model.get_input_embeddings()
    plain, noisy = [], []
    embeddings.register_forward_hook(lambda module, args, output: plain.append(output.detach()))
    EmbeddingNoise(model, 5.0)
    embeddings.register_forward_hook(lambda module, args, output: noisy.append(output.detach()))
    documents = [Example([5] * length, [MASKED, *[5] * (length - 1)]) for length in (4, 36, 9)]
    batches = [[documents], *([[document]] for document in documents)]
    for batch in batches:
        inputs = FlatCollator(keep_logits=False)(batch)
        model.train()(**inputs)
        noise = (noisy[-1] - plain[-1])[0].abs()
        lengths = document_lengths(inputs["position_ids"][0])
        for length in lengths.unique():
            bound = 5.0 / (float(length) * 64) ** 0.5
            assert 0.9 * bound < noise[lengths == length].max() <= bound
    model.eval()(**inputs)
    assert noisy[-1].equal(plain[-1])
