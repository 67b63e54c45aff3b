"""Instruction rows (instruction, input, output) in the layouts of Alpaca and its styles."""

from typing import Any, NamedTuple

from tunesmith.data.formats.spec import Format, FormatSpec, text_column
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import DataError

_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
)


class Style(NamedTuple):
    """Layout of the system text, and of a turn with and without an input."""

    system: str
    turn: str
    turn_without_input: str


ALPACA_STYLES = {
    "": Style(
        "{system}\n\n",
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
    "instruct": Style(
        "{system}\n\n",
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "### Instruction:\n{instruction}\n\n### Response:\n",
    ),
    "chat": Style("SYSTEM: {system}\n", "USER: {instruction}\n{input}\nASSISTANT:", "USER: {instruction}\nASSISTANT:"),
    "chatml": Style(
        "<|im_start|>system\n{system}<|im_end|>\n",
        "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n",
    ),
    "phi": Style(
        "<|system|>\n{system}<|end|>\n",
        "<|user|>\n{instruction}<|end|>{input}<|assistant|>",
        "<|user|>\n{instruction}<|end|>\n<|assistant|>\n",
    ),
}
"""Style after the colon in `type: alpaca:style` -> its layout."""


def alpaca(style: str) -> Format:
    """Return the format of one Alpaca style: prompt masked, answer and end token trained."""
    layout = ALPACA_STYLES[style]

    def render(values: dict[str, Any], spec: FormatSpec) -> list[Rendered]:
        dataset = spec.dataset
        instruction = text_column(values, dataset.field_instruction, "field_instruction", dataset)
        answer = text_column(values, dataset.field_output, "field_output", dataset)
        if not answer.strip():
            raise DataError(f"column {dataset.field_output} is blank: there is nothing to train")
        has_input = values.get(dataset.field_input) is not None
        given = text_column(values, dataset.field_input, "field_input", dataset) if has_input else ""
        system = _WITH_INPUT if given else _WITHOUT_INPUT
        turn = layout.turn if given else layout.turn_without_input
        prompt = layout.system.format(system=system) + turn.format(instruction=instruction, input=given)
        return [Rendered((Span(prompt, spec.train_on_inputs), Span(answer, True, ends=1)), bos="own")]

    return render
