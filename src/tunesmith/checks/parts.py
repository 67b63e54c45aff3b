"""The question and the answer of a row as text for assertions and judges, from its columns alone."""

from typing import Any

from tunesmith.checks.text import iterate_strings
from tunesmith.data.comparison import ANSWERS
from tunesmith.sections import ROLES, Dataset


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
