"""What is frozen of rows: groups, each a type with its options, a tokenizer, and a generator of rows.

A group's rows are drawn by its own name, so that a group more changes no other.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import conversations as talk
import rows
from adapters import SMOLLM

NAMES: dict[str, Any] = json.loads((Path(__file__).parent / "names.json").read_text("utf-8"))
"""Types, layouts, templates and keys as they were when the files were frozen."""

MASKS = ("served", "axolotl")
WITH_TEMPLATE = (SMOLLM, "qwen3", "llama3_1", "gemma3", "deepseek_v3")
"""Tokenizers with a chat template of their own."""
WITHOUT = ("mistral_v1", "mistral_v2", "mistral_v3", "mistral_v7", "tekken", "qwen", "gptoss", "deepseek_v4")
TOKENIZERS = (*WITH_TEMPLATE, *WITHOUT)
NATIVE = {
    "llama3_1": ("llama3", "llama3_2_vision", "trl:llama3_training"),
    "gemma3": ("gemma", "gemma3"),
    "gptoss": ("trl:gptoss", "trl:gptoss_training"),
    "qwen3": ("qwen3", "qwen_25", "qwen3_5", "trl:qwen3_training", "trl:qwen3_instruct_2507_training"),
    "qwen": ("qwen3", "qwen_25", "qwen2_vl", "chatml"),
    "deepseek_v3": ("deepseek_v3", "deepseek_v2"),
    "deepseek_v4": ("deepseek_v3", "deepseek_v2"),
    "mistral_v1": ("mistral_v1", "inst", "alpaca", "chatml"),
    "mistral_v2": ("mistral_v2v3", "chatml"),
    "mistral_v3": ("mistral_v2v3", "alpaca"),
    "mistral_v7": ("mistral_v7_tekken", "chatml"),
    "tekken": ("mistral_v3_tekken", "mistral_v7_tekken", "pixtral", "chatml"),
}
"""Tokenizer -> named templates that are made for it, or often used with it."""


class Group(NamedTuple):
    """Rows of one kind.

    Attributes:
        type: value of `type`, as the name of the group has it.
        options: name of the set of options.
        mask: whose labels.
        tokenizer: name of the tokenizer, or None.
        kind: makes a row.
        count: how many.
        dataset: keys of the entry of `datasets`.
        config: top-level keys.
    """

    type: str
    options: str
    mask: str
    tokenizer: str | None
    kind: Any
    count: int
    dataset: dict[str, Any]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.type} | {self.options} | {self.tokenizer or 'no tokenizer'} | {self.mask}"

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows: the same for both masks and all tokenizers."""
        return [self.kind(Random(f"{self.type} {self.options} {number}")) for number in range(self.count)]


COLUMNS = {
    "oasst": rows.columns("INSTRUCTION RESPONSE"),
    "explainchoice": rows.choices,
    "concisechoice": rows.choices,
    "summarizetldr": rows.columns("article summary"),
    "reflection": rows.columns("instruction input? output reflection corrected"),
    "gpteacher": rows.columns("instruction input? response"),
    "jeopardy": rows.columns("question category? answer"),
    "alpaca_chat.load_qa": rows.columns("question answer"),
    "alpaca_chat.load_camel_ai": rows.columns("message_1 message_2"),
    "alpaca_w_system.load_open_orca": rows.columns("system_prompt? question response"),
    "alpaca_w_system.load_open_orca_chatml": rows.columns("system_prompt question response"),
    "alpaca_w_system": rows.columns("system? instruction input? output"),
    "orcamini": rows.columns("system_prompt? question response"),
    "metharme": rows.columns("prompt generation"),
    "context_qa.load_v2": rows.columns("context question answer"),
    "context_qa": rows.columns("article question unanswerable_question answer"),
    "creative_acr": rows.creative,
    "": rows.columns("instruction input? output"),
}
"""How the name of an instruction type begins -> its rows. The first that fits counts."""


def _kind_of(name: str) -> Any:
    return next(kind for start, kind in COLUMNS.items() if name.startswith(start))


