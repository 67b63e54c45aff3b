"""Which weights are trained, by the names of parameters: `requires_grad`, and what moves in steps of AdamW."""

import pytest
import torch

from tunesmith.errors import ConfigError
from tunesmith.modeling.freeze import unfreeze


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def moved(model, patterns):
    """Return which rows of which parameters change in two steps."""
    unfreeze(model, patterns)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.0)
    ids = torch.arange(100)[None]
    for _ in range(2):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {
        name: (p.detach() != before[name]).flatten(1).any(1) for name, p in model.named_parameters() if p.ndim > 1
    }
    return {name: rows.nonzero()[:, 0].tolist() for name, rows in changed.items() if rows.any()}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^lm_head.weight$", {"lm_head.weight"}),
        ("lm_head", {"lm_head.weight"}),
        ("model.layers.[1-9]+.mlp.up_proj", {"model.layers.1.mlp.up_proj.weight"}),
        (r"model\.layers\.1\.mlp\.up_proj", {"model.layers.1.mlp.up_proj.weight"}),
        ("model.layers.*.mlp.up_proj", {"model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"}),
    ],
)
def test_only_parameters_that_fit_are_trained(small_model, pattern, expected):
    unfreeze(small_model, [pattern])
    assert trained(small_model) == expected


def test_a_name_must_fit_from_its_start(small_model):
    with pytest.raises(ConfigError, match=r"`unfrozen_parameters: embed_tokens` fits no parameter; some are model\."):
        unfreeze(small_model, ["embed_tokens"])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [("[:3]", [0, 1, 2]), ("[97:]", [97, 98, 99]), ("[5:7]", [5, 6]), ("[42]", [42]), ("", list(range(100)))],
)
def test_only_the_rows_named_move(small_model, rows, expected):
    assert moved(small_model, [f"^lm_head.weight${rows}"]) == {"lm_head.weight": expected}


def test_ranges_of_one_parameter_add_up(small_model):
    assert moved(small_model, ["lm_head.weight$[:2]", "lm_head.weight$[1:4]"]) == {"lm_head.weight": [0, 1, 2, 3]}


@pytest.mark.parametrize("rows", ["[:101]", "[100:]", "[5:5]", "[100]"])
def test_rows_outside_of_a_parameter_are_an_error(small_model, rows):
    with pytest.raises(ConfigError, match="that parameter has rows 0 to 99"):
        unfreeze(small_model, [f"lm_head.weight${rows}"])


def test_a_broken_expression_is_an_error(small_model):
    with pytest.raises(ConfigError, match=r"`unfrozen_parameters: model\.\(` is no regular expression"):
        unfreeze(small_model, ["model.("])


def test_a_tied_head_is_found_by_either_name(small_model):
    small_model.config.tie_word_embeddings = True
    small_model.tie_weights()
    unfreeze(small_model, ["lm_head"])
    assert trained(small_model) == {"model.embed_tokens.weight"}
