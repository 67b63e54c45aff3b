"""What a row asks and what it answers, told from its columns alone, without tokenizer or chat template."""

import json
from collections.abc import Sequence
from typing import Any

from tunesmith.checks.text import iterate_strings
from tunesmith.sections import ROLES, Dataset

ANSWERS = ("output", "response", "answer", "completion", "chosen", "rejected", "summary")
"""Columns of answers in rows that are no conversation; any other column of text is part of what is asked."""
ASKED, ANSWERED = "prompt", "answer"
"""Names under which the parts of any row go, where it has no column of that name."""


def prompt_and_answer(values: dict[str, Any], dataset: Dataset) -> tuple[str, str]:
    """Return what a row asks and what it answers: the last turn of the assistant and what stands before it.

    System texts, and columns whose name begins with `_`, are left out.
    """
    for name, value in values.items():
        if name != dataset.field_tools and (turns := _turns(value, dataset)):
            answer_index = max(
                (index for index, turn in enumerate(turns) if turn[0] == "assistant"), default=len(turns)
            )
            return "\n".join(text for _, text in turns[:answer_index]), "\n".join(
                text for _, text in turns[answer_index:]
            )
    answers = {*ANSWERS, dataset.field_output}
    system_columns = {"system", dataset.field_system}
    question_values = (
        value for name, value in values.items() if name not in answers | system_columns and not name.startswith("_")
    )
    answer_values = (value for name, value in values.items() if name in answers)
    return "\n".join(iterate_strings(list(question_values))), "\n".join(iterate_strings(list(answer_values)))


def joined(values: dict[str, Any], columns: Sequence[str], parts: tuple[str, str]) -> str:
    """Return the text of some columns of a row, of which those that it lacks are its parts."""
    row_values = dict(zip((ASKED, ANSWERED), parts, strict=True)) | values
    return "\n".join(text for column in columns if (text := _as_text(row_values.get(column))))


def _as_text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _turns(messages: object, dataset: Dataset) -> list[tuple[str, str]]:
    """Return role and text of each turn but the system's; nothing of a list that is no conversation."""
    if not isinstance(messages, list) or not all(isinstance(item, dict) for item in messages):
        return []
    names = dataset.message_property_mappings
    turns = []
    for item in messages:
        role = next((item[key] for key in (names.get("role", "role"), "role", "from") if key in item), None)
        if not isinstance(role, str):
            return []
        content = next((item[key] for key in (names.get("content", "content"), "content", "value") if key in item), "")
        if ROLES.get(role, dataset.common_role(role)) != "system":
            turns.append((dataset.common_role(role), "\n".join(iterate_strings(content))))
    return turns
