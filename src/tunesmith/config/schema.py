"""The JSON schema of a config, for completion and checks in editors. It is made of the sections and the status of keys.

A key may always be empty, as in the loader. Keys that are not supported are in it too: with any value if they have no
effect, and with the values that ask for nothing if they are refused.
"""

from typing import Any

import yaml

from tunesmith.config.conditions import describe_conditions
from tunesmith.config.key_status import Reason, reasons
from tunesmith.config.key_table import blocks, supported
from tunesmith.config.keys import OTHER_FORMS, RENAMED
from tunesmith.config.reference import CHOICES, old_names
from tunesmith.sections import SECTIONS

_OFF: list[Any] = [None, False, "", [], {}]
_BARE = {"no", "off", "false"}
"""Texts that YAML reads as false when they stand without quotes."""


def schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12)."""
    root: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tunesmith config",
        "type": "object",
        "properties": {},
        "additionalProperties": False,
        "required": ["base_model", "learning_rate"],
        "anyOf": [{"required": ["datasets"]}, {"required": ["pretraining_dataset"]}],
        "$defs": {},
    }
    for section in SECTIONS.values():
        section_schema = section.model_json_schema()
        root["properties"] |= section_schema.get("properties", {})
        root["$defs"] |= section_schema.get("$defs", {})
    for key, choices in CHOICES.items():
        root["properties"][key]["anyOf"][0] = {"enum": list(choices)}
    for block in (root, *root["$defs"].values()):
        block["properties"] = {name: _may_be_empty(item) for name, item in block["properties"].items()}
    for item in supported().values():
        block = root if item.block in SECTIONS.values() else root["$defs"][item.block.__name__]
        if notes := describe_conditions(item.field, item.block):
            property_schema = block["properties"][item.name.rpartition(".")[2]]
            property_schema["description"] = f"{item.field.description} {notes}"
    _add_other_names(root)
    blocks_by_prefix = {
        f"{key.name}{suffix}.": root["$defs"][block.__name__]
        for key in supported().values()
        for suffix, block in blocks(key.field.annotation)
    }
    for name, reason in reasons().items():
        block, _, key = name.rpartition(".")
        if target := blocks_by_prefix.get(f"{block}.") if block else root:
            target["properties"].setdefault(key, _unsupported(reason))
    return root


def _add_other_names(root: dict[str, Any]) -> None:
    """Add old names of keys, and the two spellings of FSDP's."""
    fsdp = root["$defs"]["FsdpConfig"]["properties"]
    other_spellings = {
        name: name.removeprefix("fsdp_") if name.startswith("fsdp_") else f"fsdp_{name}" for name in fsdp
    }
    fsdp |= {other_spellings[name]: _old(f"as `{name}`") for name in other_spellings}
    for key in OTHER_FORMS:
        root["properties"][key]["anyOf"].append({"type": "object"})
    names = {old_name: new_name for new_name, olds in old_names().items() for old_name in olds}
    root["properties"] |= {old_name: _old(f"old name of `{names[old_name]}`") for old_name in RENAMED}


def _may_be_empty(item: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a key without pydantic's titles, and with null among its values."""
    annotations = {name: item[name] for name in ("description", "default") if item.get(name) not in (None, {}, [])}
    if isinstance(annotations.get("default"), dict):
        del annotations["default"]
    plain_schema = {
        name: value for name, value in item.items() if name not in ("title", "description", "default", "anyOf")
    }
    kinds = [_with_bare(kind) for kind in (*item.get("anyOf", []), plain_schema) if kind]
    return {"anyOf": [kind for kind in kinds if kind != {"type": "null"}] + [{"type": "null"}], **annotations}


def _with_bare(kind: dict[str, Any]) -> dict[str, Any]:
    if _BARE & {str(item) for item in kind.get("enum", [])}:
        return {"enum": [*kind["enum"], False]}
    return kind


def _old(text: str) -> dict[str, Any]:
    """Return the schema of a key with any value that editors do not offer."""
    return {"description": text, "deprecated": True, "doNotSuggest": True}


def _unsupported(reason: Reason) -> dict[str, Any]:
    if reason.status == "ignored":
        return _old(f"ignored: {reason.text}")
    values = [*_OFF, reason.off, yaml.safe_load(reason.off)] if reason.off else _OFF
    return {**_old(f"refused: {reason.text}"), "enum": values}
