"""Conversations, rendered by a chat template, with served-prompt masking.

For assistant turn i let P_i be what a server would feed the model: the turns before it, with the generation prompt.
Trained is exactly what the model must emit after P_i, through the token that ends its turn. A template for which P_i
is no prefix of the training text cannot be served as trained; such a row is refused with the place where they part.
"""

from typing import Any

from tunesmith.config.sections import Dataset
from tunesmith.data.formats.spec import FormatSpec, missing_column
from tunesmith.data.tokenizer import ChatTemplate
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError

ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Names of roles in common datasets -> the names that templates know."""

_MARK = "\ue000"
"""A character of no language, to find the place of a content in a template's text."""


def chat(values: dict[str, Any], spec: FormatSpec) -> Rendered:
    """Render a conversation; the trained turns are masked as described above."""
    messages = conversation(values, spec.dataset)
    template = _template(spec)
    tools = values.get(spec.dataset.field_tools)
    full = template.render(messages, tools=tools)
    if spec.train_on_inputs:
        return Rendered((Span(full, True),), joint=True)
    trained: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        part = _trained_part(index, message, messages, full, spec, tools)
        if part and part[0] < part[1]:
            trained.append(part)
    if not trained:
        roles = sorted({message["role"] for message in messages})
        raise DataError(
            f"no turn is trained: roles_to_train is {spec.dataset.roles_to_train}, the row has {roles} with content "
            "that the chat template shows"
        )
    return Rendered(_spans(full, trained), joint=True)


def chat_prompt(messages: list[dict[str, Any]], spec: FormatSpec, tools: list[Any] | None = None) -> Rendered:
    """Render the turns so far as the prompt for the next answer."""
    return Rendered(
        (Span(_template(spec).render(messages, add_generation_prompt=True, tools=tools), False),), joint=True
    )


def conversation(values: dict[str, Any], dataset: Dataset) -> list[dict[str, Any]]:
    """Return the row's messages with the keys `role` and `content`, and roles by their common names.

    Raises:
        DataError: the column is missing or empty, or a message lacks its role or content, or is blank where trained.
    """
    found = values.get(dataset.field_messages)
    if found is None:
        raise missing_column(values, dataset.field_messages, "field_messages", dataset)
    if not isinstance(found, list) or not found:
        raise DataError(f"column {dataset.field_messages} should hold a list of messages; found {found!r:.80}")
    messages = [_message(number, item, dataset) for number, item in enumerate(found, 1)]
    if dataset.drop_system_message and messages[0]["role"] == "system":
        messages = messages[1:]
    if not any(str(message["content"]).strip() for message in messages if message["role"] == "assistant"):
        raise DataError("no assistant turn has content: there is nothing to train")
    return messages


def _message(number: int, item: Any, dataset: Dataset) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise DataError(f"message {number} should hold role and content; found {item!r:.80}")
    names = {
        "role": dataset.message_field_role or ("role" if "role" in item else "from"),
        "content": dataset.message_field_content
        or ("content" if "content" in item or "value" not in item else "value"),
        **dataset.message_property_mappings,
    }
    message = {key: value for key, value in item.items() if key not in names.values() and value is not None}
    for key, name in names.items():
        if item.get(name) is not None:
            message[key] = item[name]
    for key in ("role", "content"):
        if key not in message and not (key == "content" and message.get("tool_calls")):
            keys = ", ".join(map(str, item))
            raise DataError(
                f"message {number} has no {key}; found {keys}. Set message_property_mappings: {{{key}: ...}}"
            )
    if not isinstance(message.get("content", ""), str):
        raise DataError(f"message {number}: content should be text; found {type(message['content']).__name__}")
    return message | {"role": _common_role(str(message["role"]), dataset), "content": message.get("content") or ""}


def _common_role(name: str, dataset: Dataset) -> str:
    own_names = {own: role for role, names in dataset.roles.items() for own in names}
    return own_names.get(name) or ROLES.get(name, name)


def _template(spec: FormatSpec) -> ChatTemplate:
    assert spec.template is not None, "the spec of a chat dataset is made with its template"
    return spec.template


def _trained_part(
    index: int,
    message: dict[str, Any],
    messages: list[dict[str, Any]],
    full: str,
    spec: FormatSpec,
    tools: list[Any] | None,
) -> tuple[int, int] | None:
    """Return the characters of `full` that turn `index` trains, or None."""
    dataset, template = spec.dataset, _template(spec)
    flag = message.get(dataset.message_field_training) if dataset.message_field_training else None
    roles = [_common_role(role, dataset) for role in dataset.roles_to_train]
    is_trained = message["role"] in roles if flag is None else bool(flag)
    trains_end = (
        dataset.train_on_eos == "all"
        or (dataset.train_on_eos == "turn" and is_trained)
        or (dataset.train_on_eos == "last" and index == len(messages) - 1)
    )
    if not is_trained and not trains_end:
        return None
    generated = message["role"] == "assistant" and index > 0  # nothing is fed before a first turn
    before = template.render(messages[:index], add_generation_prompt=generated, tools=tools) if index else ""
    through = full if index == len(messages) - 1 else template.render(messages[: index + 1], tools=tools)
    _require_prefix(before, full, f"the prompt that a server feeds before turn {index + 1}")
    _require_prefix(through, full, f"the text up to turn {index + 1}")
    start = len(before) if generated else _content_place(messages[: index + 1], template, tools)
    content = str(message["content"]).strip()
    found = full.find(content, start, len(through))
    content_start, content_end = (found, found + len(content)) if found >= 0 else (start, start)
    stop = _first_stop(full, content_end, len(through), template.stops)
    if not is_trained:
        return stop
    end = stop[1] if stop and trains_end else stop[0] if stop else max(content_end, start)
    return (start if generated else content_start, end)


def _content_place(messages: list[dict[str, Any]], template: ChatTemplate, tools: list[Any] | None) -> int:
    """Return where the content of the last turn begins; its words may stand in the turn's header too."""
    marked = template.render([*messages[:-1], messages[-1] | {"content": _MARK}], tools=tools)
    return max(marked.find(_MARK), 0)


def _first_stop(text: str, start: int, end: int, stops: tuple[str, ...]) -> tuple[int, int] | None:
    """Return the first text of `stops` at or after `start`, as characters of `text`."""
    found = [(place, place + len(stop)) for stop in stops if (place := text.find(stop, start, end)) >= 0]
    return min(found, default=None)


def _require_prefix(part: str, full: str, what: str) -> None:
    if full.startswith(part):
        return
    place = next((i for i, (a, b) in enumerate(zip(part, full, strict=False)) if a != b), min(len(part), len(full)))
    raise DataError(
        f"{what} is not how the training text goes on: after {part[max(0, place - 30) : place]!r} it has "
        f"{part[place : place + 30]!r}, the training text {full[place : place + 30]!r}. The chat template rewrites "
        "earlier turns or its generation prompt; choose another `chat_template`"
    )


def _spans(text: str, trained: list[tuple[int, int]]) -> tuple[Span, ...]:
    spans: list[Span] = []
    last = 0
    for start, end in trained:
        spans += [Span(text[last:start], False), Span(text[start:end], True)]
        last = end
    return tuple(span for span in [*spans, Span(text[last:], False)] if span.text)