MAPPING = {
    "field_instruction": "question",
    "field_output": "answer",
    "field_input": "about",
    "field_system": "sys",
    "system_prompt": "Be brief.",
    "format": "Q: {instruction} ({input})\nA:",
    "no_input_format": "Q: {instruction}\nA:",
    "system_format": "<<{system}>> ",
}
MAPPED = rows.columns("question about? sys? answer")

Plain = tuple[str, str, Any, Any, int, dict[str, Any], dict[str, Any]]
"""Type, options, tokenizers, kind, count, dataset, config."""


def _instruct() -> Iterator[Plain]:
    for name in NAMES["instruct"]:
        yield name, "plain", (SMOLLM, "mistral_v1", "llama3_1"), _kind_of(name), 7, {"type": name}, {}
        inputs = {"train_on_inputs": True}
        yield name, "train_on_inputs", (SMOLLM, "mistral_v1"), _kind_of(name), 3, {"type": name}, inputs
    for style in ("instruct", "chat", "chatml", "phi", "none"):
        yield "alpaca_chat", style, (SMOLLM,), _kind_of("alpaca"), 4, {"type": "alpaca_chat", "conversation": style}, {}
    renamed = {"type": "alpaca", "field_instruction": "question", "field_output": "answer", "field_input": "about"}
    yield "alpaca", "renamed", TOKENIZERS, MAPPED, 5, renamed, {}
    yield "user_defined", "mapping", TOKENIZERS, MAPPED, 8, {"type": MAPPING}, {}
    short = {"field_instruction": "question", "field_output": "answer"}
    yield "user_defined", "short", (SMOLLM, "mistral_v1"), MAPPED, 8, {"type": short}, {"train_on_inputs": True}
    for key in ("format", "no_input_format", "system_format", "unknown"):
        wrong = {"type": MAPPING | {key: "{instruction} {nothing}"}}
        yield "user_defined", f"wrong {key}", (SMOLLM,), MAPPED, 2, wrong, {}
    yield "own_format.py:render", "plain", TOKENIZERS, _kind_of("alpaca"), 5, {"type": "own_format.py:render"}, {}


def _raw() -> Iterator[Plain]:
    inputs = {"train_on_inputs": True}
    yield "completion", "plain", TOKENIZERS, rows.completion, 10, {"type": "completion"}, {}
    yield "completion", "field", (SMOLLM,), rows.completion, 6, {"type": "completion", "field": "other"}, {}
    yield "completion", "cut", TOKENIZERS, rows.long_text, 3, {"type": "completion"}, {"sequence_len": 32}
    for name, column in (("text", "text"), ("lists", "other")):
        dataset = {"type": "pretrain", "text_column": column}
        yield "pretrain", name, TOKENIZERS, rows.completion, 6, dataset, {}
    yield "pretrain", "cut", TOKENIZERS, rows.long_text, 3, {"type": "pretrain"}, {"sequence_len": 32}
    stream = {"pretraining_dataset": [{"path": "row", "text_column": "other", "type": "pretrain"}], "max_steps": 2}
    yield "pretrain", "stream", (SMOLLM, "llama3_1"), rows.completion, 6, {"type": "pretrain"}, stream
    yield "input_output", "plain", TOKENIZERS, rows.segments, 8, {"type": "input_output"}, {}
    yield "input_output", "train_on_inputs", (SMOLLM,), rows.segments, 8, {"type": "input_output"}, inputs
    for name, keys in (
        ("plain", {}),
        ("last", {"train_on_last_step_only": True}),
        ("separator", {"step_separator": " ки\n\n"}),
        ("no separator", {"step_separator": ""}),
        ("short", {"max_completion_length": 6}),
    ):
        dataset = {"type": "stepwise_supervised"} | keys
        yield "stepwise_supervised", name, (SMOLLM, "mistral_v1", "gemma3", "qwen"), rows.steps, 8, dataset, {}
    yield "pretokenized", "plain", (SMOLLM, "llama3_1"), rows.tokens, 20, {"type": "pretokenized"}, {}
    yield "(detected)", "plain", (SMOLLM, "llama3_1"), rows.guessed, 120, {}, {}
    for name in ("alpaka", "chat_templates", "none.py:render", "own_format.py:nothing", "sharegpt.load"):
        yield name, "unknown", (SMOLLM,), _kind_of("alpaca"), 1, {"type": name}, {}


