"""The text layouts of FastChat by name, and how each writes a conversation: the `conversation` of `type: sharegpt`.

They come from `fastchat/conversation.py`, with the turns that Axolotl of 2024 cut them into. Layouts of models that are
reached only through a server's interface are left out.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

from tunesmith.errors import ConfigError, did_you_mean


class Style(NamedTuple):
    """How speakers and texts are joined.

    Attributes:
        role: what stands before a text.
        bare: what stands there where there is no text, if it differs.
        opening: the system text is written always; only if there is any; or only if its template gives any.
        closed: the first separator follows the system text.
        starts: before the first role, and before every second one after it.
        before: written before a text.
        said: changes a text.
        rounds: number of the first round, where rounds are counted.
    """

    role: str
    bare: str = ""
    opening: Literal["always", "given", "filled"] = "always"
    closed: bool = False
    starts: tuple[str, str] = ("", "")
    before: str = ""
    said: Callable[[str], str] = str
    rounds: int | None = None


def _single_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n\n", "\n")


COLON = Style("{role}: ", "{role}:", closed=True)
SPACE = Style("{role}: ", closed=True)
PLAIN = Style("{role}")
LINE = Style("{role}\n", opening="filled", closed=True)
FALCON = Style("{role}: ", "{role}:", opening="given", closed=True)
RWKV = Style("{role}: ", "{role}:", said=_single_newlines)
DOLLY = Style("{role}:\n")
ROBIN = Style("{role}:\n", closed=True)
PHOENIX = Style("{role}: ", "{role}: <s>", before="<s>")
INTERN = Style("{role}:", starts=("<s>", "<s>"))
CHATGLM = Style("{role}：", opening="given", closed=True, rounds=0)
CHATGLM2 = CHATGLM._replace(rounds=1)
CHATGLM3 = Style("{role}\n", opening="given", before=" ")
HEADER = Style("<|start_header_id|>{role}<|end_header_id|>\n\n", opening="given", said=str.strip)
GEMMA = Style("<start_of_turn>{role}\n", opening="given", starts=("<bos>", ""))
LLAMA2 = Style("{role} ", "{role}", starts=("<s> ", "<s> "))
MISTRAL = Style("{role} ", "{role}")


class Layout(NamedTuple):
    """A layout.

    Attributes:
        roles: names of the user and the model; a third one is heard like the user.
        style: how they are joined.
        ends: what follows the texts, in turn.
        system: the system text of a conversation that has none.
        template: what is written of the system text.
    """

    roles: tuple[str, ...]
    style: Style
    ends: tuple[str, ...]
    system: str = ""
    template: str = "{system}"


class Part(NamedTuple):
    """A piece of a conversation that is tokenised alone.

    Attributes:
        role: who speaks, as written; empty for what opens a conversation.
        text: what is said, with its separator.
        message: index of the message that is said, or -1.
        opens: whether it is part of the opening, though a message may be in it.
    """

    role: str
    text: str
    message: int
    opens: bool = False


def written(
    layout: Layout, system: str, messages: Sequence[tuple[str, str]], marks: Callable[[str], str] = str
) -> list[Part]:
    """Return a conversation as the parts in which it is tokenised.

    Args:
        layout: the layout.
        system: the system text; may be empty.
        messages: role, as the layout calls it, and text.
        marks: changes the layout's own text, to fit it to a tokenizer.
    """
    style = layout.style
    layout = layout._replace(ends=tuple(map(marks, layout.ends)), template=marks(layout.template))
    opening = layout.template.format(system=system)
    if style in (LLAMA2, MISTRAL):
        return _instructions(layout, system, opening, messages, marks)
    parts = []
    if system or style.opening != "given":
        empty = style.opening == "filled" and not opening
        parts.append(Part("", "" if empty else opening + layout.ends[0] * style.closed, -1, opens=True))
    for index, (role, text) in enumerate(messages):
        if style.rounds is not None and index % 2 == 0:
            parts.append(Part("", f"[Round {index // 2 + style.rounds}]{layout.ends[0]}", -1, opens=True))
        if not text and style is not GEMMA:
            parts.append(Part(marks(style.bare or style.role).format(role=role), "", index))
            continue
        start = "" if index % 2 else marks(style.starts[index > 0])
        end = layout.ends[index % len(layout.ends)]
        parts.append(Part(start + style.role.format(role=role), marks(style.before) + style.said(text) + end, index))
    return parts


def fixed_text(layout: Layout) -> str:
    """Return all that a layout itself may write, besides the names of its roles."""
    style = layout.style
    return "".join([*layout.ends, layout.template, style.bare, style.before, *style.starts])


def _instructions(
    layout: Layout, system: str, opening: str, messages: Sequence[tuple[str, str]], marks: Callable[[str], str]
) -> list[Part]:
    """Return the parts of Llama-2's and Mistral's layouts, which write system text and first question as one."""
    style = layout.style
    parts: list[Part] = []
    if system and messages and messages[0][0] == layout.roles[0]:
        space = " " if style is MISTRAL else ""
        parts.append(Part("", layout.template.format(system=space + system) + messages[0][1], 0, opens=True))
    elif system:
        parts.append(Part("", opening, -1, opens=True))
    merged = bool(parts) and parts[0].message == 0
    for index, (role, text) in enumerate(messages[merged:], int(merged)):
        if text and style is MISTRAL and not parts:
            parts.append(Part("", f"{opening.strip()} {text}", index, opens=True))
        elif text:
            start = "" if len(parts) % 2 else marks(style.starts[0])
            parts.append(Part(start + style.role.format(role=role), text, index))
        else:
            parts.append(Part(style.bare.format(role=role), "", index))
    return parts


def find_layout(name: str) -> Layout:
    """Return the layout of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in LAYOUTS:
        raise ConfigError(
            f"`datasets.conversation: {name}` is no known layout{did_you_mean(name, LAYOUTS)}; known are "
            f"{', '.join(LAYOUTS)}"
        )
    layout = LAYOUTS[name]
    return layout._replace(system=_long_systems().get(name, layout.system))


