"""What a config from the web may not do unless it is allowed: open files of this machine, or run code."""

import os
import re
from collections.abc import Iterator
from typing import Any

from tunesmith.config.places import Places
from tunesmith.config.yaml_source import KeyPath

OPENED = {
    "assertions",
    "base_model",
    "base_model_config",
    "chat_template_jinja",
    "deepspeed",
    "embedding_model",
    "examples",
    "filters",
    "lora_model_dir",
    "model",
    "path",
    "prompt",
    "resume_from_checkpoint",
    "row_schema",
    "rubric",
    "seeds",
    "tokenizer_config",
}
"""Keys, also inside blocks, whose values may be opened as files; names of Hub repositories are fine."""
BELOW = {
    "cache",
    "data_files",
    "dataset_prepared_path",
    "labels",
    "mlflow_tracking_uri",
    "output",
    "output_dir",
    "trigger_file_path",
}
"""Keys of files that are written, or lie inside another: relative paths are fine."""
CODE = {"overrides_of_model_kwargs"}
"""Keys, besides `trust_remote_code`, that can let code run that a repository brings."""

ALLOWED: KeyPath = ("allow_local_paths",)
"""The option that lifts all this. It is no key, so that no file can set it."""

CURE = "--allow-local-paths lets it, and all else in the file"
_ELSEWHERE = re.compile(r"[/\\~]|(?!https?://)[\w+.]+:|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)
_FILE = re.compile(
    r"\.|http://|(json|csv|parquet|arrow|text)$|(?!https://).*\.(arrow|bin|csv|gguf|gz|jinja2?|jsonl?|ndjson|parquet|pt|py|safetensors|txt|ya?ml|zst)$",
    re.DOTALL | re.IGNORECASE,
)


def refusals(values: dict[str, Any], where: Places) -> Iterator[str]:
    """Yield a fault for each value that would open a file here or run code; what an option sets is the user's own."""
    for path, value in _leaves(values, ()):
        reason = _reason({str(part) for part in path}, value)
        if reason and not where(*path).startswith("--"):
            shown = value if len(str(value)) < 80 else f"{str(value)[:80]}..."
            name = ".".join(map(str, path))
            yield f"{where(*path)}: `{name}: {shown}`: a config from the web may not {reason}; {CURE}"


def _reason(names: set[str], value: Any) -> str:
    """Return what a value would do, or nothing."""
    if names & CODE or ("trust_remote_code" in names and value) or re.search(r"\.py:\w+$", str(value)):
        return "run code"
    if "api_key_env" in names:
        return "send what the environment of this machine holds"
    if not isinstance(value, str):
        return ""
    if names & BELOW and _ELSEWHERE.match(value):
        return "write or read outside the working folder"
    if (names & {"chat_template_jinja", "prompt"} and "{" in value) or (
        "rubric" in names and "\n" in value
    ):  # the text itself
        return ""
    if names & OPENED and (_ELSEWHERE.match(value) or _FILE.match(value) or os.path.exists(value)):
        return "open what is neither on the Hub nor at https://"
    return ""


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value that is no mapping and no list, with the path of its key."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))
    else:
        yield path, value
