"""The chat page of `inference --gradio`: the tuned model, beside its base if asked, and the tokens that it is fed.

The conversation is kept here and only shown by the browser, so that the next prompt holds the answers as they were
made. `Interviewer` knows nothing of gradio, and the functions of the page nothing of models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from threading import Lock
from typing import Any, NamedTuple

from tunesmith.data.question import PLAIN_TEXT, Turn, keeps_history
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError, RunError, UserError
from tunesmith.generation.ask import Asker
from tunesmith.modeling.generate import Sampling, Voice, stream
from tunesmith.pages.page import asset
from tunesmith.sections import Dataset

Updates = dict[Any, Any]
"""Component -> what it shall show."""


@dataclass(frozen=True)
class Exchange:
    """A question and the answer of each voice; None is no answer: not yet begun, or stopped before its first word."""

    question: str
    answers: tuple[str | None, ...]


Talk = tuple[Exchange, ...]
"""The conversation of a page."""


def turns_of(talk: Talk, voice: int, question: str) -> list[Turn]:
    """Return what one voice has heard and said, up to `question`. Questions that it did not answer are left out."""
    turns: list[Turn] = []
    for exchange in talk:
        answer = exchange.answers[voice]
        if answer is not None:
            turns += [{"role": "user", "content": exchange.question}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": question}]


@dataclass(frozen=True)
class Interviewer:
    """Puts questions to the voices, with the prompt that was trained.

    Attributes:
        floor: held while a voice speaks. gradio's own limit is not enough: it lets the next question in before a
            stopped answer is at its end, and that may switch the adapter.
    """

    asker: Asker
    floor: Lock = field(default_factory=Lock)

    def prompt(self, talk: Talk, voice: int, question: str, system: str | None) -> list[int]:
        """Return the tokens that a voice is fed for `question` after `talk`."""
        asker = replace(self.asker, system=system if system and system.strip() else None)
        return asker.prompt(turns_of(talk, voice, question))

    def answers(self, talk: Talk, question: str, system: str | None, sampling: Sampling) -> Iterator[Talk]:
        """Yield `talk` with the question, and with its answers as they grow.

        One voice speaks after the other: the base and the tuned model may be the same weights, with the adapter off
        or on. Whoever stops reading also stops the voice.
        """
        exchange = Exchange(question, (None,) * len(self.asker.voices))
        yield (*talk, exchange)
        for index, voice in enumerate(self.asker.voices):
            text = ""
            prompt = self.prompt(talk, index, question, system)
            with self.floor:
                for piece in stream(voice, prompt, self.asker.tokenizer, sampling, ends=self.asker.ends):
                    text += piece
                    if text:
                        yield (*talk, _with_answer(exchange, index, text))
            exchange = _with_answer(exchange, index, text)
            yield (*talk, exchange)


def _with_answer(exchange: Exchange, voice: int, text: str) -> Exchange:
    return replace(exchange, answers=(*exchange.answers[:voice], text, *exchange.answers[voice + 1 :]))


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
    "temperature": Setting("Temperature", "0 takes the likeliest token", 0, step=0.1, kind=float),
    "top_p": Setting("Top p", "1 is all tokens", 0.01, 1, 0.05, float),
    "top_k": Setting("Top k", "0 is all tokens", 0),
    "repetition_penalty": Setting("Repetition penalty", "1 is none", 0.01, step=0.05, kind=float),
    "seed": Setting("Seed", "same seed, same answer", 0, 2**53),
}


def sampling_of(numbers: Sequence[float | None]) -> Sampling:
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


def messages_of(talk: Talk, voice: int) -> list[dict[str, Any]]:
    """Return what one voice's column shows, as gradio's messages. As typed parts, texts keep their indentation."""
    shown: list[tuple[str, str]] = []
    for exchange in talk:
        shown.append(("user", exchange.question))
        answer = exchange.answers[voice]
        if answer is not None:
            shown.append(("assistant", answer or "(empty: the model ended its answer at once)"))
    return [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in shown]


def tokens_html(ids: Sequence[int], tokenizer: Tokenizer, name: str) -> str:
    """Return a prompt as HTML: how many tokens, and each token's text and id."""
    items = "".join(
        f'<li data-id="{token}"><code>{escape(tokenizer.decode([token])).replace(chr(10), "&#92;n")}</code>'
        f"<small>{token}</small></li>"
        for token in ids
    )
    return f"<p><strong>{escape(name)}</strong>: {len(ids)} tokens</p><ol class='tokens'>{items}</ol>"


