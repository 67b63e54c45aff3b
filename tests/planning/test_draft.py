"""A drafted config: the length that fits, the rows that are held out, the keys that follow from the hardware."""

from pathlib import Path

import pytest
import yaml

from tunesmith.config.load import load_values
from tunesmith.planning.draft import Answers, Look, draft, fitting


def answers(rows=100, kind="alpaca", rl=None, **changes):
    look = Look("rows.jsonl", rows, ["a", "b"], {"type": kind}, rl)
    wanted = {"model": "some/model", "data": look, "hardware": "gpu", "adapter": "lora", "output": Path("bees.yml")}
    return Answers(**wanted | changes)


def drafted(**changes):
    """Return the checked config of a draft, which must raise no note."""
    values = yaml.safe_load(draft(answers(**changes), (512, "why"), None))
    config = load_values(values, "bees.yml", {})
    assert config.notes == ()
    return config


@pytest.mark.parametrize(
    ("sizes", "changes", "chosen", "why"),
    [
        ([97], {}, 256, "the longest row has 97 tokens"),
        ([256], {}, 256, "the longest row has 256 tokens"),
        ([257], {}, 512, "the longest row has 257 tokens"),
        ([100] * 99 + [9000], {}, 4096, "the longest row has 9000 tokens; 1 of 100 are longer and dropped"),
        ([100] * 99 + [9000], {"hardware": "laptop"}, 1024, "1 of 100 are longer and dropped"),
        ([3000] * 100, {"hardware": "laptop"}, 4096, "the longest row has 3000 tokens"),
        ([9000] * 9, {"kind": "completion"}, 4096, "a longer one than this is cut into pieces"),
        ([], {}, 2048, "not measured"),
        ([], {"hardware": "laptop"}, 1024, "not measured"),
    ],
)
def test_the_length_holds_nearly_all_rows(sizes, changes, chosen, why):
    length = fitting(sizes, answers(**changes))
    assert length[0] == chosen
    assert why in length[1]


@pytest.mark.parametrize(
    ("rows", "held_out", "epochs"), [(19, 0, 8), (20, 0.1, 8), (999, 0.1, 3), (1000, 0.05, 3), (10_000, 500, 1)]
)
def test_rows_are_held_out_by_their_number(rows, held_out, epochs):
    config = drafted(rows=rows)
    assert (config.data.val_set_size, config.training.num_epochs) == (held_out, epochs)


@pytest.mark.parametrize("hardware", ["laptop", "gpu", "multi-gpu"])
@pytest.mark.parametrize("adapter", ["lora", "qlora", "none"])
@pytest.mark.parametrize("rl", [None, "dpo", "kto"])
def test_every_choice_loads_without_a_note(hardware, adapter, rl):
    if rl and adapter == "qlora":
        pytest.skip("the same as lora, but for the bits")
    config = drafted(hardware=hardware, adapter=adapter, rl=rl, kind="chatml.prompt_pairs" if rl else "alpaca")
    assert config.distribution.sharded == (hardware == "multi-gpu" and adapter != "qlora" and not rl)
    assert config.training.gradient_checkpointing == (hardware != "laptop")
    assert config.model.load_in_4bit == (adapter == "qlora")
    rate = (2e-5 if adapter == "none" else 2e-4) / (10 if rl else 1)
    assert config.training.learning_rate == pytest.approx(rate)


def test_the_built_in_model_takes_a_higher_learning_rate():
    assert drafted(model="builtin/smollm2-135m-instruct").training.learning_rate == 1e-3
