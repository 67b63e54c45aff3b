"""Embeddings that fit the tokenizer: rows for new tokens, and the rule that these are trained.

Every load of a base model passes here, so that an adapter finds the rows that it was trained on.
"""

import re
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError
from tunesmith.sections import AdapterSection, ModelSection

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


def fit_embeddings(model: "CausalLM", section: ModelSection, tokenizer: Tokenizer) -> None:
    """Give the model's embeddings as many rows as the tokenizer has tokens, if they have too few.

    New rows are the same at every load: what is not trained of them, an adapter does not save.
    """
    import torch

    num_tokens = -(-len(tokenizer) // 32) * 32 if section.resize_token_embeddings_to_32x else len(tokenizer)
    rows = model.get_input_embeddings().num_embeddings
    if rows < num_tokens or (rows > num_tokens and section.shrink_embeddings):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.resize_token_embeddings(num_tokens, mean_resizing=section.mean_resizing_embeddings)
    untrained = section.fix_untrained_tokens
    if untrained is not None:
        _set_to_mean(model, [untrained] if isinstance(untrained, int) else untrained)


def _set_to_mean(model: "CausalLM", ids: list[int]) -> None:
    """Let the rows of some tokens be the mean of all others, in the embeddings and the head."""
    import torch

    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        others = torch.ones(len(layer.weight), dtype=torch.bool)
        if max(ids) >= len(others):
            raise ConfigError(f"`fix_untrained_tokens`: there is no token {max(ids)}; the model has {len(others)}")
        others[ids] = False
        layer.weight.data[ids] = layer.weight.data[others.to(layer.weight.device)].mean(0)


def check_embedding_keys(model: "CausalLM", section: AdapterSection) -> None:
    """Refuse keys that train the embeddings or the head in two ways, which peft cannot combine.

    Raises:
        ConfigError: two keys name the same layer, or two tied layers.
    """
    is_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    is_shared = is_tied and bool(section.peft_ensure_weight_tying)
    trained = _trained_layers(model, section)
    for first, second in combinations(trained, 2):
        if not is_shared and "peft_trainable_token_indices" not in (first, second):
            continue  # peft combines these two, unless they have one weight
        if trained[first] & trained[second] or (is_tied and trained[first] and trained[second]):
            layers = sorted(trained[first] | trained[second])
            reason = ", which are tied" if len(layers) > 1 else ""
            raise ConfigError(f"`{first}` and `{second}` both train {' and '.join(layers)}{reason}; remove one of them")
    rows = section.peft_trainable_token_indices
    if is_shared and isinstance(rows, dict) and len({tuple(ids) for ids in rows.values()}) > 1:
        raise ConfigError(
            "`peft_trainable_token_indices` names other tokens for each layer, but the layers are tied; write one list"
        )


def _trained_layers(model: "CausalLM", section: AdapterSection) -> dict[str, set[str]]:
    """Return which of the embeddings and the head each key trains."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [name for name, module in model.named_modules() if module in layers]
    rows = section.peft_trainable_token_indices
    return {
        "peft_trainable_token_indices": _matches(
            list(rows) if isinstance(rows, dict) else names[:1] * bool(rows), names
        ),
        "lora_modules_to_save": _matches(section.lora_modules_to_save, names),
        "lora_target_modules": _matches(section.lora_target_modules, names),
    }


def _matches(targets: list[str] | str | None, names: list[str]) -> set[str]:
    """Return the layers that a list of names, or a regular expression, fits."""
    if isinstance(targets, str):
        return {name for name in names if re.fullmatch(targets, name)}
    return {name for name in names if any(f".{name}".endswith(f".{target}") for target in targets or ())}


def check_new_tokens(model: "CausalLM", section: AdapterSection, new: Mapping[str, int]) -> None:
    """Refuse an adapter beside which the embeddings of new tokens would stay as they are: random.

    Raises:
        ConfigError: they would; names the layers of this model.
    """
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    names = [name.rsplit(".", 1)[-1] for name, module in model.named_modules() if module in layers]
    rows = section.peft_trainable_token_indices or []
    by_layer = rows if isinstance(rows, dict) else {names[0]: rows}
    ids = set(new.values())
    tied = layers[0].weight is layers[1].weight
    trained = [name in (section.lora_modules_to_save or []) or ids <= set(by_layer.get(name, [])) for name in names]
    if ids and not (all(trained) or (tied and ids <= set(by_layer.get(names[0], [])))):
        listed = str(sorted(ids)) if tied else f"{{{', '.join(f'{name}: {sorted(ids)}' for name in names)}}}"
        raise ConfigError(
            f"{', '.join(new)}: new tokens, whose embeddings `adapter: {section.adapter}` does not train; set "
            f"`lora_modules_to_save: [{', '.join(names)}]`, or `peft_trainable_token_indices: {listed}`"
        )
