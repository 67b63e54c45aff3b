"""What the chat template does, seen by rendering conversations of known words with it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from tunesmith.checks.catalogue import finding
from tunesmith.checks.report import Finding, Severity
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec, template_of
from tunesmith.data.prefix import describe_difference, prompt_is_prefix
from tunesmith.data.samples import EncodedRow
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

SYSTEM = {"role": "system", "content": "Sentinel-S speaks."}
TURNS = [
    {"role": "user", "content": "Sentinel-Q asks."},
    {"role": "assistant", "content": "Sentinel-A answers."},
    {"role": "user", "content": "Sentinel-R asks."},
    {"role": "assistant", "content": "Sentinel-B answers."},
]
"""A conversation of words that no template writes by itself."""
THOUGHT = "Sentinel-T thinks."

LITERAL = re.compile(r"<\|[^|<>\s]{1,40}\|>|<｜[^｜<>]{1,40}｜>|</?s>|<(?:start|end)_of_turn>")
"""Marks in the text of a prompt that are meant as one token each."""

_DATE = "\ue001"
_MARKS = re.compile(r"{%-?\s*generation\s*-?%}")

Kind = Literal["stable", "rewritten", "unservable"]


class Probe(NamedTuple):
    """How a template treats earlier turns.

    Attributes:
        kind: stable history; rewritten history, so that each trained turn is a sample; or unservable, since the prompt
            that is served is no beginning of the training text.
        difference: where the texts part, in words.
    """

    kind: Kind
    difference: str = ""


def probe(template: ChatTemplate, turns: Sequence[dict[str, str]] = TURNS) -> Probe:
    """Classify a template by one conversation.

    Raises:
        DataError: the template refuses it.
    """
    full, result = template.render(turns), Probe("stable")
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        prompt = template.render(turns[:index], add_generation_prompt=True)
        prefix = template.render(turns[: index + 1])
        if not prompt_is_prefix(prompt, prefix):
            return Probe("unservable", describe_difference(prompt, prefix))
        if not prompt_is_prefix(prefix, full) and result.kind == "stable":
            result = Probe("rewritten", describe_difference(prefix, full))
    return result


def _thinking(spec: FormatSpec) -> list[list[dict[str, str]]]:
    """Return the conversation with reasoning in its answers, in a key of its own and in the content."""
    key = spec.dataset.template_thinking_key
    in_content = f"<think>\n{THOUGHT}\n</think>\n\n"
    return [
        [turn | (change(turn["content"]) if turn["role"] == "assistant" else {}) for turn in TURNS]
        for mark, change in (
            (key, lambda content: {key: THOUGHT}),
            ("</think>", lambda content: {"content": in_content + content}),
        )
        if mark in template_of(spec).text
    ]


def layout(template: ChatTemplate) -> str:
    """Return the conversation as the template writes it; empty if it refuses."""
    try:
        return template.render(TURNS)
    except DataError:
        return ""


def split_marks(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return the marks in a text that are several tokens, with what they become."""
    marks = []
    for mark in dict.fromkeys(LITERAL.findall(text)):
        ids = tokenizer(mark, add_special_tokens=False)["input_ids"]
        if len(ids) > 1:
            marks.append(f"{mark} is {len(ids)} tokens {tokenizer.convert_ids_to_tokens(ids)}")
    return marks


def injected_system(template: ChatTemplate) -> str | None:
    """Return the system text that the template puts in by itself, or None."""
    try:
        default_text, system_text = template.render(TURNS[:2]), template.render([SYSTEM, *TURNS[:2]])
    except DataError:
        return None
    head = default_text[: default_text.find(TURNS[0]["content"])]
    before, separator, after = system_text[: system_text.find(TURNS[0]["content"])].partition(SYSTEM["content"])
    default_system = head.removeprefix(before).removesuffix(after) if separator else head
    words = re.sub(
        r"<[^<>]{1,40}>|\[/?[A-Z_]+\]|#+ *\w+:|\b(?i:system|user|assistant|developer|human)\b:?", " ", default_system
    )
    return " ".join(default_system.split()) if len(re.findall(r"\w+", words)) > 2 else None


def writes_date(template: ChatTemplate) -> bool:
    """Whether the template writes the day's date."""
    if "strftime_now" not in template.text:
        return False
    dated_text = f"{{% macro strftime_now(format) %}}{_DATE}{{% endmacro %}}{template.text}"
    return _DATE in layout(replace(template, text=dated_text, learnt={}))


