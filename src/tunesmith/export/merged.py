"""An adapter put into its base model: a plain safetensors model with tokenizer and chat template."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors import SafetensorError
from transformers.trainer_utils import align_special_tokens

from tunesmith.checks.manifest import changed_prompts, save_manifest, served_as_trained
from tunesmith.errors import ConfigError, DataError, ModelError, RunError
from tunesmith.log import note
from tunesmith.modeling.adapters import load_adapter
from tunesmith.modeling.load import load_base_model
from tunesmith.modeling.precision import Format
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config

PROBE = "The quick brown fox jumps over the lazy dog. 1 + 1 = 2, and def f(x): return x"
"""Text on which the merged model is compared with the adapter."""


class Merged(NamedTuple):
    """Where the merged model is, and the largest difference of its logits from the adapter's on a probe text."""

    folder: Path
    largest_difference: float


def merge_adapter(config: Config, folder: Path, dtype: Format) -> Merged:
    """Write the base model with the adapter merged into it, in `dtype`, to `folder`, and compare the two.

    The sum is made in fp32 and rounded once. An adapter that was trained on a quantised base is merged into just that
    base, dequantised, since that is the model it was trained to correct.

    Raises:
        ConfigError: the config has no adapter.
        ModelError: tokenizer or template now make other prompts than those that were trained.
        RunError: `folder` holds something already, or cannot be written.
    """
    if not config.adapter.adapter:
        raise ConfigError("there is no `adapter` to merge: full fine-tuning wrote a whole model to output_dir")
    if folder.is_file():
        raise RunError(f"{folder} is a file; choose a folder with --output DIR")
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty; choose another with --output DIR")
    adapter = config.adapter.lora_model_dir or config.training.output_dir
    tokenizer = model_tokenizer(config.model)
    manifest = _trained_prompts(config, tokenizer, adapter)
    model = load_base_model(config.model, "float32")
    if config.model.load_in_4bit or config.model.load_in_8bit:
        model = model.dequantize().to(torch.float32)
    probe = tokenizer(PROBE, return_tensors="pt").input_ids
    with_adapter = load_adapter(model, adapter).eval()
    expected = _logits(with_adapter, probe)
    merged = with_adapter.merge_and_unload().to(getattr(torch, dtype))
    align_special_tokens(merged, tokenizer)  # whoever serves it looks there for the end of an answer
    difference = (_logits(merged, probe) - expected).abs().max().item()
    try:
        _write(merged, tokenizer, config, manifest, folder)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write {folder}: {error}") from error
    return Merged(folder, difference)


def _write(merged: Any, tokenizer: Any, config: Config, manifest: dict[str, Any], folder: Path) -> None:
    """Fill `folder` by renaming a finished one; a failure leaves nothing behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        merged.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        _save_record(config, unfinished / "run")
        save_manifest(manifest, unfinished / "run")
        if folder.exists():
            folder.rmdir()
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _trained_prompts(config: Config, tokenizer: Any, adapter: str) -> dict[str, Any]:
    """Give the tokenizer the chat template that was trained, and return the manifest of the prompts.

    Others will serve what is written here without looking at a prompt, so that prompts other than the trained ones
    are an error.

    Raises:
        ModelError: they are.
    """
    try:
        manifest = served_as_trained(config, tokenizer)
    except DataError as error:  # without `type`, the rows say what they are; the weights are whole without them
        note(f"warning: whether prompts are as they were trained is not known: {error}")
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


def _logits(model: Any, ids: Any) -> Any:
    with torch.no_grad():
        return model(ids.to(model.device)).logits.float()


def _save_record(config: Config, folder: Path) -> None:
    """Keep the config beside the weights, so that `tunesmith inference FOLDER` renders the trained prompt."""
    folder.mkdir()
    (folder / "config.yml").write_text(yaml.safe_dump(config.values, sort_keys=False, allow_unicode=True))
    (folder / "run.json").write_text(json.dumps({"source": config.source, "status": "merged"}))
