"""The instruction layouts: for each type, what of a row is asked and answered, and the text around it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tunesmith.data.formats.rubrics import CREATIVE, CRITIQUE, REFLECTION, REVISE


class Layout(NamedTuple):
    """How a row becomes a prompt and an answer.

    The first three are formats of the parts `instruction`, `input` and `system`. The parts are made of columns in
    braces: `{a|b}` is the first of two that a row has, `!s` writes out whatever it is, `!l` a list as lines, `!y` as
    YAML. Columns named instruction, input, output and system go by `field_instruction` and so on.

    Attributes:
        turn: the prompt of a row with an input.
        bare: the prompt of one without.
        frame: what is put before it for a system text.
        system: the system text of a row with an input, and of one without.
        instruction: what is asked.
        input: what it is about; it may be empty.
        output: the answer.
        absent: columns that a row may lack -> what stands for them.
        ends: end tokens after the answer.
        joint: Axolotl tokenises prompt and answer in one go, and leaves the answer out if a column of it is empty.
    """

    turn: str
    bare: str
    frame: str = "{system}"
    system: tuple[str, str] = ("", "")
    instruction: str = "{instruction}"
    input: str = "{input}"
    output: str = "{output}"
    absent: Mapping[str, str] = MappingProxyType({"input": ""})
    ends: int = 1
    joint: bool = False


TASK = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
)
CHAT_TASK = (
    "Below is an instruction from a USER that describes a task, paired with an input that provides further context. "
    "The ASSISTANT writes a response that concisely and appropriately completes the request.\n\n",
    "Below is an instruction from a USER that describes a task. "
    "The ASSISTANT writes a response that appropriately and concisely completes the request.\n\n",
)
PLAIN = Layout(
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
    "### Instruction:\n{instruction}\n\n### Response:\n",
)
INSTRUCT_STYLE = PLAIN._replace(frame="{system}\n\n", system=TASK)
CHAT = Layout(
    "USER: {instruction}\n{input}\nASSISTANT:", "USER: {instruction}\nASSISTANT:", "SYSTEM: {system}\n", system=TASK
)
CHATML = Layout(
    "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\n{system}<|im_end|>\n",
    system=TASK,
)
PHI = Layout(
    "<|user|>\n{instruction}<|end|>{input}<|assistant|>",
    "<|user|>\n{instruction}<|end|>\n<|assistant|>\n",
    "<|system|>\n{system}<|end|>\n",
    system=TASK,
)
STYLES = {"instruct": INSTRUCT_STYLE, "chat": CHAT, "chatml": CHATML, "phi": PHI}
"""What may stand after the colon of `type: alpaca:style`."""

OWN_SYSTEM = ("{system}", "{system}")
CHOICES: dict[str, Any] = {"instruction": "{question}", "input": "{choices!l}", "output": "{solution|explanation}"}
EXPLAIN = "Choose the answer that best answers the question. Explain your reasoning.\n"
CONCISE = "Choose the answer that best answers the question. Be concise in your response.\n\n"
SUMMARY = "USER: Summarize the following article as a TL;DR.\n{instruction}\nASSISTANT:"
CONTEXT = "Use the following contextual information to concisely answer the question.\n"
UNANSWERABLE = (
    "The context provided does not contain any information about your inquiry. "
    "Therefore, I'm unable to answer your question based on the given context."
)
THOUGHT: dict[str, Any] = {
    "output": "### Thought:\n{output}\n\n### Agent Reflection:\n{reflection}\n\n### Final Response:\n{corrected}",
    "joint": True,
}
CHAT_THOUGHT = "\nTHOUGHT: {output}\nASSISTANT REFLECTION: {reflection}\nASSISTANT:{corrected}"
ORCA: dict[str, Any] = {
    "system": ("{system_prompt}", "{system_prompt}"),
    "instruction": "{question}",
    "input": "",
    "output": "{response}",
}


def all_styles(name: str, only: Layout | None = None, **changes: Any) -> dict[str, Layout]:
    """Return a type in each style; without one it has the first. `only` stands for all."""
    styles = {"": INSTRUCT_STYLE} | STYLES
    return {f"{name}:{style}".rstrip(":"): (only or layout)._replace(**changes) for style, layout in styles.items()}


LAYOUTS: dict[str, Layout] = {
    **all_styles("alpaca"),
    **all_styles("gpteacher", output="{response}"),
    **all_styles("jeopardy", instruction="{question}", input="{category}", output="what is {answer}"),
    **all_styles("oasst", instruction="{INSTRUCTION}", input="", output="{RESPONSE}"),
    **all_styles("explainchoice", system=(EXPLAIN, EXPLAIN), **CHOICES),
    **all_styles("concisechoice", CHAT._replace(frame="{system}", system=(CONCISE, CONCISE)), **CHOICES),
    **all_styles("summarizetldr", Layout("", SUMMARY), instruction="{article}", input="", output="{summary}"),
    **all_styles("reflection", PLAIN, **THOUGHT),
    "reflection:instruct": PLAIN._replace(system=REFLECTION, **THOUGHT),
    "reflection:chat": CHAT._replace(frame="{system}", system=REFLECTION, output=CHAT_THOUGHT, joint=True),
    "alpaca_instruct": INSTRUCT_STYLE,
    "alpaca_instruct.load_no_prompt": PLAIN,
    "alpaca_chat": CHAT,
    "alpaca_chat.load_concise": CHAT._replace(system=CHAT_TASK),
    "alpaca_chat.load_qa": CHAT._replace(system=CHAT_TASK, instruction="{question}", input="", output="{answer}"),
    "alpaca_chat.load_camel_ai": CHAT._replace(
        system=CHAT_TASK, instruction="{message_1}", input="", output="{message_2}"
    ),
    "alpaca_chat.load_no_prompt": CHAT._replace(system=("", "")),
    "alpaca_w_system": CHAT._replace(system=OWN_SYSTEM),
    "alpaca_w_system.load_chat": CHAT._replace(system=OWN_SYSTEM),
    "alpaca_w_system.load_instruct": INSTRUCT_STYLE._replace(system=OWN_SYSTEM),
    "alpaca_w_system.load_open_orca": Layout(
        "", "### Human:\n{instruction}\n### Assistant:\n", "### System:\n{system}\n"
    )._replace(**ORCA),
    "alpaca_w_system.load_open_orca_chatml": CHATML._replace(**ORCA),
    "orcamini": Layout("", "### System:\n{system}\n\n### User:\n{instruction}\n\n### Response:\n", frame="")._replace(
        **ORCA
    ),
    "metharme": Layout("", "{instruction}", instruction="{prompt}", input="", output="{generation}", ends=3),
    "context_qa": CHAT._replace(
        system=(CONTEXT, CONTEXT), instruction="{article}\n===\n{question}", input="", output="{answer}"
    ),
    "context_qa.load_404": CHAT._replace(
        system=(CONTEXT, CONTEXT), instruction="{article}\n===\n{unanswerable_question}", input="", output=UNANSWERABLE
    ),
    "context_qa.load_v2": Layout(
        "",
        "{instruction}",
        instruction="Context: {context}\nQuestion: {question}\n",
        input="",
        output="Answer: {answer}",
    ),
    "creative_acr.load_answer": CHAT._replace(
        frame="{system}\n", system=(CREATIVE, CREATIVE), input="", output="{revision}"
    ),
    "creative_acr.load_critique": CHAT._replace(
        system=("", ""), instruction=CRITIQUE, input="", output="{scores!y}{critiques!y}"
    ),
    "creative_acr.load_revise": CHAT._replace(system=("", ""), instruction=REVISE, input="", output="{revision}"),
}
"""Value of `type` -> its layout."""
LAYOUTS |= {
    f"{name}.load": LAYOUTS[name]
    for name in ("alpaca_instruct", "alpaca_chat", "alpaca_w_system", "orcamini", "metharme", "context_qa")
}
