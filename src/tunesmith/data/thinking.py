"""Reasoning that stands in the content of a message, between tags."""

import re

THINKING = (
    ("<think>", "</think>"),
    ("<reasoning>", "</reasoning>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
SOLUTION = ("<|begin_of_solution|>", "<|end_of_solution|>")


def split_thinking(content: str) -> tuple[str, str] | None:
    """Return reasoning and answer of a content that holds its reasoning between tags, or None."""
    for start_tag, end_tag in THINKING:
        if start_tag in content and end_tag in content:
            start, end = content.find(start_tag), content.find(end_tag)
            answer = content[end + len(end_tag) :].lstrip()
            if all(tag in answer for tag in SOLUTION):
                answer = answer[answer.find(SOLUTION[0]) + len(SOLUTION[0]) : answer.find(SOLUTION[1])].strip()
            return content[start + len(start_tag) : end].strip(), answer
    return None


def without_thinking(content: str) -> str:
    """Return a content without the reasoning in it."""
    return _THOUGHT.sub("", content)


_THOUGHT = re.compile("|".join(f"{re.escape(begin)}.*?{re.escape(end)}" for begin, end in THINKING), re.DOTALL)
