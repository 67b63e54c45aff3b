"""What a remote config may not do without permission: open files of this machine, or run code."""

import os
import re
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from tunesmith.config.key_table import find_field
from tunesmith.config.yaml_source import shown
from tunesmith.sections.fields import EnvironmentName, FilePath, ModelPath, OutputPath, RunsCode
from tunesmith.sections.locations import KeyLocations, KeyPath

ALLOWED: KeyPath = ("allow_local_paths",)
"""The option that lifts all this. It is no key, so that no file can set it."""

FIX = "--allow-local-paths allows it, and everything else in the file"
_ELSEWHERE = re.compile(r"[/\\~]|(?!https?://)[\w+.]+:|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)
_FILE = re.compile(
    r"\.|http://|(json|csv|parquet|arrow|text)$|(?!https://).*([*?\[]|\.(arrow|bin|bz2|csv|gguf|gz|jinja2?|jsonl?|ndjson|"
    r"parquet|pt|py|safetensors|txt|xz|ya?ml|zip|zst)$)",
    re.DOTALL | re.IGNORECASE,
)


def refusals(values: dict[str, Any], locations: KeyLocations) -> Iterator[str]:
    """Yield an error for each value that would open a file here or run code, except for the user's own options."""
    for path, value in _leaves(values, ()):
        reason = _reason(find_field(path), value)
        if reason and not locations(*path).startswith("--"):
            name = ".".join(map(str, path))
            yield f"{locations(*path)}: `{name}: {shown(value)}`: a config from the web may not {reason}; {FIX}"


def _reason(field: FieldInfo | None, value: object) -> str:
    """Return what a value would do, or nothing."""
    markers = {type(item): item for item in (field.metadata if field else ())}
    if _runs_code(field, markers, value):
        return "run code"
    if EnvironmentName in markers:
        return "send what the environment of this machine holds"
    if not isinstance(value, str):
        return ""
    if OutputPath in markers and _ELSEWHERE.match(value):
        return "write or read outside the working folder"
    if _opens_file(markers, value):
        return "open what is neither on the Hub nor at https://"
    return ""


def _runs_code(field: FieldInfo | None, markers: dict[type, Any], value: object) -> bool:
    """Return whether a value names a function of a file, or its key runs code; a switch that is off does not."""
    is_off = field is not None and field.annotation is bool and not value
    return (RunsCode in markers and not is_off) or re.search(r"\.py:\w+$", str(value)) is not None


def _opens_file(markers: dict[type, Any], value: str) -> bool:
    """Return whether a value is the path of a file or model, but not one on the Hub or at https://."""
    file = markers.get(FilePath)
    if file and file.inline and file.inline in value:
        return False
    takes_path = FilePath in markers or ModelPath in markers
    return takes_path and bool(_ELSEWHERE.match(value) or _FILE.match(value) or os.path.exists(value))


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every value that is no mapping and no list, with the path of its key."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*path, key))
    else:
        yield path, value
