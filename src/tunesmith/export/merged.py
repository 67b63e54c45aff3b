"""Exporter `merged`: the adapter merged into its base, a safetensors model with tokenizer and chat template."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors import SafetensorError
from transformers.trainer_utils import align_special_tokens

from tunesmith.checks.manifest import changed_prompts, save_manifest, served_as_trained
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError, DataError, ModelError, RunError
from tunesmith.files import write_folder, write_json, write_text
from tunesmith.log import note
from tunesmith.modeling.adapters import load_adapter, merge_adapter
from tunesmith.modeling.load import load_base_model
from tunesmith.modeling.precision import Format
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM

PROBE = "The quick brown fox jumps over the lazy dog. 1 + 1 = 2, and def f(x): return x"
"""Text on which the merged model is compared with the adapter."""
MERGE_TOLERANCE = 1e-3
"""Largest difference of logits in fp32, as a fraction of the largest logit: rounding is about 1e-5."""


def export_merged(config: Config, folder: Path, dtype: Format) -> str:
    """Write the base model with the adapter merged into it to `folder`, and compare its logits with the adapter's.

    The sum is computed in fp32 and rounded once. An adapter that was trained on a quantized base is merged into that
    base, dequantized, because it was trained to correct that model.

    Raises:
        ConfigError: the config has no adapter.
        ModelError: tokenizer or chat template now give other prompts than the trained ones, or the merged model
            does not compute what the adapter computes.
        RunError: `folder` cannot be written.
    """
    if not config.adapter.adapter:
        raise ConfigError("there is no `adapter` to merge: full fine-tuning wrote a whole model to output_dir")
    if config.model.gptq:
        raise ConfigError(
            "an adapter cannot be merged into GPTQ weights; serve it beside the base model, or set `base_model` to the "
            "unquantized model and remove `gptq`"
        )
    adapter = config.adapter.lora_model_dir or config.training.output_dir
    tokenizer = model_tokenizer(config.model)
    manifest = _trained_prompts(config, tokenizer, adapter)
    model = load_base_model(config.model, "float32")
    if config.model.load_in_4bit or config.model.load_in_8bit:
        model = model.dequantize().to(torch.float32)
    probe = tokenizer(PROBE, return_tensors="pt").input_ids
    with_adapter = load_adapter(model, adapter).eval()
    expected = _logits(with_adapter, probe)
    is_tied = model.config.get_text_config().tie_word_embeddings
    merged = merge_adapter(with_adapter)
    if is_tied and not merged.config.get_text_config().tie_word_embeddings:
        note("embeddings and head were tied; the adapter changes them differently, so the merged model has both")
    check_merge(_logits(merged, probe), expected, adapter)
    merged = merged.to(getattr(torch, dtype))
    align_special_tokens(merged, tokenizer)  # servers read the stop tokens there
    difference = (_logits(merged, probe) - expected).abs().max().item()
    if not math.isfinite(difference):
        raise ConfigError(f"--dtype {dtype}: the weights are beyond its range; use bfloat16 or float32")
    try:
        _write(merged, tokenizer, config, manifest, folder)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write {folder}: {error}") from error
    return (
        f"merged model: {folder} ({dtype}); on a probe text its logits differ from the adapter's "
        f"by at most {difference:.2g}"
    )


def check_merge(logits: torch.Tensor, expected: torch.Tensor, adapter: str) -> None:
    """Refuse a merge that computes something else than the adapter; both logits are in fp32.

    Raises:
        ModelError: they differ by more than rounding, or are no numbers.
    """
    scale = expected.abs().max().item()
    difference = (logits - expected).abs().max().item()
    if not difference <= MERGE_TOLERANCE * scale:
        raise ModelError(
            f"the adapter in {adapter} cannot be merged: on a probe text the logits of the merged model "
            f"differ from its own by {difference:.2g}, and these are at most {scale:.2g}; serve the adapter on its base"
        )


def _write(merged: "CausalLM", tokenizer: Tokenizer, config: Config, manifest: dict[str, Any], folder: Path) -> None:
    """Fill `folder` by renaming a finished one; a failure leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with write_folder(folder) as unfinished:
        merged.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        _save_record(config, unfinished / "run")
        save_manifest(manifest, unfinished / "run")


def _trained_prompts(config: Config, tokenizer: Tokenizer, adapter: str) -> dict[str, Any]:
    """Give the tokenizer the trained chat template, and return the prompt manifest.

    Other tools serve the exported model without a check of its prompts, so a changed prompt is an error here.

    Raises:
        ModelError: prompts differ from the trained ones.
    """
    try:
        manifest = served_as_trained(config, tokenizer)
    except DataError as error:  # without `type`, the rows are needed; the weights do not depend on them
        note(f"warning: prompts could not be compared with the trained ones: {error}")
        return {}
    change = changed_prompts(adapter, manifest, tokenizer)
    if change and change.prompts:
        raise ModelError(
            f"prompts are not what {adapter} was trained with: {change.text}\n"
            "undo the change of tokenizer, template or library, or train again"
        )
    if change:
        note(f"warning: since {adapter} was trained: {change.text}")
    return manifest


def _logits(model: "CausalLM", ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(ids.to(model.device)).logits
    return logits.float()


def _save_record(config: Config, folder: Path) -> None:
    """Write the config, so that `tunesmith inference FOLDER` renders the trained prompt."""
    folder.mkdir()
    write_text(folder / "config.yml", yaml.safe_dump(config.values, sort_keys=False, allow_unicode=True))
    write_json(folder / "run.json", {"source": config.source, "status": "merged"}, indent=None)