def _talk() -> Iterator[Plain]:
    loaders = {
        "load_role": talk.loader("role", "value", "human", "gpt"),
        "load_guanaco": talk.loader("role", "text", "prompter", "assistant"),
        "load_ultrachat": talk.loader("role", "content", "user", "assistant", "messages"),
        "load_glaive": talk.glaive,
        "_jokes": rows.columns("title? text explanation"),
        "instruct": rows.columns("instruction output"),
        "": talk.sharegpt,
    }
    for name in NAMES["sharegpt"]:
        kind = next(kind for end, kind in loaders.items() if name.endswith(end))
        yield name, "plain", (SMOLLM, "mistral_v1", "llama3_1", "qwen3"), kind, 10, {"type": name}, {}
        inputs = {"train_on_inputs": True}
        yield name, "chatml", (SMOLLM,), kind, 5, {"type": name, "conversation": "chatml"}, inputs
    for layout in (*NAMES["conversations"], "vicuna_v9"):
        dataset = {"type": "sharegpt", "conversation": layout}
        yield "sharegpt", f"layout {layout}", (SMOLLM, "mistral_v1", "llama3_1"), talk.sharegpt, 6, dataset, {}
    for name, keys, config in (
        ("strict", {"strict": True}, {}),
        ("roles", {"field_human": "user", "field_model": "assistant"}, {}),
        ("more roles", {"conversation": "chatml", "roles": {"input": ["tool", "critic"], "output": ["ghost"]}}, {}),
        ("default system", {"conversation": "chatml"}, {"default_system_message": "You are kind."}),
        ("llama3 system", {"conversation": "llama3"}, {"default_system_message": "You are kind."}),
        ("messages", {"field_messages": "messages"}, {}),
    ):
        yield "sharegpt", name, (SMOLLM, "mistral_v1"), talk.sharegpt, 12, {"type": "sharegpt"} | keys, config
    pygmalion = talk.loader("role", "value", "human", "bot")
    llama2 = talk.loader("from", "value", "human", "gpt")
    for options, config in (("plain", {"sequence_len": 200}), ("train_on_inputs", {"train_on_inputs": True})):
        yield "pygmalion", options, TOKENIZERS, pygmalion, 10, {"type": "pygmalion"}, config
        yield "llama2_chat", options, TOKENIZERS, llama2, 10, {"type": "llama2_chat"}, config


