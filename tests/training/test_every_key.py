"""Every documented key changes something: it is set to another value, and two real runs of a tiny model differ.

The field's tools are full of flags that nothing reads. A key whose effect such a run cannot show (a GPU, a tracker,
the Hub) names the test that shows it, in shown_by.py. A new key without a line in one of the tables fails the first
test.
"""

import hashlib
import json
import typing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from named_keys import names_key
from safetensors import safe_open
from shown_by import SHOWN_BY, TESTS

from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.sections import SECTIONS, Section

pytestmark = pytest.mark.slow


class Flip(NamedTuple):
    """Another value of a key, and the keys that it needs beside it."""

    value: Any
    beside: Any = MappingProxyType({})


class TokenFlip(NamedTuple):
    """Another value of a key, the rows that show it, and what the entry of `datasets` and the file need beside it."""

    value: Any
    rows: list[dict[str, Any]]
    entry: Any = MappingProxyType({})
    beside: Any = MappingProxyType({})


HELD_OUT = {"val_set_size": 3}
FULL = {"adapter": None, "lora_r": None, "lora_target_linear": None}
CHECKPOINTED = {
    "fused_layers": False,  # with them, checkpointing is switched off where there is the memory
    "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False, "preserve_rng_state": False},
    "lora_dropout": 0.5,
}
"""Checkpoints that show: the dropout of the second forward pass is another one."""

FLIPS: dict[str, Flip] = {
    "bf16": Flip("full"),
    "attn_implementation": Flip("eager"),
    "adapter": Flip(None),
    "lora_r": Flip(2),
    "lora_alpha": Flip(100),
    "lora_dropout": Flip(0.5),
    "lora_target_modules": Flip(["q_proj"], {"lora_target_linear": None, "lora_target_modules": ["k_proj"]}),
    "lora_modules_to_save": Flip(["lm_head"]),
    "peft_use_dora": Flip(True),
    "peft_use_rslora": Flip(True),
    "val_set_size": Flip(3),
    "sequence_len": Flip(8),
    "sample_packing": Flip(True),
    "eval_sample_packing": Flip(True, HELD_OUT),
    "min_sample_len": Flip(9),
    "shuffle_merged_datasets": Flip(False),
    "seed": Flip(7),
    "data_seed": Flip(7),
    "micro_batch_size": Flip(2),
    "gradient_accumulation_steps": Flip(2),
    "batch_size": Flip(2),
    "num_epochs": Flip(2, {"max_steps": None}),
    "max_steps": Flip(2),
    "learning_rate": Flip(1e-3),
    "optimizer": Flip("sgd"),
    "optim_args": Flip({"momentum": 0.9}, {"optimizer": "sgd"}),
    "lr_scheduler": Flip("constant"),
    "lr_scheduler_kwargs": Flip({"num_cycles": 2}, {"lr_scheduler": "cosine_with_restarts"}),
    "cosine_min_lr_ratio": Flip(0.5),
    "warmup_steps": Flip(2),
    "warmup_ratio": Flip(0.7),
    "weight_decay": Flip(0.5),
    "adam_beta1": Flip(0.5),
    "adam_beta2": Flip(0.5),
    "adam_epsilon": Flip(0.1),
    "max_grad_norm": Flip(0.01),
    "neftune_noise_alpha": Flip(50),
    "logging_steps": Flip(3),
    "eval_strategy": Flip("no", HELD_OUT),
    "eval_steps": Flip(1, HELD_OUT),
    "evals_per_epoch": Flip(4, HELD_OUT),
    "save_strategy": Flip("no"),
    "save_steps": Flip(1),
    "saves_per_epoch": Flip(6),
    "save_total_limit": Flip(1, {"save_steps": 1}),
    "fused_layers": Flip(False, {"bf16": True}),
    "peft_autocast_adapter_dtype": Flip(False, {"bf16": True}),
    "gradient_checkpointing": Flip(False, CHECKPOINTED),
    "gradient_checkpointing_kwargs": Flip({"use_reentrant": False}, CHECKPOINTED),
}
"""Key -> how to flip it; inside a block as `datasets[].type`."""

