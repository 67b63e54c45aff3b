"""Preference rows as what becomes tokens: the prompt with the good answer, and the prompt with the bad one.

Each is a row of prompt and completion: one text, of which the answer is trained, and refused where a server's prompt
would become other tokens. An answer that no special token ends gets the end token.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tunesmith.data.formats.chat import MESSAGE_KEYS
from tunesmith.data.formats.format import Format, FormatSpec, Samples
from tunesmith.data.formats.preference import TYPES, PreferenceTypes, read_comparison
from tunesmith.data.prefix import first_difference
from tunesmith.data.types import Example, Rendered, Segment
from tunesmith.errors import DataError, did_you_mean
from tunesmith.objectives import find_objective

Read = Callable[..., Example]
ABSENT = Rendered(())


def prepare_answers(values: dict[str, Any], spec: FormatSpec, read: Read) -> list[Rendered]:
    """Return a row as two samples, the good answer's and the bad one's; a row of kto has only one of them."""
    assert spec.preferences is not None
    prompt, texts = prompt_and_answers(values, spec, read)
    return [ABSENT if text is None else _answered(prompt, text, spec.preferences.ends) for text in texts]


def prompt_and_answers(values: dict[str, Any], spec: FormatSpec, read: Read) -> tuple[str, list[str | None]]:
    """Return the prompt of a row, and its good and its bad answer, of which a row of kto lacks one.

    Raises:
        DataError: the row does not fit its type, or has no prompt.
    """
    row = read(values, spec)
    if row.label is not None:
        return row.prompt or "", [row.completion, None] if row.label else [None, row.completion]
    assert row.chosen is not None
    assert row.rejected is not None
    prompt, texts = row.prompt, [row.chosen, row.rejected]
    if prompt is None:  # it is what both texts begin with, up to a space
        common = row.chosen[: first_difference(row.chosen, row.rejected)]
        prompt = common[: len(common) - len(common.split(" ")[-1])].removesuffix(" ")
        texts = [text[len(prompt) :] for text in texts]
    if not prompt:
        raise DataError("chosen and rejected have no prompt: name its column prompt, or let both begin with it")
    return prompt, list(texts)


def _answered(prompt: str, answer: str, ends: tuple[str, ...]) -> Rendered:
    ended = answer.rstrip().endswith(ends)
    last = Segment(answer.rstrip(), True) if ended else Segment(answer, True, eos_count=1)
    return Rendered((Segment(prompt, False), last), tokenize_whole=True, bos="own", prompt_ends=(len(prompt),))


def read_whole(values: dict[str, Any], spec: FormatSpec, read: Read, whole: Read) -> Example:
    """Read a row of TRL's columns to train on; without a prompt, messages are whole conversations."""
    row = read(values, spec)
    return whole(values, spec) if row.prompt is None and isinstance(values.get("chosen"), list) else row


def formats_of(
    types: Mapping[str, PreferenceTypes], read: Callable[..., Example], prepare: Callable[..., Samples]
) -> dict[str, dict[str, Format]]:
    """Return the records of preference types.

    Args:
        types: group -> value of `type` -> what writes its texts.
        read: reads a row with one of these.
        prepare: makes the samples of a row of what reads it.
    """
    formats: dict[str, dict[str, Format]] = {}
    for group, writers in types.items():
        reads = {name: partial(read, write=write) for name, write in writers.items()}
        whole = reads.get(WHOLE[group], reads[""])
        prepared = {name: partial(read_whole, read=one, whole=whole) for name, one in reads.items()}
        formats[group] = {
            name: Format(name, one, samples=partial(prepare, read=prepared[name]), keys=_keys(name))
            for name, one in reads.items()
        }
    return formats


WHOLE = {"dpo": "chat_template.argilla_chat", "orpo": "chat_template.argilla", "kto": ""}
"""Group -> the type of rows that hold whole conversations."""


def _keys(name: str) -> frozenset[str] | None:
    """Return the keys of a dataset that a preference type reads; None of those that may read all."""
    layout, _, style = name.partition(".")
    if layout in ("", "passthrough"):
        return None
    keys: set[str] = {"field_system"} if layout == "zephyr" else set()
    if layout in ("chatml", "llama3", "chat_template"):
        keys |= {"field_system", "drop_system_message"}
    if layout == "chat_template" or style in ("argilla_chat", "ultra"):
        keys |= MESSAGE_KEYS
    if layout == "chat_template":
        keys |= {"field_messages", "field_chosen", "field_rejected", "chat_template", "chat_template_jinja"}
    return frozenset(keys)


PreferenceFormats = Mapping[str, Mapping[str, Format]]

PREFERENCES = formats_of(TYPES, read_comparison, prepare_answers)
"""Group of preference data -> value of `type` -> its record."""


def find_preference_format(kind: str, rl: str, formats: PreferenceFormats = PREFERENCES) -> Format | None:
    """Return the record of a preference type, whose `.default` may be left out; None if there is none."""
    known = formats[find_objective(rl).rows]
    return known.get(kind) or known.get(f"{kind}.default")


def unknown_preference_type(kind: str, rl: str) -> str:
    """Return that there is no such type, and which there are."""
    known = list(filter(None, PREFERENCES[find_objective(rl).rows]))
    names = ", ".join(known)
    return (
        f"`datasets.type: {kind}` is not a type for `rl: {rl}`; known are {names}, or none{did_you_mean(kind, known)}"
    )
