"""Preference rows as what becomes tokens: the prompt with the good answer, and the prompt with the bad one.

Each is a row of prompt and completion: one text, of which the answer is trained, and refused where a server's prompt
would become other tokens. An answer that no special token ends gets the end token.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tunesmith.data.formats.chat import parting
from tunesmith.data.formats.preference import preference_example
from tunesmith.data.formats.prompt_completion import prompt_completion
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.formats.specs import dataset_template
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import Example, Rendered, Span
from tunesmith.errors import DataError
from tunesmith.sections import DataSection, Dataset, ModelSection

ABSENT = Rendered(())


def answer_specs(
    datasets: Sequence[Dataset], data: DataSection, model: ModelSection, tokenizer: Tokenizer, source: str
) -> list[FormatSpec]:
    """Return the settings of preference datasets."""
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    ends = tuple({*special, *(model.eot_tokens or ()), tokenizer.eos_token} - {None})
    answers = partial(_answers, rl=data.rl or "", model=model, source=source, ends=ends)
    specs = []
    for dataset in datasets:
        named = (dataset.chat_template, dataset.chat_template_jinja, model.chat_template, model.chat_template_jinja)
        has_template = any((*named, tokenizer.chat_template))
        specs.append(
            FormatSpec(
                dataset,
                template=dataset_template(dataset, model, tokenizer, source) if has_template else None,
                mask=dataset.mask or data.mask,
                sequence_len=data.sequence_len,
                tokenizer=tokenizer,
                answers=answers,
            )
        )
    return specs


def _answers(
    values: dict[str, Any], spec: FormatSpec, *, rl: str, model: ModelSection, source: str, ends: tuple[str, ...]
) -> list[Rendered] | list[Example]:
    """Render a row to two texts; one of kto's rows has only the good or only the bad one."""
    row = preference_example(values, spec.dataset, rl, model, spec.tokenizer, source, upstream=spec.upstream)
    if row.prompt is None and isinstance(values["chosen"], list):  # whole conversations, whose last turns are compared
        whole = "chat_template.argilla" if rl == "orpo" else "chat_template.argilla_chat"
        spec = replace(spec, dataset=spec.dataset.model_copy(update={"type": whole}))
        row = preference_example(values, spec.dataset, rl, model, spec.tokenizer, source, upstream=spec.upstream)
    if row.label is not None:
        assert row.completion is not None
        one: Any = _answered(row.prompt or "", row.completion, spec, ends)
        return [one, ABSENT] if row.label else [ABSENT, one]
    assert row.chosen is not None
    assert row.rejected is not None
    prompt, texts = row.prompt, [row.chosen, row.rejected]
    if prompt is None:  # it is what both texts begin with, up to a space
        common = row.chosen[: parting(row.chosen, row.rejected)]
        prompt = common[: len(common) - len(common.split(" ")[-1])].removesuffix(" ")
        texts = [text[len(prompt) :] for text in texts]
    if not prompt:
        raise DataError("chosen and rejected have no prompt: name its column prompt, or let both begin with it")
    return [_answered(prompt, text, spec, ends) for text in texts]


def _answered(prompt: str, answer: str, spec: FormatSpec, ends: tuple[str, ...]) -> Any:
    if spec.upstream:
        return prompt_completion({"prompt": prompt, "completion": answer}, spec)[0]
    ended = answer.rstrip().endswith(ends)
    last = Span(answer.rstrip(), True) if ended else Span(answer, True, ends=1)
    return Rendered((Span(prompt, False), last), joint=True, bos="own", prompts=(len(prompt),))