TEXTS = [{"text": "One two three."}, {"text": "A week has seven days."}, {"text": "Frozen water is ice."}]
TASKS = [
    {"instruction": "Add.", "input": "1 2", "output": "3", "system": "You add.", "more": "Add both, with care."},
    {"instruction": "Spell.", "input": "", "output": "a b c", "system": "You spell.", "more": "Spell it out."},
]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "You add."},
            {"role": "user", "content": "1 + 2?"},
            {"role": "assistant", "content": "<think>easy</think>It is 3.", "train": False},
            {"role": "user", "content": "And 4?"},
            {
                "role": "assistant",
                "content": "It is 7.",
                "own": "thought",
                "spans": [{"begin_offset": 0, "end_offset": 1, "train": True}],
            },
        ],
        "other": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        "twofold": [
            {"role": "user", "who": "system", "content": "Hi", "what": "Ho"},
            {"role": "assistant", "who": "assistant", "content": "Yes.", "what": "No."},
        ],
        "own_tools": [{"type": "function", "function": {"name": "look"}}],
    }
]
SHAREGPT_ROWS = [
    {"conversations": [{"from": "human", "value": "Hi", "text": "Ho"}, {"from": "gpt", "value": "Yes.", "text": "No."}]}
]
JINJA = (
    "{{ tools }}{{ mood }}{% for m in messages %}<{{ m.role }}>({{ m.reasoning_content }})[{{ m.thought }}]"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
CHAT = {"type": "chat_template"}
TWOFOLD = CHAT | {"field_messages": "twofold"}
OWN = CHAT | {"chat_template": "jinja", "chat_template_jinja": JINJA}
SHAREGPT = {"type": "sharegpt"}
COMPLETION = {"type": "completion"}
ALPACA = {"type": "alpaca"}

IGNORED = ["instruction", "input", "system", "messages", "train"]
"""What a row below has for one key, and would be refused for by the types that do not read it."""

TOKEN_FLIPS: dict[str, TokenFlip] = {
    "mask": TokenFlip("axolotl", CHATS, OWN),
    "train_on_inputs": TokenFlip(True, TASKS, ALPACA),
    "excess_length_strategy": TokenFlip("truncate", TASKS, ALPACA, {"sequence_len": 40, "train_on_inputs": True}),
    "chat_template": TokenFlip("alpaca", CHATS, CHAT),
    "datasets[].type": TokenFlip("alpaca_w_system", TASKS, ALPACA),
    "datasets[].field": TokenFlip("more", TASKS, COMPLETION | {"field": "instruction"}),
    "datasets[].field_instruction": TokenFlip("more", TASKS, ALPACA),
    "datasets[].field_input": TokenFlip("more", TASKS, ALPACA),
    "datasets[].field_output": TokenFlip("more", TASKS, ALPACA),
    "datasets[].field_messages": TokenFlip("other", CHATS, CHAT),
    "datasets[].roles_to_train": TokenFlip(["user"], CHATS, CHAT),
    "datasets[].train_on_eos": TokenFlip("last", CHATS, CHAT),
    "datasets[].message_field_training": TokenFlip("train", CHATS, CHAT),
    "datasets[].drop_system_message": TokenFlip(True, CHATS, CHAT),
    "datasets[].chat_template": TokenFlip("alpaca", CHATS, CHAT),
    "datasets[].mask": TokenFlip("axolotl", CHATS, OWN),
    "datasets[].shards": TokenFlip(2, TEXTS, COMPLETION),
    "datasets[].shards_idx": TokenFlip(1, TEXTS, COMPLETION | {"shards": 2}),
    "datasets[].text_column": TokenFlip(
        "more", TASKS, {"type": "pretrain", "text_column": "instruction"}, {"max_steps": 1}
    ),
    "datasets[].message_field_role": TokenFlip("who", CHATS, TWOFOLD),
    "datasets[].message_field_content": TokenFlip("what", CHATS, TWOFOLD),
    "datasets[].message_property_mappings": TokenFlip({"content": "what"}, CHATS, TWOFOLD),
    "datasets[].message_field_training_detail": TokenFlip("spans", CHATS, CHAT),
    "datasets[].train_on_eot": TokenFlip("all", CHATS, CHAT),
    "datasets[].chat_template_jinja": TokenFlip("Chat: " + JINJA, CHATS, OWN),
    "datasets[].field_tools": TokenFlip("own_tools", CHATS, OWN),
    "datasets[].field_thinking": TokenFlip("own", CHATS, OWN),
    "datasets[].template_thinking_key": TokenFlip("thought", CHATS, OWN | {"field_thinking": "own"}),
    "datasets[].split_thinking": TokenFlip(True, CHATS, OWN),
    "datasets[].conversation": TokenFlip("chatml", SHAREGPT_ROWS, SHAREGPT),
    "datasets[].strict": TokenFlip(True, SHAREGPT_ROWS, SHAREGPT),
    "chat_template_jinja": TokenFlip(
        "Chat: " + JINJA, CHATS, CHAT, {"chat_template": "jinja", "chat_template_jinja": JINJA}
    ),
    "chat_template_kwargs": TokenFlip({"mood": "glad"}, CHATS, OWN),
    "eot_tokens": TokenFlip(["<|im_start|>"], CHATS, CHAT, {"mask": "axolotl"}),
    "datasets[].ignored_columns": TokenFlip(
        ["input", "system", "train", "own"], CHATS, OWN | {"field_thinking": "own"}
    ),
    "datasets[].skip": TokenFlip(1, TEXTS, {"type": "pretrain"}, {"max_steps": 1}),
}
"""Key -> how to flip it, where the tokens show its effect."""


def documented_keys() -> list[str]:
    """Return every key that the reference page documents; those inside a block as `special_tokens.pad_token`."""
    return [key for section in SECTIONS.values() for key in keys_of(section)]


def keys_of(section: type[Section], prefix: str = "") -> list[str]:
    keys = []
    for name, field in section.model_fields.items():
        inside, listed = block(field.annotation)
        if inside is None:
            keys.append(prefix + name)
        else:
            keys += keys_of(inside, f"{prefix}{name}{'[]' if listed else ''}.")
    return keys


def block(annotation: Any) -> tuple[type[Section] | None, bool]:
    """Return the section that a key holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    for item in typing.get_args(annotation):
        inside, listed = block(item)
        if inside is not None:
            return inside, listed or typing.get_origin(annotation) is list
    return None, False


def test_every_documented_key_has_a_line():
    known = {key for key in documented_keys() if not key.startswith("test_datasets[].")}
    tables = [*FLIPS, *TOKEN_FLIPS, *SHOWN_BY]
    assert set(tables) == known
    assert len(set(tables)) == len(tables)
    assert len(SHOWN_BY) == sum(len(keys.split()) for tests in TESTS.values() for keys in tests.values())


@pytest.mark.parametrize("key", SHOWN_BY)
def test_the_test_that_shows_an_effect_names_the_key(key):
    file, _, name = SHOWN_BY[key].partition("::")
    assert names_key(Path(__file__).parents[2] / file, name, key)


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("load(lora_r=8)", True),
        ("load(**KEYS)", True),
        ("load({'lora_r': 8})", True),
        ("main(['--lora-r', '8'])", True),
        ("main(['--adapter.lora-r', '8'])", True),
        ("load('lora_r: 8')", True),
        ("load('its lora_r may be')", False),
        ("load(lora_rank=8, my_lora_r=8)", False),
        ("load(config.lora_r)", False),
    ],
)
def test_a_key_is_named_by_what_sets_it(line, is_named, tmp_path):
    file = tmp_path / "test_some.py"
    constants = "KEYS = {'lora_r': 8}\nUNUSED_KEYS = {'lora_r': 9}\n"
    file.write_text(f"{constants}def test_some():\n    'lora_r: in words'\n    {line}\n")
    assert names_key(file, "test_some", "lora_r") == is_named


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, tiny_config, train):
    """`outcome(keys)` trains three steps and returns all that can be seen afterwards, without times."""
    seen: dict[str, Any] = {}

    def run(keys: dict[str, Any], name: str = "") -> Any:
        name = name or json.dumps(keys, sort_keys=True)
        if name not in seen:
            file = tiny_config(tmp_path_factory.mktemp("flip"), **({"max_steps": 3} | keys))
            seen[name] = traces(train(file))
        return seen[name]

    return run


def traces(output: Path) -> dict[str, Any]:
    """Return the files of a run, its weights and its metrics."""
    timed = {"tokens_per_second", "peak_memory"}
    lines = (output / "run/metrics.jsonl").read_text().splitlines()
    weights = hashlib.sha256()
    for file in sorted(output.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for key in sorted(tensors.keys()):
                weights.update(key.encode())
                weights.update(tensors.get_tensor(key).float().numpy().tobytes())
    return {
        "files": sorted(str(file.relative_to(output)) for file in output.rglob("*") if "run/" not in str(file)),
        "weights": weights.hexdigest(),
        "metrics": [{key: value for key, value in json.loads(line).items() if key not in timed} for line in lines],
    }


def test_two_runs_of_one_config_show_the_same(outcome):
    assert outcome({}, "first") == outcome({}, "second")


@pytest.mark.parametrize("key", FLIPS)
def test_a_key_changes_what_a_run_shows(key, outcome):
    flip = FLIPS[key]
    assert outcome(dict(flip.beside)) != outcome(flip.beside | {key: flip.value})


@pytest.mark.parametrize("key", TOKEN_FLIPS)
def test_a_key_changes_the_tokens(key, tmp_path, write_config, write_jsonl, tokenizer):
    flip = TOKEN_FLIPS[key]
    rows = write_jsonl(tmp_path / "rows.jsonl", flip.rows)

    def tokens(entry: dict[str, Any], keys: dict[str, Any]) -> list[Any]:
        entry = {"path": str(rows), "ignored_columns": IGNORED} | entry
        config = load(str(write_config(tmp_path, datasets=[entry], **(flip.beside | keys))))
        train = prepare_splits(config, tokenizer).train
        return list(train.select_columns(["input_ids", "labels"]))

    name = key.removeprefix("datasets[].")
    entry, keys = ({}, {key: flip.value}) if name == key else ({name: flip.value}, {})
    assert tokens(flip.entry, {}) != tokens(flip.entry | entry, keys)