def template_findings(spec: FormatSpec, tokenizer: Tokenizer) -> Iterator[Finding]:
    """Yield what is wrong with the chat template of a dataset."""
    template = template_of(spec)
    try:
        plain_result, thinking_results = probe(template), [probe(template, turns) for turns in _thinking(spec)]
        endless = template.turn_end() is None and spec.dataset.train_on_eos not in ("none", None)
    except DataError:
        return  # a template may ask for more than questions and answers; the rows tell
    if endless and spec.mask != "axolotl":
        yield finding("no-turn-end", spec.dataset.chat_template or "")
    yield from _servable(plain_result, thinking_results, is_axolotl=spec.mask == "axolotl")
    text = layout(template)
    if marks := split_marks(text, tokenizer):
        yield finding("template-token-split", "; ".join(marks[:3]), count=len(marks))
    if writes_date(template):
        yield finding("template-date")
    if _MARKS.search(template.text) and not endless and spec.mask != "axolotl" and not spec.train_on_inputs:
        yield from _marks(spec, tokenizer)


def _servable(plain_result: Probe, thinking_results: Sequence[Probe], *, is_axolotl: bool) -> Iterator[Finding]:
    """Yield that a template cannot be served as trained, or that it rewrites earlier turns."""
    if plain_result.kind == "unservable":
        always_reasons = any(result.kind != "unservable" for result in thinking_results)
        severity: Severity = "warning" if is_axolotl else "error"
        yield finding(
            "served-prompt-mismatch", plain_result.difference, severity="info" if always_reasons else severity
        )
        return
    rewritten = next((result for result in (plain_result, *thinking_results) if result.kind == "rewritten"), None)
    if rewritten and is_axolotl:
        note = "; `mask: axolotl` keeps one sample, in which earlier turns differ"
        yield finding("history-rewritten", rewritten.difference + note, severity="warning")
    elif rewritten:
        yield finding("history-rewritten", rewritten.difference)


def _marks(spec: FormatSpec, tokenizer: Tokenizer) -> Iterator[Finding]:
    """Compare what is trained with the template's `{% generation %}` marks, on a conversation of two answers.

    They may differ in what the prompt ends with and in a newline after the end: nothing is lost by either.
    """
    template = template_of(spec)
    for turns in (TURNS[:2], TURNS):
        try:
            plain = replace(spec, dataset=_plain(spec))
            rendered = FORMATS["chat_template"]({spec.dataset.field_messages or "messages": turns}, plain)
        except DataError:
            return
        (examples, *later) = encode(rendered, tokenizer)
        if later or isinstance(examples, DataError):  # a template that rewrites history: its last turn was compared
            return
        encoding = tokenizer.apply_chat_template(
            turns,
            chat_template=template.text,
            return_assistant_tokens_mask=True,
            return_dict=True,
            tokenize=True,
            **template.settings,
        )
        ids = examples[0].input_ids
        label_mask = [label >= 0 for label in examples[0].labels]
        mark_mask = [bool(mark) for mark in encoding["assistant_masks"]]
        if encoding["input_ids"] == ids and (detail := _disagreement(label_mask, mark_mask, ids, tokenizer)):
            yield finding("generation-marks-differ", detail)
            return


def _plain(spec: FormatSpec) -> Dataset:
    return spec.dataset.model_copy(update={"message_property_mappings": {}, "roles": {}})


def _disagreement(label_mask: list[bool], mark_mask: list[bool], ids: list[int], tokenizer: Tokenizer) -> str:
    """Return both masks decoded where they differ in more than a header or a newline, or nothing."""
    start = 0
    while start < len(ids):
        end = start + 1
        if label_mask[start] == mark_mask[start]:
            start = end
            continue
        while end < len(ids) and label_mask[end] != mark_mask[end] and label_mask[end] == label_mask[start]:
            end += 1
        text = tokenizer.decode(ids[start:end])
        both_follow = end < len(ids) and label_mask[end] and mark_mask[end]
        header = both_follow and not any(word in text for word in ("asks.", "answers."))
        if text.strip() and not header:
            texts = [
                tokenizer.decode([token for token, on in zip(ids, mask, strict=True) if on])
                for mask in (label_mask, mark_mask)
            ]
            return f"trained is {texts[0]!r}, marked {texts[1]!r}"
        start = end
    return ""


def shown_marks(item: EncodedRow, tokenizer: Tokenizer) -> list[str]:
    """Return the marks that a row's layout writes, not the row itself, and that are several tokens."""
    from tunesmith.checks.text import iterate_strings

    row_marks = set(LITERAL.findall("\n".join(iterate_strings(item.row.values))))
    text = "\n".join(rendered.text for rendered in item.rendered)
    return [mark for mark in split_marks(text, tokenizer) if mark.split(" is ")[0] not in row_marks]