FROM = {"field_messages": "conversations", "message_property_mappings": {"role": "from", "content": "value"}}
CHAT_OPTIONS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "plain": (talk.chat, {}, {}),
    "tools": (talk.tools, {}, {}),
    "thinking": (talk.thinking, {}, {}),
    "thinking split": (talk.thinking, {"split_thinking": True}, {}),
    "thinking own key": (talk.thinking, {"field_thinking": "thought"}, {}),
    "thinking off": (talk.thinking, {}, {"chat_template_kwargs": {"enable_thinking": False}}),
    "parts": (talk.parts, {}, {}),
    "flags": (talk.flagged, {"message_field_training": "train"}, {}),
    "details": (talk.flagged, {"message_field_training_detail": "spans", "message_field_training": "weight"}, {}),
    "from value": (talk.from_value, FROM, {}),
    "old names": (
        talk.from_value,
        {"field_messages": "conversations", "message_field_role": "from", "message_field_content": "value"},
        {},
    ),
    "more roles": (talk.from_value, FROM | {"roles": {"assistant": ["gpt", "bot"], "user": ["human"]}}, {}),
    "roles all": (talk.chat, {"roles_to_train": ["system", "user", "assistant"]}, {}),
    "roles user": (talk.chat, {"roles_to_train": ["user"]}, {}),
    "roles none": (talk.chat, {"roles_to_train": []}, {}),
    "eos all": (talk.chat, {"train_on_eos": "all"}, {}),
    "eos last": (talk.chat, {"train_on_eos": "last"}, {}),
    "eos none": (talk.chat, {"train_on_eos": "none"}, {}),
    "eos null": (talk.chat, {"train_on_eos": None, "roles_to_train": []}, {}),
    "eot": (talk.chat, {"train_on_eot": "all"}, {"eot_tokens": ["<|im_end|>", "<|eot_id|>", "<end_of_turn>"]}),
    "inputs": (talk.chat, {}, {"train_on_inputs": True}),
    "no system": (talk.chat, {"drop_system_message": True}, {}),
    "short": (talk.chat, {}, {"sequence_len": 24}),
    "jinja": (
        talk.thinking,
        {"chat_template": "jinja", "chat_template_jinja": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{{ "
         "eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"},
        {},
    ),
}  # fmt: skip


def _chat() -> Iterator[Plain]:
    for options, (kind, keys, config) in CHAT_OPTIONS.items():
        for tokenizer in TOKENIZERS:
            template = {} if tokenizer in WITH_TEMPLATE else {"chat_template": NATIVE[tokenizer][0]}
            dataset = {"type": "chat_template"} | template | keys
            yield "chat_template", f"own, {options}", (tokenizer,), kind, 5, dataset, config
    for template in (*NAMES["templates"], "tokenizer_default_fallback_chatml", "chatmal"):
        for options, kind in (("plain", talk.chat), ("thinking", talk.thinking), ("tools", talk.tools)):
            used = {"chat_template": template}
            yield "chat_template", f"{template}, {options}", (SMOLLM,), kind, 5, {"type": "chat_template"}, used
    for tokenizer, templates in NATIVE.items():
        for template in templates:
            for options in ("plain", "tools", "thinking", "eos all", "inputs"):
                kind, keys, config = CHAT_OPTIONS[options]
                dataset = {"type": "chat_template", "chat_template": template} | keys
                yield "chat_template", f"{template}, {options}", (tokenizer,), kind, 3, dataset, config
    text = rows.columns("prompt completion")
    for options, config in (("plain", {}), ("train_on_inputs", {"train_on_inputs": True})):
        chatml = {"type": "prompt_completion", "chat_template": "chatml"}
        yield "prompt_completion", f"text, {options}", TOKENIZERS, text, 8, {"type": "prompt_completion"}, config
        yield "prompt_completion", f"messages, {options}", TOKENIZERS, talk.pair_of_messages, 8, chatml, config
    own = {"type": "prompt_completion"}
    yield "prompt_completion", "messages, own", WITH_TEMPLATE, talk.pair_of_messages, 8, own, {}


PREFERENCE_MAPPING = {
    "field_prompt": "field_prompt",
    "prompt_format": "[{prompt}] {system}",
    "chosen_format": "{chosen}!",
}
JUDGED_MAPPING = {"field_prompt": "question", "prompt_format": "[{prompt}]", "field_label": "label"}


def _preferences() -> Iterator[Plain]:
    group_of = {"dpo": "dpo", "ipo": "dpo", "simpo": "dpo", "orpo": "orpo", "kto": "kto"}
    for rl, group in group_of.items():
        kinds = (talk.judged,) if group == "kto" else (talk.preference, talk.preference_chats)
        for name in (*NAMES["preferences"][group], "chatml.nothing"):
            for kind in (*kinds, talk.ranked) if "nectar" in name else kinds:
                dataset: dict[str, Any] = {"type": name} if name else {}
                if name == "user_defined":
                    dataset = {"type": JUDGED_MAPPING if group == "kto" else PREFERENCE_MAPPING}
                few = rl in ("ipo", "simpo")
                named = f"{rl} {name or '(none)'}"
                tokenizers = (SMOLLM,) if few else (SMOLLM, "llama3_1", "qwen3", None)
                yield named, kind.__name__, tokenizers, kind, 4 if few else 9, dataset, {"rl": rl}
        for template in ("chatml", "llama3", "qwen3", "gemma", "mistral_v1"):
            dataset = {} if group == "kto" else {"type": f"chat_template.argilla{'' if group == 'orpo' else '_chat'}"}
            config = {"rl": rl, "chat_template": template}
            yield f"{rl} template", template, (SMOLLM,), kinds[-1], 5, dataset, config


def groups() -> Iterator[Group]:
    """Yield all groups, with both masks and each tokenizer."""
    for family in (_instruct, _raw, _talk, _chat, _preferences):
        for name, options, tokenizers, kind, count, dataset, config in family():
            for tokenizer in tokenizers:
                for mask in MASKS:
                    yield Group(name, options, mask, tokenizer, kind, count, dataset, config | {"mask": mask})
