"""LISA: which blocks are trained. A run with it is in test_what_trains.py. (`training/lisa.py`)"""

from types import SimpleNamespace

import pytest
from torch import nn

from tunesmith.errors import ConfigError
from tunesmith.sections import AdapterSection
from tunesmith.training.optim.lisa import Lisa


def lisa(model, blocks):
    return Lisa(model, AdapterSection(lisa_n_layers=1, lisa_step_interval=2, lisa_layers_attribute=blocks))


def test_the_blocks_may_lie_elsewhere():
    body = {"own": nn.ModuleList([nn.Linear(2, 2) for _ in range(4)]), "head": nn.Linear(2, 2)}
    model = nn.ModuleDict({"body": nn.ModuleDict(body)})
    lisa(model, "body.own").on_step_begin(SimpleNamespace(seed=1), SimpleNamespace(global_step=0), None)
    assert sum(layer.weight.requires_grad for layer in body["own"]) == 1
    assert body["head"].weight.requires_grad
    with pytest.raises(ConfigError, match=r"`lisa_layers_attribute: model\.layers`: ModuleDict has no such layer"):
        lisa(model, "model.layers")
