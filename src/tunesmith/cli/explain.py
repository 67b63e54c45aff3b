"""`tunesmith explain`: what a key means, what it takes, and the status of a key that is not supported."""

import difflib
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from tunesmith.cli.arguments import entry, parser
from tunesmith.config.conditions import describe_conditions
from tunesmith.config.idle import IDLE, fits
from tunesmith.config.key_status import reasons
from tunesmith.config.key_table import Key, blocks, supported
from tunesmith.config.keys import RENAMED
from tunesmith.config.reference import CHOICES, default, kind, old_names
from tunesmith.config.yaml_source import Loader, flow
from tunesmith.errors import ConfigError
from tunesmith.sections import SECTIONS

SUMMARY = "Say what a key means, what it takes, its default, and an example; without KEY, list all keys."
ABOUT = "A key inside a block is written as datasets.path; its last name alone works too."
EXAMPLES = """  tunesmith explain learning_rate
  tunesmith explain datasets.type flash_attention
  tunesmith explain | grep lora"""

VALUES: dict[str, Any] = {
    "base_model": "builtin/smollm2-135m-instruct",
    "datasets": [{"path": "data/train.jsonl", "type": "chat_template"}],
    "datasets[].path": "data/train.jsonl",
    "datasets[].type": "chat_template",
    "datasets[].split": "train[:5%]",
    "test_datasets": [{"path": "data/eval.jsonl", "type": "chat_template"}],
    "val_set_size": 0.05,
    "learning_rate": 2e-4,
    "attn_implementation": "sdpa",
    "special_tokens": {"pad_token": "<pad>"},
    "lr_groups": [{"name": "head", "modules": ["lm_head"], "lr": 1e-5}],
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_target_modules": ["q_proj", "v_proj"],
    "lora_modules_to_save": ["embed_tokens", "lm_head"],
    "lora_model_dir": "outputs/first",
    "resume_from_checkpoint": "outputs/first/checkpoint-100",
    "chat_template": "chatml",
    "chat_template_jinja": "template.jinja",
    "warmup_steps": 100,
    "max_steps": 1000,
    "deepspeed": "ds_config.json",
    "fsdp_version": 2,
    "fsdp_config": {"offload_params": True},
    "fsdp_config.fsdp_version": 2,
    "evaluation.assertions": "assertions.py",
    **dict.fromkeys(
        (f"{block}.endpoint.base_url" for block in ("judge", "generate", "evaluation")), "http://localhost:8000/v1"
    ),
    "evaluation.metrics": ["json", "similarity"],
    "datasets[].filters": ["assertions.py", "quality.py:test_is_polite"],
    "mlflow_tracking_uri": "sqlite:///mlflow.db",
    "hub_model_id": "my-name/my-model",
}
"""Examples where the default, the type and the text under the field give no good one."""


