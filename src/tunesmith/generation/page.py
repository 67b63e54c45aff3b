"""The chat page of `inference --gradio`: the tuned model, its base if requested, and the tokens of the prompt.

The conversation is kept here and only displayed by the browser, so that the next prompt has the answers exactly as they
were generated. `PageChat` does not use gradio, and the functions of the page do not use models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.data.question import Turn, continues_text, keeps_history
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError, RunError, UserError
from tunesmith.generation.session import GenerationSession
from tunesmith.modeling.generate import ModelVariant, Sampling
from tunesmith.pages.page import asset
from tunesmith.sections import Dataset

if TYPE_CHECKING:
    import gradio

Updates = dict[Any, Any]
"""Component -> its new value."""


@dataclass(frozen=True)
class Exchange:
    """A question and the answer of each variant; None if it is not started, or was stopped before its first word."""

    question: str
    answers: tuple[str | None, ...]


Conversation = tuple[Exchange, ...]
"""The conversation of a page."""


def build_turns(conversation: Conversation, variant: int, question: str) -> list[Turn]:
    """Return one variant's messages up to `question`, without the questions that it did not answer."""
    turns: list[Turn] = []
    for exchange in conversation:
        answer = exchange.answers[variant]
        if answer is not None:
            turns += [{"role": "user", "content": exchange.question}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": question}]


@dataclass(frozen=True)
class PageChat:
    """Generates the answers of all variants, from the trained prompt.

    Attributes:
        generation_lock: one generation at a time. gradio's own limit is not enough: it starts the next question before
            a stopped answer has ended, and that may switch the adapter.
    """

    session: GenerationSession
    generation_lock: Lock = field(default_factory=Lock)

    def prompt(self, conversation: Conversation, variant: int, question: str, system: str | None) -> list[int]:
        """Return the token ids of a variant's prompt for `question` after `conversation`."""
        session = replace(self.session, system=system if system and system.strip() else None)
        return session.prompt(build_turns(conversation, variant, question))

    def answers(
        self, conversation: Conversation, question: str, system: str | None, sampling: Sampling
    ) -> Iterator[Conversation]:
        """Yield `conversation` with the question and the growing answers.

        Variants generate one after the other, because base and tuned model may be the same weights with the adapter
        disabled or enabled. Closing the iterator stops the generation.
        """
        exchange = Exchange(question, (None,) * len(self.session.variants))
        yield (*conversation, exchange)
        for index, variant in enumerate(self.session.variants):
            text = ""
            prompt = self.prompt(conversation, index, question, system)
            with self.generation_lock:
                for piece in self.session.stream(variant, prompt, sampling):
                    text += piece
                    if text:
                        yield (*conversation, _with_answer(exchange, index, text))
            exchange = _with_answer(exchange, index, text)
            yield (*conversation, exchange)


def _with_answer(exchange: Exchange, variant: int, text: str) -> Exchange:
    return replace(exchange, answers=(*exchange.answers[:variant], text, *exchange.answers[variant + 1 :]))


class Setting(NamedTuple):
    """A field of `Sampling` on the page."""

    label: str
    info: str
    lowest: float
    highest: float = float("inf")
    step: float = 1
    kind: type[int] | type[float] = int


SETTINGS = {
    "max_new_tokens": Setting("Max new tokens", "length of the longest answer", 1),
    "temperature": Setting("Temperature", "0 is greedy decoding", 0, step=0.1, kind=float),
    "top_p": Setting("Top p", "1 is all tokens", 0.01, 1, 0.05, float),
    "top_k": Setting("Top k", "0 is all tokens", 0),
    "repetition_penalty": Setting("Repetition penalty", "1 is none", 0.01, step=0.05, kind=float),
    "seed": Setting("Seed", "same seed, same answer", 0, 2**53),
}


def parse_sampling(numbers: Sequence[float | None]) -> Sampling:
    """Return the settings that the page's fields hold, in the order of `SETTINGS`.

    Raises:
        ConfigError: a field is empty or out of bounds.
    """
    values: dict[str, Any] = {}
    for (name, setting), number in zip(SETTINGS.items(), numbers, strict=True):
        if number is None or not setting.lowest <= number <= setting.highest:
            most = f" and at most {setting.highest:g}" if setting.highest < float("inf") else ""
            raise ConfigError(f"{setting.label} should be a number of at least {setting.lowest:g}{most}")
        values[name] = setting.kind(number)
    return Sampling(**values)


def build_messages(conversation: Conversation, variant: int) -> list[dict[str, Any]]:
    """Return one variant's column as gradio's messages. As typed widgets, texts keep their indentation."""
    shown: list[tuple[str, str]] = []
    for exchange in conversation:
        shown.append(("user", exchange.question))
        answer = exchange.answers[variant]
        if answer is not None:
            shown.append(("assistant", answer or "(empty: the model ended its answer at once)"))
    return [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in shown]


def render_tokens(ids: Sequence[int], tokenizer: Tokenizer, name: str) -> str:
    """Return a prompt as HTML: the number of tokens, and each token's text and id."""
    items = "".join(
        f'<li data-id="{token}"><code>{escape(tokenizer.decode([token])).replace(chr(10), "&#92;n")}</code>'
        f"<small>{token}</small></li>"
        for token in ids
    )
    return f"<p><strong>{escape(name)}</strong>: {len(ids)} tokens</p><ol class='tokens'>{items}</ol>"


class _Widgets(NamedTuple):
    """The components that events read or write."""

    conversation: "gradio.State"
    chats: list["gradio.Chatbot"]
    box: "gradio.Textbox"
    send: "gradio.Button"
    stop: "gradio.Button"
    retry: "gradio.Button"
    clear: "gradio.Button"
    system: "gradio.Textbox"
    numbers: list["gradio.Number"]
    show_tokens: "gradio.Button"
    tokens: list["gradio.HTML"]


def build_page(session: GenerationSession, *, title: str, sampling: Sampling) -> "gradio.Blocks":
    """Return the page as `gradio.Blocks`; one column for each variant.

    Args:
        session: the model variants and their prompt format.
        title: name of the model.
        sampling: initial settings.

    Raises:
        ConfigError: gradio is not installed.
    """
    gr = _gradio()
    page_chat = PageChat(session)
    page: gradio.Blocks
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_heading(title, session.variants, session.spec.dataset), padding=False)
        widgets = _layout(gr, session.variants, session.spec.dataset, session.system, sampling)
        _wire_answers(gr, widgets, page_chat)
        _wire_tokens(gr, widgets, page_chat)
    return page