class _Parts(NamedTuple):
    """The components that events read or write."""

    talk: Any
    chats: list[Any]
    box: Any
    send: Any
    stop: Any
    retry: Any
    clear: Any
    system: Any
    numbers: list[Any]
    show_tokens: Any
    tokens: list[Any]


def build_page(asker: Asker, *, title: str, sampling: Sampling) -> Any:
    """Return the page as `gradio.Blocks`; one column for each voice.

    Args:
        asker: who answers, and how a prompt is made.
        title: which model this is.
        sampling: settings to begin with.

    Raises:
        ConfigError: gradio is not installed.
    """
    gr = _gradio()
    interviewer = Interviewer(asker)
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        gr.HTML(_heading(title, asker.voices, asker.spec.dataset), padding=False)
        parts = _layout(gr, asker.voices, asker.spec.dataset, asker.system, sampling)
        _wire_answers(gr, parts, interviewer)
        _wire_tokens(gr, parts, interviewer)
    return page


def serve(page: Any, *, host: str = "127.0.0.1", port: int | None, share: bool = False, block: bool = True) -> str:
    """Serve the page and return its address; with `block`, only after Ctrl-C.

    Args:
        page: what `build_page` made.
        host: address to listen at; `0.0.0.0` lets the whole network in.
        port: port to listen at; None takes the first free one from 7860 on.
        share: also open a public link through gradio's servers.
        block: wait until the page is closed.

    Raises:
        RunError: the port is taken.
    """
    gr = _gradio()
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # those of the machine
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


def _gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise ConfigError("`--gradio` needs gradio: pip install 'tunesmith[ui]'") from None
    return gradio


def _heading(title: str, voices: Sequence[Voice], dataset: Dataset) -> str:
    names = " and ".join(voice.name for voice in voices)
    notes = [f"Answers: {names}. Prompts: type <code>{escape(dataset.kind)}</code>, as trained."]
    if not keeps_history(dataset):
        notes.append("This type knows one turn: each question is asked by itself, without those before it.")
    return f"<h1>{escape(title)}</h1><p class='note'>{' '.join(notes)}</p>"


def _layout(gr: Any, voices: Sequence[Voice], dataset: Dataset, system: str | None, sampling: Sampling) -> _Parts:
    """Lay out the page from top to bottom."""
    words = "Text to go on with" if dataset.kind in PLAIN_TEXT else "Your question"
    talk = gr.State(())
    with gr.Row():
        chats = [_chat(gr, voice) for voice in voices]
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
            "<p class='note'>What is fed for the text in the box or, if that is empty, for the last question.</p>",
            padding=False,
        )
        show_tokens = gr.Button("Show prompt tokens", size="sm")
        with gr.Row():
            tokens = [gr.HTML(elem_id=f"tokens-{index}", min_width=280, padding=False) for index in range(len(voices))]
    return _Parts(talk, chats, box, send, stop, retry, clear, system_box, numbers, show_tokens, tokens)


def _chat(gr: Any, voice: Voice) -> Any:
    """Return a voice's column. It shows plain text, since that is what the model wrote."""
    return gr.Chatbot(
        label=voice.name,
        height="48vh",
        elem_classes="voice",
        min_width=280,
        buttons=["copy_all"],
        render_markdown=False,
        latex_delimiters=[],
        group_consecutive_messages=False,
    )