@cache
def _long_systems() -> dict[str, str]:
    """Return the system texts that are too long for a line of `LAYOUTS`, by name."""
    file = files("tunesmith.data.formats").joinpath("fastchat_systems.json")
    return dict(json.loads(file.read_text(encoding="utf-8")))


HELPFUL = "You are a helpful assistant."
HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
USER = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
DEEPSEEK = (
    "You are an AI programming assistant, utilizing the DeepSeek Coder model, developed by DeepSeek Company, and "
    "you only answer questions related to computer science. For politically sensitive questions, security and "
    "privacy issues, and other non-computer science questions, you will refuse to answer."
)


def _chatml(system: str = "", *more_roles: str) -> Layout:
    roles = ("<|im_start|>user", "<|im_start|>assistant", *more_roles)
    return Layout(roles, LINE, ("<|im_end|>\n",), system, "<|im_start|>system\n{system}")


def _llama2(system: str = "") -> Layout:
    return Layout(("[INST]", "[/INST]"), LLAMA2, ("",), system, "[INST] <<SYS>>\n{system}\n<</SYS>>\n\n")


def _llama3(system: str) -> Layout:
    template = "<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>"
    return Layout(("user", "assistant"), HEADER, ("<|eot_id|>",), system, template)


def _zephyr() -> Layout:
    return Layout(("<|user|>", "<|assistant|>"), LINE, ("</s>\n",), template="<|system|>\n{system}")