def serve(
    page: "gradio.Blocks", *, host: str = "127.0.0.1", port: int | None, share: bool = False, block: bool = True
) -> str:
    """Serve the page and return its address; with `block`, only after Ctrl-C.

    Args:
        page: from `build_page`.
        host: address to listen at; `0.0.0.0` is reachable from the network.
        port: port to listen at; None takes the first free one from 7860.
        share: also open a public link through gradio's servers.
        block: wait until the page is closed.

    Raises:
        RunError: the port is taken.
    """
    gr = _gradio()
    fonts = {
        "font": ["system-ui", "sans-serif"],
        "font_mono": ["ui-monospace", "monospace"],
    }  # installed on the machine
    back = "var(--back)"
    theme = gr.themes.Default(**fonts).set(body_background_fill=back, body_background_fill_dark=back)
    try:
        _, address, public = page.launch(
            server_name=host,
            server_port=port,
            share=share,
            theme=theme,
            css=asset("colours.css") + asset("page.css", "tunesmith.generation"),
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        where = port or "7860 to 7959"
        raise RunError(f"cannot listen at {host}, port {where}: {error}; choose another port") from None
    print(f"the page is at {address}" + (f" and, for everyone, at {public}" if public else "") + "; Ctrl-C ends it")
    if block:
        page.block_thread()
    return str(address)


def _gradio() -> ModuleType:
    try:
        import gradio
    except ImportError:
        raise ConfigError("`--gradio` needs gradio: pip install 'tunesmith[ui]'") from None
    return gradio


def _heading(title: str, variants: Sequence[ModelVariant], dataset: Dataset) -> str:
    names = " and ".join(variant.name for variant in variants)
    notes = [f"Answers: {names}. Prompts: type <code>{escape(dataset.kind)}</code>, as trained."]
    if not keeps_history(dataset):
        notes.append("This type has one turn: a prompt has only the last question.")
    return f"<h1>{escape(title)}</h1><p class='note'>{' '.join(notes)}</p>"


def _layout(
    gr: ModuleType, variants: Sequence[ModelVariant], dataset: Dataset, system: str | None, sampling: Sampling
) -> _Widgets:
    """Create the components from top to bottom."""
    words = "Text to continue" if continues_text(dataset) else "Your question"
    conversation = gr.State(())
    with gr.Row():
        chats = [_chat(gr, variant) for variant in variants]
    keys = "Enter sends, Shift+Enter begins a new line"
    box = gr.Textbox(label=words, placeholder=keys, max_lines=8, autofocus=True, elem_id="question")
    with gr.Row():
        send = gr.Button("Send", variant="primary", min_width=70)
        stop, retry, clear = (gr.Button(text, interactive=False, min_width=70) for text in ("Stop", "Retry", "Clear"))
    with gr.Accordion("Settings", open=False):
        chat = keeps_history(dataset)
        system_box = gr.Textbox(system or "", label="System prompt", lines=2, max_lines=12, visible=chat)
        with gr.Row():
            numbers = [_number(gr, setting, getattr(sampling, name)) for name, setting in SETTINGS.items()]
    with gr.Accordion("Prompt tokens", open=False):
        gr.HTML(
            "<p class='note'>The prompt for the text in the box or, if that is empty, for the last question.</p>",
            padding=False,
        )
        show_tokens = gr.Button("Show prompt tokens", size="sm")
        with gr.Row():
            tokens = [
                gr.HTML(elem_id=f"tokens-{index}", min_width=280, padding=False) for index in range(len(variants))
            ]
    return _Widgets(conversation, chats, box, send, stop, retry, clear, system_box, numbers, show_tokens, tokens)


def _chat(gr: ModuleType, variant: ModelVariant) -> "gradio.Chatbot":
    """Return a variant's column. It shows the plain text that the model wrote."""
    chat: gradio.Chatbot = gr.Chatbot(
        label=variant.name,
        height="48vh",
        elem_classes="variant",
        min_width=280,
        buttons=["copy_all"],
        render_markdown=False,
        latex_delimiters=[],
        group_consecutive_messages=False,
    )
    return chat


def _number(gr: ModuleType, setting: Setting, value: float) -> "gradio.Number":
    number: gradio.Number = gr.Number(value, label=setting.label, info=setting.info, step=setting.step, min_width=170)
    return number


@dataclass(frozen=True)
class _AnswerEvents:
    """What Send, Stop and Retry do. Each handler yields updates of components."""

    gr: ModuleType
    widgets: _Widgets
    page_chat: PageChat

    def columns(self, conversation: Conversation) -> Updates:
        return {chat: build_messages(conversation, index) for index, chat in enumerate(self.widgets.chats)}

    def show(self, conversation: Conversation) -> Updates:
        return {self.widgets.conversation: conversation, **self.columns(conversation)}

    def buttons(self, busy: bool, conversation: Conversation) -> Updates:
        widgets, can_retry = self.widgets, bool(conversation) and not busy
        enabled = {widgets.send: not busy, widgets.stop: busy, widgets.retry: can_retry, widgets.clear: not busy}
        return {button: self.gr.update(interactive=is_on) for button, is_on in enabled.items()}

    def settle(self, conversation: Conversation) -> Updates:
        """Show the kept answers, because after Stop the columns may lack their last words."""
        return {**self.columns(conversation), **self.buttons(False, conversation)}

    def answer(
        self, conversation: Conversation, question: str, undo: Updates, system: str, numbers: Sequence[float | None]
    ) -> Iterator[Updates]:
        yield self.buttons(True, conversation)
        try:
            for longer in self.page_chat.answers(conversation, question, system, parse_sampling(numbers)):
                yield self.show(longer)
        except UserError as error:
            self.gr.Warning(escape(str(error)))
            yield undo
        except Exception:  # gradio does not run `settle` after a crash
            yield {**undo, **self.buttons(False, undo[self.widgets.conversation])}
            raise

    def send(self, conversation: Conversation, question: str, system: str, *numbers: float | None) -> Iterator[Updates]:
        if question.strip():
            box = self.widgets.box
            yield {box: ""}
            yield from self.answer(conversation, question, {box: question, **self.show(conversation)}, system, numbers)

    def retry(self, conversation: Conversation, _: str, system: str, *numbers: float | None) -> Iterator[Updates]:
        question, undo = conversation[-1].question, self.show(conversation)
        yield from self.answer(conversation[:-1], question, undo, system, numbers)


def _wire_answers(gr: ModuleType, widgets: _Widgets, page_chat: PageChat) -> None:
    """Connect Send, Stop, Retry and Clear."""
    events = _AnswerEvents(gr, widgets, page_chat)
    inputs = [widgets.conversation, widgets.box, widgets.system, *widgets.numbers]
    buttons = [widgets.send, widgets.stop, widgets.retry, widgets.clear]
    outputs = [widgets.conversation, *widgets.chats, widgets.box, *buttons]
    exclusive: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "show_progress": "hidden"}
    running = [
        gr.on([widgets.send.click, widgets.box.submit], events.send, inputs, outputs, **exclusive),
        widgets.retry.click(events.retry, inputs, outputs, **exclusive),
    ]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    for event in running:  # not in `answer` itself: gradio drops updates that come before an event ends
        event.then(events.settle, widgets.conversation, outputs, **quick)
    widgets.stop.click(None, cancels=running)
    empty = {**events.show(()), **events.buttons(False, ()), **dict.fromkeys(widgets.tokens, "")}
    widgets.clear.click(lambda: empty, None, [*outputs, *widgets.tokens], **quick)


def _wire_tokens(gr: ModuleType, widgets: _Widgets, page_chat: PageChat) -> None:
    """Connect the view of the prompt's tokens."""
    variants = page_chat.session.variants

    def tokens(conversation: Conversation, question: str, system: str) -> Updates:
        if not question.strip() and not conversation:
            gr.Info("Write a question first: its prompt is shown here.")
            return dict.fromkeys(widgets.tokens, "")
        if not question.strip():
            conversation, question = conversation[:-1], conversation[-1].question
        try:
            prompts = [page_chat.prompt(conversation, index, question, system) for index in range(len(variants))]
        except UserError as error:
            gr.Warning(escape(str(error)))
            return dict.fromkeys(widgets.tokens, "")
        names = [variant.name for variant in variants]
        views = [
            render_tokens(ids, page_chat.session.tokenizer, name) for ids, name in zip(prompts, names, strict=True)
        ]
        return dict(zip(widgets.tokens, views, strict=True))

    widgets.show_tokens.click(tokens, [widgets.conversation, widgets.box, widgets.system], widgets.tokens, queue=False)
