"""Decides how documents are given to the model of a run: by the probe, the same in all processes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from accelerate.utils import gather_object
from transformers import TrainingArguments

from tunesmith.errors import ModelError
from tunesmith.log import note
from tunesmith.modeling.attention import DOCUMENTS
from tunesmith.modeling.layout import Layout, candidate_layouts
from tunesmith.modeling.positions import check_positions
from tunesmith.modeling.probe import Verdict, choose_layout, loaded_attention, set_attention
from tunesmith.sections import Config, DataSection
from tunesmith.training.arguments import Decision
from tunesmith.training.collate import Sequences, row_sizes
from tunesmith.training.plan import Plan

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


def decide_layout(
    model: "CausalLM", config: Config, plan: Plan, arguments: TrainingArguments, sets: list[Sequences]
) -> tuple[Layout, Decision]:
    """Return the layout that is exact on the loaded model, and the line about it; set the model's attention code.

    Raises:
        ConfigError: rows may be longer than the positions of the model.
        ModelError: no layout is exact.
    """
    is_sharded = bool(arguments.fsdp or arguments.deepspeed)
    if not (is_sharded or model.device.type != "cpu" or plan.hardware.kind == "cpu"):
        model.to(arguments.device)  # where the Trainer would put it
    dtype: torch.dtype = getattr(torch, plan.precision.compute)
    for key, tokens in _row_limits(config.data).items():
        if text := check_positions(model, tokens, key, dtype):
            note(text)
    loaded = loaded_attention(model)
    if is_sharded and loaded.startswith("flash"):
        set_attention(model, "sdpa")  # on a CPU until the model is sharded; the flash kernels need a GPU
    as_set = config.model.attn_implementation == plan.attention
    candidates = candidate_layouts(plan.attention, loaded_attention(model), as_set=as_set)
    verdict = _agreed(model, candidates, sets, arguments, dtype, config)
    layout = verdict.layout
    if is_sharded and loaded.startswith("flash") and layout.attention == "sdpa" and set_attention(model, loaded):
        layout = layout._replace(attention=loaded)
    why = [plan.attention_reason] if layout.attention in (plan.attention, DOCUMENTS) else []
    return layout, Decision("attention", str(layout), "; ".join([*why, verdict.reason]))


def _row_limits(data: DataSection) -> Mapping[str, int]:
    """Return the keys that limit rows, with the most tokens that a row may have."""
    limits = {"sequence_len": data.sequence_len}
    if data.test_datasets and data.eval_sequence_len:
        limits["eval_sequence_len"] = data.eval_sequence_len
    return limits


def _agreed(
    model: "CausalLM",
    candidates: list[Layout],
    sets: list[Sequences],
    arguments: TrainingArguments,
    dtype: torch.dtype,
    config: Config,
) -> Verdict:
    """Return the verdict of the process that found the most faults.

    Raises:
        ModelError: no layout is exact in one of the processes.
    """
    batch_size = max(arguments.per_device_train_batch_size, arguments.per_device_eval_batch_size)
    verdict, error = None, ""
    try:
        if model.device.type == "meta":  # another process holds the weights
            verdict = Verdict(candidates[0], {})
        else:
            verdict = choose_layout(model, candidates, **row_sizes(sets, batch_size), dtype=dtype)
    except ModelError as problem:
        error = str(problem)
    verdicts = gather_object([(verdict, error)])
    if errors := [text for _, text in verdicts if text]:
        setting = config.model.attn_implementation
        cure = f"remove `attn_implementation: {setting}`, or choose" if setting else "choose"
        raise ModelError(f"`base_model: {config.model.base_model}`: {errors[0]}; {cure} another `base_model`")
    agreed: Verdict = max((item for item, _ in verdicts), key=lambda item: candidates.index(item.layout))
    set_attention(model, agreed.layout.attention)
    return agreed
