"""Rules across keys. Each problem names the keys with their values, and the fix."""

import re
from collections.abc import Iterator

from tunesmith.config.conditions import problems_by_markers
from tunesmith.config.data_rules import data_problems, distribution_problems
from tunesmith.config.model_rules import model_problems
from tunesmith.config.preference_rules import preference_problems
from tunesmith.config.problem import Problem, at
from tunesmith.config.synthesis_rules import synthesis_problems
from tunesmith.config.training_rules import training_problems
from tunesmith.sections import AdapterSection, Config, DistributionSection, EvaluationSection, ModelSection
from tunesmith.sections.locations import KeyPath
from tunesmith.sections.types import template_fault


def broken_rules(config: Config) -> list[Problem]:
    """Return the problems between keys, in the order of the sections."""
    return [
        *problems_by_markers(config),
        *_model(config.model),
        *_adapter(config.adapter),
        *model_problems(config.model, config.adapter, config.training, config.distribution),
        *data_problems(config.data),
        *distribution_problems(config.distribution),
        *training_problems(config.training, config.data, config.evaluation, config.distribution),
        *preference_problems(config),
        *synthesis_problems(config.synthesis, config.evaluation),
        *_answers(config.evaluation, config.distribution),
    ]


def _model(model: ModelSection) -> Iterator[Problem]:
    if text := template_fault(model.chat_template):
        yield at("chat_template", text)


def _adapter(adapter: AdapterSection) -> Iterator[Problem]:
    if isinstance(adapter.lora_target_modules, str) and (fault := _regex_fault(adapter.lora_target_modules)):
        yield at(
            "lora_target_modules",
            f"`lora_target_modules: {adapter.lora_target_modules}` is not a regular expression: {fault}",
        )
    if adapter.lora_target_linear and isinstance(adapter.lora_target_modules, str):
        yield at(
            "lora_target_modules",
            f"`lora_target_linear: true` and the regular expression `{adapter.lora_target_modules}`: use only one",
        )


def _answers(section: EvaluationSection, distribution: DistributionSection) -> Iterator[Problem]:
    sharding = ("fsdp" if distribution.sharded else "") or ("deepspeed" if distribution.deepspeed else "")
    paths: list[KeyPath] = [(key,) for key in ("generate_samples", "do_causal_lm_eval") if getattr(section, key)]
    if section.evaluation.during_training:
        paths.append(("evaluation", "during_training"))
    for path in paths if sharding else []:
        key = ".".join(map(str, path))
        yield (
            path,
            f"`{key}` and `{sharding}`: a sharded model does not generate answers; remove `{key}`, "
            "and run tunesmith evaluate after the training",
        )


def _regex_fault(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""