def _number(gr: Any, setting: Setting, value: float) -> Any:
    return gr.Number(value, label=setting.label, info=setting.info, step=setting.step, min_width=170)


def _columns(parts: _Parts, talk: Talk) -> Updates:
    return {chat: messages_of(talk, index) for index, chat in enumerate(parts.chats)}


def _buttons(gr: Any, parts: _Parts, busy: bool, talk: Talk) -> Updates:
    free = {parts.send: not busy, parts.stop: busy, parts.retry: bool(talk) and not busy, parts.clear: not busy}
    return {button: gr.update(interactive=on) for button, on in free.items()}


def _wire_answers(gr: Any, parts: _Parts, interviewer: Interviewer) -> None:
    """Connect Send, Stop, Retry and Clear."""

    def show(talk: Talk) -> Updates:
        return {parts.talk: talk, **_columns(parts, talk)}

    def buttons(busy: bool, talk: Talk) -> Updates:
        return _buttons(gr, parts, busy, talk)

    def settle(talk: Talk) -> Updates:
        """After Stop, the columns may lag behind what is kept, and is in the next prompt."""
        return {**_columns(parts, talk), **buttons(False, talk)}

    def ask(
        talk: Talk, question: str, undo: Updates, system: str, numbers: Sequence[float | None]
    ) -> Iterator[Updates]:
        yield buttons(True, talk)
        try:
            for grown in interviewer.answers(talk, question, system, sampling_of(numbers)):
                yield show(grown)
        except UserError as error:
            gr.Warning(escape(str(error)))
            yield undo
        except Exception:
            yield {**undo, **buttons(False, undo[parts.talk])}  # after a crash, gradio does not go on to `settle`
            raise

    def send(talk: Talk, question: str, system: str, *numbers: float | None) -> Iterator[Updates]:
        if question.strip():
            yield {parts.box: ""}
            yield from ask(talk, question, {parts.box: question, **show(talk)}, system, numbers)

    def retry(talk: Talk, _: str, system: str, *numbers: float | None) -> Iterator[Updates]:
        yield from ask(talk[:-1], talk[-1].question, show(talk), system, numbers)

    inputs = [parts.talk, parts.box, parts.system, *parts.numbers]
    outputs = [parts.talk, *parts.chats, parts.box, parts.send, parts.stop, parts.retry, parts.clear]
    alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "show_progress": "hidden"}
    running = [
        gr.on([parts.send.click, parts.box.submit], send, inputs, outputs, **alone),
        parts.retry.click(retry, inputs, outputs, **alone),
    ]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
    for event in running:  # not in `ask` itself: gradio drops what is sent before an event is over
        event.then(settle, parts.talk, outputs, **quick)
    parts.stop.click(None, cancels=running)
    empty = {**show(()), **buttons(False, ()), **dict.fromkeys(parts.tokens, "")}
    parts.clear.click(lambda: empty, None, [*outputs, *parts.tokens], **quick)


def _wire_tokens(gr: Any, parts: _Parts, interviewer: Interviewer) -> None:
    """Connect the view of the prompt's tokens."""

    voices = interviewer.asker.voices

    def tokens(talk: Talk, question: str, system: str) -> Updates:
        if not question.strip() and not talk:
            gr.Info("Write a question first: its prompt is shown here.")
            return dict.fromkeys(parts.tokens, "")
        if not question.strip():
            talk, question = talk[:-1], talk[-1].question
        try:
            prompts = [interviewer.prompt(talk, index, question, system) for index in range(len(voices))]
        except UserError as error:
            gr.Warning(escape(str(error)))
            return dict.fromkeys(parts.tokens, "")
        names = [voice.name for voice in voices]
        views = [tokens_html(ids, interviewer.asker.tokenizer, name) for ids, name in zip(prompts, names, strict=True)]
        return dict(zip(parts.tokens, views, strict=True))

    parts.show_tokens.click(tokens, [parts.talk, parts.box, parts.system], parts.tokens, queue=False)
