"""Rules across keys. Each says which keys do not go together, with their values, and what to set instead."""

import re
from collections.abc import Iterator

from tunesmith.config.data_rules import data_problems
from tunesmith.config.model_rules import what_trains
from tunesmith.config.preference_rules import preference_problems
from tunesmith.config.problem import Problem, at
from tunesmith.config.synthesis_rules import synthesis_problems
from tunesmith.config.tracking_rules import tracking_problems
from tunesmith.config.training_rules import training_problems
from tunesmith.config.yaml_source import KeyPath, flow
from tunesmith.sections import AdapterSection, Config, ModelSection
from tunesmith.sections.types import template_fault


def broken_rules(config: Config) -> list[Problem]:
    """Return the problems between keys, in the order of the sections."""
    return [
        *_model(config.model),
        *_adapter(config.adapter, config.model),
        *what_trains(config),
        *data_problems(config),
        *training_problems(config),
        *preference_problems(config),
        *tracking_problems(config),
        *synthesis_problems(config),
        *_answers(config),
    ]


def _model(model: ModelSection) -> Iterator[Problem]:
    if model.load_in_4bit and model.load_in_8bit:
        yield at("load_in_8bit", "`load_in_4bit: true` and `load_in_8bit: true`: keep one")
    if model.fp16 and model.bf16 in (True, "full"):
        yield at("fp16", f"`bf16: {flow(model.bf16)}` and `fp16: true`: keep one; bf16 where the machine has it")
    if text := template_fault(model.chat_template):
        yield at("chat_template", text)
    if model.chat_template == "jinja" and not model.chat_template_jinja:
        yield at("chat_template", "`chat_template: jinja` needs `chat_template_jinja`: the template or its file")


def _adapter(adapter: AdapterSection, model: ModelSection) -> Iterator[Problem]:
    if adapter.adapter and adapter.lora_r is None and adapter.lora_model_dir is None:
        yield at("adapter", f"`adapter: {adapter.adapter}` needs `lora_r`; 16 is a good start")
    if adapter.adapter == "qlora" and not model.load_in_4bit:
        yield at("adapter", "`adapter: qlora` needs `load_in_4bit: true`; without it, use `adapter: lora`")
    if adapter.adapter == "qlora" and model.load_in_8bit:
        yield at("load_in_8bit", "`adapter: qlora` needs `load_in_4bit: true`, not `load_in_8bit`")
    if adapter.adapter is None and (model.load_in_4bit or model.load_in_8bit):
        bits = "4" if model.load_in_4bit else "8"
        yield at(
            f"load_in_{bits}bit",
            "quantised weights cannot be trained; set `adapter: qlora` (4 bits) or `adapter: lora`",
        )
    if (
        adapter.adapter
        and not adapter.lora_model_dir
        and not adapter.lora_target_linear
        and not adapter.lora_target_modules
        and not adapter.lora_target_parameters
    ):
        yield at("adapter", f"`adapter: {adapter.adapter}` needs `lora_target_linear: true` or `lora_target_modules`")
    if adapter.lora_model_dir and not adapter.adapter:
        yield at("lora_model_dir", f"`lora_model_dir: {adapter.lora_model_dir}` needs `adapter: lora` (or qlora)")
    if isinstance(adapter.lora_target_modules, str) and (fault := _regex_fault(adapter.lora_target_modules)):
        yield at(
            "lora_target_modules",
            f"`lora_target_modules: {adapter.lora_target_modules}` is no regular expression: {fault}",
        )
    if adapter.lora_target_linear and isinstance(adapter.lora_target_modules, str):
        yield at(
            "lora_target_modules",
            f"`lora_target_linear: true` and the regular expression `{adapter.lora_target_modules}`: keep one",
        )


def _answers(config: Config) -> Iterator[Problem]:
    split = "fsdp" if config.distribution.sharded else "deepspeed" if config.distribution.deepspeed else None
    section = config.evaluation.evaluation
    paths: list[KeyPath] = [(key,) for key in ("generate_samples", "do_causal_lm_eval") if config.values.get(key)]
    if section.during_training:
        paths.append(("evaluation", "during_training"))
        if not section.assertions:
            yield paths[-1], f"`during_training: {section.during_training}` needs `assertions`, which judge the answers"
    for path in paths if split else []:
        key = ".".join(map(str, path))
        yield (
            path,
            f"`{key}` and `{split}`: a model that is split over processes does not answer; remove `{key}`, "
            "and run tunesmith evaluate afterwards",
        )


def _regex_fault(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""
