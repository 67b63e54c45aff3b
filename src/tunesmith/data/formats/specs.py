"""From config sections to the `FormatSpec` of each dataset: its type, mask and chat template, checked."""

from collections.abc import Sequence
from typing import Any

from tunesmith.data.formats import find_format
from tunesmith.data.formats.detect import with_types
from tunesmith.data.formats.format import Format, FormatSpec, Mask, Preferences
from tunesmith.data.messages import REASONING
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer, chat_template, eos_of, template_properties
from tunesmith.errors import ConfigError
from tunesmith.sections import DataSection, Dataset, ModelSection


def format_specs(
    datasets: Sequence[Dataset], data: DataSection, model: ModelSection, tokenizer: Tokenizer, source: str
) -> list[FormatSpec]:
    """Return each dataset's settings, with its chat template where its type uses one.

    Raises:
        ConfigError: a type or template is unknown, or nothing ends an answer, in a template or at all.
    """
    eos_of(tokenizer)
    if data.rl:
        return _preference_specs(datasets, data, model, tokenizer, source)
    specs = [format_spec(dataset, data, model, tokenizer, source) for dataset in with_types(datasets, source)]
    for spec in specs:
        _require_end(spec, model)
    return specs


def _preference_specs(
    datasets: Sequence[Dataset], data: DataSection, model: ModelSection, tokenizer: Tokenizer, source: str
) -> list[FormatSpec]:
    """Return the settings of preference datasets."""
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    ends = tuple({*special, *(model.eot_tokens or ()), eos_of(tokenizer)[0]})
    preferences = Preferences(data.rl or "", model, ends)
    specs = []
    for dataset in datasets:
        named = (dataset.chat_template, dataset.chat_template_jinja, model.chat_template, model.chat_template_jinja)
        has_template = any((*named, tokenizer.chat_template))
        template = dataset_template(dataset, model, tokenizer, source) if has_template else None
        mask = dataset.mask or data.mask
        specs.append(
            FormatSpec(
                _with_thinking_key(dataset, template, mask),
                template=template,
                mask=mask,
                sequence_len=data.sequence_len,
                tokenizer=tokenizer,
                preferences=preferences,
                source=source,
            )
        )
    return specs


def as_chat(dataset: Dataset) -> Dataset:
    """Return a preference dataset as one of conversations, which is how its model is asked."""
    return dataset.model_copy(update={"type": "chat_template"})


def format_spec(
    dataset: Dataset, data: DataSection, model: ModelSection, tokenizer: Tokenizer, source: str
) -> FormatSpec:
    """Return the settings of one dataset, which has a type; a template without an end is let pass."""
    template = _template(dataset, find_format(dataset.kind, source), model, tokenizer, source)
    mask = dataset.mask or data.mask
    return FormatSpec(
        _with_thinking_key(dataset, template, mask),
        data.train_on_inputs,
        template,
        mask,
        data.sequence_len,
        None if model.eot_tokens is None else tuple(model.eot_tokens),
        model.default_system_message,
        tokenizer=tokenizer,
        source=source,
    )


def _with_thinking_key(dataset: Dataset, template: ChatTemplate | None, mask: Mask) -> Dataset:
    """Return the dataset with `template_thinking_key` as its template has it, unless it is set."""
    if template is None or mask == "axolotl" or "template_thinking_key" in dataset.model_fields_set:
        return dataset
    known = template_properties(template.text)
    key = next((key for key in (REASONING, "reasoning", "thinking") if key in known), REASONING)
    return dataset if key == REASONING else dataset.model_copy(update={"template_thinking_key": key})


def _template(
    dataset: Dataset, record: Format, model: ModelSection, tokenizer: Tokenizer, source: str
) -> ChatTemplate | None:
    named = (dataset.chat_template, dataset.chat_template_jinja, model.chat_template, model.chat_template_jinja)
    missing = not any((*named, tokenizer.chat_template))
    if not record.templated or (missing and not record.roles):
        return None  # rows of prompt and completion may be plain text
    return dataset_template(dataset, model, tokenizer, source)


def dataset_template(dataset: Dataset, model: ModelSection, tokenizer: Tokenizer, source: str) -> ChatTemplate:
    """Return the chat template of a dataset: its own, or the file's, or the tokenizer's."""
    section: Any = dataset if dataset.chat_template or dataset.chat_template_jinja else model
    return chat_template(
        tokenizer,
        section.chat_template,
        section.chat_template_jinja,
        source,
        settings=model.chat_template_kwargs,
        eot_tokens=model.eot_tokens or (),
    )


def _require_end(spec: FormatSpec, model: ModelSection) -> None:
    """Raise a ConfigError if nothing in the chat template ends an answer, so that the model would never stop."""
    template = spec.template
    if template is None or spec.mask == "axolotl" or spec.dataset.train_on_eos in ("none", None):
        return
    if template.turn_end() is None:
        name = spec.dataset.chat_template or model.chat_template or "tokenizer_default"
        raise ConfigError(
            f"`chat_template: {name}`: no token of the vocabulary ends "
            "an answer, so that the model would never learn to stop. Choose another template; or make its end "
            "a token, by `special_tokens: {eos_token: ...}`; or set `train_on_eos: none`"
        )