def explain(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("explain", SUMMARY, EXAMPLES, ABOUT)
    options.add_argument("keys", metavar="KEY", nargs="*", help="name of a key, of Tunesmith or of Axolotl")
    args, options_as_keys = options.parse_known_args(arguments)  # a key may be written as on the command line
    if keys := [*args.keys, *options_as_keys]:
        print("\n\n".join("\n".join(_about(name)) for key in keys for name in _names(key)), flush=True)
    else:
        print("\n".join(_overview()), flush=True)
    return 0


def _names(key: str) -> list[str]:
    """Return the full names that a key stands for."""
    full_names = [*supported(), *RENAMED, *reasons()]
    name = _plain(key.lstrip("-").replace("-", "_"))
    name = re.sub(r"^(pretraining_dataset|test_datasets)\.", "datasets.", name)
    name = re.sub(r"fsdp_config\.fsdp_(?!version)", "fsdp_config.", name)
    if matches := [item for item in full_names if _plain(item) == name] or _outer_names(name, full_names):
        return matches
    if matches := [item for item in full_names if item.rpartition(".")[2] == name]:
        return [item for item in matches if not item.startswith("test_")] or matches
    near = difflib.get_close_matches(name, {_plain(item) for item in full_names}, n=3)
    hint = f"; near are {', '.join(f'`{item}`' for item in near)}" if near else ""
    raise ConfigError(f"unknown key `{key}`{hint}; `tunesmith explain` lists all")


def _outer_names(name: str, full_names: list[str]) -> list[str]:
    """Return the mapping that a key is inside of: it may hold any key, which has the status of the mapping."""
    while name := name.rpartition(".")[0]:
        if matches := [item for item in full_names if _plain(item) == name and not _is_block(item)]:
            return matches
    return []


def _is_block(name: str) -> bool:
    """Return whether all keys inside a key are known."""
    return name in supported() and bool([*blocks(supported()[name].field.annotation)])


def _plain(name: str) -> str:
    return re.sub(r"\[\]|\.\d+", "", name)


def _about(name: str) -> Iterator[str]:
    """Yield the lines about a key."""
    if name in supported():
        yield from _supported(supported()[name])
    elif name in RENAMED:
        new_keys = [key for key, olds in old_names().items() if name in olds]
        settings = ", ".join(f"`{key}: {flow(value)}`" for key, value in RENAMED[name](True).items())
        is_flag = all(isinstance(value, str | bool) and value is not True for value in RENAMED[name](True).values())
        yield f"{name}: old name; " + (
            f"true is taken as {settings}" if is_flag else f"taken as `{'`, `'.join(new_keys)}`"
        )
        for key in new_keys:
            yield ""
            yield from _supported(supported()[key])
    else:
        reason = reasons()[name]
        yield f"{name}: {'accepted and ignored' if reason.status == 'ignored' else 'refused'}: {reason.text}"


def _supported(key: Key) -> Iterator[str]:
    block, _, last_name = key.name.rpartition(".")
    location = f", inside `{block}`" if block else ""
    facts = {
        "takes": describe_value(key),
        "default": default(key.field) or "none",
        "example": _example(key).replace("\n", "\n" + " " * 12),
        "keys": ", ".join(name for _, model in blocks(key.field.annotation) for name in model.model_fields),
        "old names": ", ".join(old_names().get(key.name, [])),
        "rules": describe_conditions(key.field, key.block),
        "ignored": "; ".join(f"if {reason}" for names, _, reason in IDLE if not block and fits(last_name, names)),
    }
    yield f"{key.name} (section {key.section}{location})"
    yield f"  {key.field.description}"
    yield from (f"  {name:<10}{text}" for name, text in facts.items() if text)


def describe_value(key: Key) -> str:
    """Return in words what a key takes."""
    if key.name in CHOICES:
        return f"one of {', '.join(CHOICES[key.name])}"
    return kind(key.field.annotation, key.field.metadata)


def _example(key: Key) -> str:
    """Return lines of YAML that set a key."""
    *outer_names, last_name = key.name.split(".")
    lines = [f"{last_name}: {flow(example(key))}"]
    for name in reversed(outer_names):
        dash = "- " if name.endswith("[]") else ""
        lines = [
            f"{name.removesuffix('[]')}:",
            *(f"  {'  ' if dash and n else dash}{line}" for n, line in enumerate(lines)),
        ]
    return "\n".join(lines)


def example(key: Key) -> Any:
    """Return a value for a key: of the table, its default, of the text under it, or of its type."""
    name = key.name.removeprefix("test_") if "." in key.name else key.name
    if name in VALUES:
        return VALUES[name]
    value = key.field.default
    if value and not key.field.is_required() and not isinstance(value, BaseModel):
        return value
    if match := re.search(r"such as ([{[].*?[]}])(?=[.,;]|$)", key.field.description or ""):
        return yaml.load(match[1], Loader)
    return _of_kind(describe_value(key), name.rpartition(".")[2])


def _of_kind(words: str, name: str) -> Any:
    """Return a value of what a key takes, as `kind` says it."""
    if words.startswith("list ("):
        return [_of_kind(words.removeprefix("list ("), name)]
    if words.startswith("one of "):
        return yaml.load(words.removeprefix("one of ").split(", ")[:2][-1], Loader)  # the first is often `no`
    examples = {"true": True, "whole": 8, "number": 0.1, "text": f"my-{name.rpartition('_')[2]}"}
    return examples.get(re.split(r"\W", words)[0], {})


def _overview() -> Iterator[str]:
    """Yield a line for each key of the top level, by section."""
    for section, model in SECTIONS.items():
        yield f"{section}: {model.__doc__}"
        yield from (f"  {name:<36} {field.description}" for name, field in model.model_fields.items())
    yield f"`explain` also explains {len(RENAMED)} old names and {len(reasons())} keys that are ignored or refused"


main = entry(explain)


if __name__ == "__main__":
    sys.exit(main())
