"""What a message suggests."""

import pytest

from tunesmith.config.methods import OPTIMIZERS
from tunesmith.errors import did_you_mean
from tunesmith.sections import OWNER


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("learningRate", OWNER, "learning_rate"),
        ("LORA_R", OWNER, "lora_r"),
        ("lora-alpha", OWNER, "lora_alpha"),
        ("epochs", OWNER, "num_epochs"),
        ("batch", OWNER, "batch_size"),
        ("secrets", OWNER, None),
        ("node_count", OWNER, None),
        ("adamww", OPTIMIZERS, "adamw_torch"),
        ("sgdd", OPTIMIZERS, "sgd"),
        ("prodigy", OPTIMIZERS, None),
        ("x", [], None),
    ],
)
def test_the_nearest_name_is_suggested_if_it_is_near(name, known, near):
    assert did_you_mean(name, known) == (f"; did you mean `{near}`?" if near else "")