LAYOUTS = {
    "chatml": _chatml(HELPFUL),
    "chatml_glaive": _chatml(HELPFUL, "<|im_start|>tool"),
    "llama3": _llama3(HELPFUL),
    "raw": Layout(("", ""), PLAIN, ("",)),
    "one_shot": Layout(("Human", "Assistant"), COLON, ("\n### ",), HUMAN),
    "zero_shot": Layout(("Human", "Assistant"), COLON, ("\n### ",), HUMAN),
    "vicuna_v1.1": Layout(("USER", "ASSISTANT"), COLON, (" ", "</s>"), USER),
    "airoboros_v1": Layout(("USER", "ASSISTANT"), COLON, (" ", "</s>")),
    "airoboros_v2": Layout(("USER", "ASSISTANT"), COLON, ("\n", "</s>"), "A chat."),
    "airoboros_v3": _llama2("You are a helpful, unbiased, uncensored assistant."),
    "koala_v1": Layout(("USER", "GPT"), COLON, (" ", "</s>"), "BEGINNING OF CONVERSATION:"),
    "alpaca": Layout(("### Instruction", "### Response"), COLON, ("\n\n", "</s>"), TASK),
    "chatglm": Layout(("问", "答"), CHATGLM, ("\n",)),
    "chatglm2": Layout(("问", "答"), CHATGLM2, ("\n\n",)),
    "chatglm3": Layout(("<|user|>", "<|assistant|>"), CHATGLM3, ("",), template="<|system|>\n{system}"),
    "codegeex": Layout(("", ""), PLAIN, ("\n\n",)),
    "dolly_v2": Layout(("### Instruction", "### Response"), DOLLY, ("\n\n", "### End\n\n"), f"{TASK}\n\n"),
    "oasst_pythia": Layout(("<|prompter|>", "<|assistant|>"), PLAIN, ("<|endoftext|>",)),
    "oasst_llama": Layout(("<|prompter|>", "<|assistant|>"), PLAIN, ("</s>",)),
    "openchat_3.5": Layout(("GPT4 Correct User", "GPT4 Correct Assistant"), FALCON, ("<|end_of_turn|>",)),
    "tenyxchat": Layout(("User", "Assistant"), FALCON, ("<|end_of_turn|>",)),
    "deepseek-coder": Layout(("### Instruction:", "### Response:"), LINE, ("\n",), template=DEEPSEEK),
    "tulu": Layout(("<|user|>", "<|assistant|>"), LINE, ("\n",)),
    "stablelm": Layout(("<|USER|>", "<|ASSISTANT|>"), PLAIN, ("",), template="<|SYSTEM|>{system}"),
    "baize": Layout(("[|Human|]", "[|AI|]"), PLAIN, ("\n",)),
    "rwkv": Layout(("Bob", "Alice"), RWKV, ("\n\n",)),
    "openbuddy": Layout(("User", "Assistant"), COLON, ("\n",)),
    "phoenix": Layout(("Human", "Assistant"), PHOENIX, ("</s>",), f"{HUMAN}\n\n"),
    "ReaLM-7b-v1": Layout(("Human", "Assistant"), PHOENIX, ("</s>",), f"{HUMAN}\n\n"),
    "claude": Layout(("Human", "Assistant"), COLON, ("\n\n",)),
    "mpt-7b-chat": _chatml(),
    "mpt-30b-chat": _chatml(),
    "lemur-70b-chat": _chatml("You are a helpful, respectful, and honest assistant."),
    "mpt-30b-instruct": Layout(("### Instruction", "### Response"), LINE, ("\n\n",), TASK),
    "billa": Layout(("Human", "Assistant"), SPACE, ("\n",)),
    "redpajama-incite": Layout(("<human>", "<bot>"), COLON, ("\n",)),
    "h2ogpt": Layout(("<|prompt|>", "<|answer|>"), PLAIN, ("</s>",)),
    "Robin": Layout(("###Human", "###Assistant"), ROBIN, ("\n",), HUMAN),
    "snoozy": Layout(("### Prompt", "### Response"), COLON, ("\n",), template="### Instruction:\n{system}"),
    "manticore": Layout(("USER", "ASSISTANT"), COLON, ("\n", "</s>")),
    "falcon": Layout(("User", "Assistant"), RWKV, ("\n\n",)),
    "polyglot_changgpt": Layout(("B", "A"), COLON, ("\n",)),
    "tigerbot": Layout(("### Instruction", "### Response"), ROBIN, ("\n\n",), USER),
    "xgen": Layout(("### Human", "### Assistant"), COLON, ("\n",), f"{HUMAN}\n\n"),
    "internlm-chat": Layout(("<|User|>", "<|Bot|>"), INTERN, ("<eoh>\n", "<eoa>\n")),
    "starchat": Layout(("<|user|>", "<|assistant|>"), LINE, ("<|end|>\n",), template="<system>\n{system}"),
    "baichuan-chat": Layout(("<reserved_102>", "<reserved_103>"), PLAIN, ("",)),
    "baichuan2-chat": Layout(("<reserved_106>", "<reserved_107>"), PLAIN, ("",)),
    "mistral": Layout(("[INST]", "[/INST]"), MISTRAL, ("",), template="[INST] {system}\n"),
    "llama-2": _llama2(),
    "llama-3": _llama3(""),
    "chinese-alpaca2": _llama2(),
    "cutegpt": Layout(("问：", "答：\n"), PLAIN, ("\n", "\n")),
    "open-orca": Layout(("User", "Assistant"), SPACE, ("<|end_of_turn|>\n",)),
    "mistral-7b-openorca": _chatml(),
    "dolphin-2.2.1-mistral-7b": _chatml("You are Dolphin, a helpful AI assistant."),
    "OpenHermes-2.5-Mistral-7B": _chatml(),
    "Nous-Hermes-2-Mixtral-8x7B-DPO": _chatml(),
    "qwen-7b-chat": _chatml(HELPFUL),
    "Yi-34b-chat": Layout(("<|im_start|>user", "<|im_start|>assistant"), LINE, ("<|im_end|>\n",)),
    "aquila-chat": Layout(("Human", "Assistant"), COLON, ("###",), HUMAN),
    "aquila-legacy": Layout(("### Human: ", "### Assistant: "), PLAIN, ("\n", "</s>"), f"{HUMAN}\n\n"),
    "aquila": Layout(("Human", "Assistant"), COLON, ("###", "</s>"), HUMAN),
    "aquila-v1": Layout(("<|startofpiece|>", "<|endofpiece|>"), PLAIN, ("", "</s>")),
    "llama2-chinese": Layout(("Human", "Assistant", "System"), COLON, ("\n", "\n</s><s>"), template="<s>{system}</s>"),
    "vigogne_instruct": Layout(
        ("### Instruction", "### Response"), DOLLY, ("\n\n", "</s>\n\n"), template="### System:\n{system}\n\n"
    ),
    "vigogne_chat_v2": Layout(("<|user|>", "<|assistant|>"), COLON, ("\n", "</s>\n"), template="<|system|>: {system}"),
    "stable-vicuna": Layout(("### Human", "### Assistant"), COLON, ("\n", "\n\n")),
    "vigogne_chat_v3": _llama2(),
    "falcon-chat": Layout(("User", "Falcon"), FALCON, ("\n",), template="System: {system}"),
    "phind": Layout(("### User Message", "### Assistant"), COLON, ("\n\n",)),
    "metharme": Layout(("<|user|>", "<|model|>"), PLAIN, ("",), template="<|system|>{system}"),
    "xdan-v1": Layout(("### Human", "### Assistant"), PLAIN, ("\n",)),
    "zephyr": _zephyr(),
    "catppt": _zephyr(),
    "TinyLlama": _zephyr(),
    "orca-2": _chatml(),
    "solar": Layout(("### User", "### Assistant"), LINE, ("\n\n",)),
    "yuan": Layout(("", ""), PLAIN, ("<sep>",), template=""),
    "llava-chatml": _chatml("Answer the questions."),
    "gemma": Layout(("user", "model"), GEMMA, ("<end_of_turn>\n",), template=""),
}
"""Value of `conversation` -> its layout."""
