"""Preference rows as what becomes tokens: the prompt with the good answer, and the prompt with the bad one.

Each is a row of prompt and completion: one text, of which the answer is trained, and refused where a server's prompt
would become other tokens. An answer that no special token ends gets the end token.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.data.formats.chat import parting
from tunesmith.data.formats.preference import preference_example
from tunesmith.data.formats.spec import FormatSpec, Preferences
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
    preferences = Preferences(data.rl or "", model, source, ends)
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
                preferences=preferences,
            )
        )
    return specs


def answers(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
    """Render a row to two texts; one of kto's rows has only the good or only the bad one."""
    assert spec.preferences is not None
    prompt, texts = prompt_and_answers(values, spec, preference_example)
    return [ABSENT if text is None else _answered(prompt, text, spec.preferences.ends) for text in texts]


def prompt_and_answers(
    values: dict[str, Any], spec: FormatSpec, find_example: Callable[..., Example]
) -> tuple[str, list[str | None]]:
    """Return the prompt of a row, and its good and its bad answer, of which a row of kto lacks one.

    Args:
        values: the row.
        spec: settings of its dataset.
        find_example: `preference_example`, of the mask.

    Raises:
        DataError: the row does not fit its type, or has no prompt.
    """
    assert spec.preferences is not None
    rl, model, source, _ = spec.preferences
    row = find_example(values, spec.dataset, rl, model, spec.tokenizer, source)
    if row.prompt is None and isinstance(values["chosen"], list):  # whole conversations, whose last turns are compared
        whole = "chat_template.argilla" if rl == "orpo" else "chat_template.argilla_chat"
        dataset = spec.dataset.model_copy(update={"type": whole})
        row = find_example(values, dataset, rl, model, spec.tokenizer, source)
    if row.label is not None:
        return row.prompt or "", [row.completion, None] if row.label else [None, row.completion]
    assert row.chosen is not None
    assert row.rejected is not None
    prompt, texts = row.prompt, [row.chosen, row.rejected]
    if prompt is None:  # it is what both texts begin with, up to a space
        common = row.chosen[: parting(row.chosen, row.rejected)]
        prompt = common[: len(common) - len(common.split(" ")[-1])].removesuffix(" ")
        texts = [text[len(prompt) :] for text in texts]
    if not prompt:
        raise DataError("chosen and rejected have no prompt: name its column prompt, or let both begin with it")
    return prompt, list(texts)


def _answered(prompt: str, answer: str, ends: tuple[str, ...]) -> Rendered:
    ended = answer.rstrip().endswith(ends)
    last = Span(answer.rstrip(), True) if ended else Span(answer, True, ends=1)
    return Rendered((Span(prompt, False), last), joint=True, bos="own", prompts=(len(prompt),))
