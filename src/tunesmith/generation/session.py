"""A generation session: model variants and the trained prompt format, for one conversation or a file of prompts."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.assertions import AssertionRunner, Case
from tunesmith.checks.manifest import changed_prompts, prompt_manifest
from tunesmith.data import source as data_source
from tunesmith.data.data_files import SUFFIXES, kind_suffix
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.specs import as_chat, format_specs
from tunesmith.data.question import (
    Question,
    Turn,
    conversation_prompt,
    keeps_history,
    open_question,
    question,
    shared_system_turn,
)
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError
from tunesmith.generation.retry import RetryResult, retry_with_feedback
from tunesmith.generation.variants import load_variants
from tunesmith.hardware import detect
from tunesmith.log import note, progress
from tunesmith.modeling.generate import ModelVariant, Sampling, find_hidden_tokens, find_stop_tokens, generate, stream
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config


@dataclass(frozen=True)
class GenerationSession:
    """Model variants, and how their prompts are built.

    Attributes:
        variants: the tuned model, the base, or both (the base first).
        tokenizer: of the model.
        spec: settings of the dataset whose format the prompts have.
        stop_tokens: ids of tokens that end an answer.
        system: system message put before a conversation, or None.
    """

    variants: list[ModelVariant]
    tokenizer: Tokenizer
    spec: FormatSpec
    stop_tokens: list[int]
    system: str | None

    def prompt(self, turns: list[Turn], later: Sequence[Turn] = ()) -> list[int]:
        """Return the token ids of the prompt after `turns` and the `later` turns, with the system message first."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return conversation_prompt([*first, *turns], self.spec, self.tokenizer, later)

    @property
    def hidden_tokens(self) -> frozenset[int]:
        """Ids of control tokens that are not shown."""
        return find_hidden_tokens(self.tokenizer, self.spec.template)

    def stream(self, variant: ModelVariant, prompt: Sequence[int], sampling: Sampling) -> Iterator[str]:
        """Yield the answer of a variant to a prompt piece by piece."""
        tokens, hidden = self.stop_tokens, self.hidden_tokens
        return stream(variant, prompt, self.tokenizer, sampling, ends=tokens, hidden=hidden)


class Prompt(NamedTuple):
    """A prompt of the command line or of a file.

    Attributes:
        text: the prompt, for reading.
        case: its row, for assertions.
        token_ids: returns the prompt's ids after later turns, an answer and a user message in turn.
    """

    text: str
    case: Case
    token_ids: Callable[[Sequence[Turn]], list[int]]


class RetryOptions(NamedTuple):
    """Answers that fail an assertion of `runner` are generated again, up to `retries` times."""

    runner: AssertionRunner
    retries: int


def open_session(config: Config, *, tuned: bool, base: bool, system: str | None) -> GenerationSession:
    """Return a session for a config, whose first dataset gives the format of prompts.

    Without `system`, the system message that all training rows share is used, if there is one. Prompts that differ from
    the trained ones are only warned of, because a person may want to try another template.
    """
    tokenizer = model_tokenizer(config.model)
    first = as_chat(config.data.datasets[0]) if config.data.rl else config.data.datasets[0]
    spec = format_specs([first], config.data, config.model, tokenizer, config.source)[0]
    if system is None:
        system = shared_system_turn(spec)
        if system:
            note(f"system message, as in the training rows: {system}")
    weights = config.adapter.lora_model_dir or config.training.output_dir
    if tuned and (change := changed_prompts(weights, prompt_manifest(tokenizer, spec), tokenizer)):
        note(f"warning: prompts are not what {weights} was trained with: {change.text}")
    variants = load_variants(config, detect(), tuned=tuned, base=base)
    stop_tokens = find_stop_tokens(variants[0].model, tokenizer, spec.template)
    return GenerationSession(variants, tokenizer, spec, stop_tokens, system or None)


def stream_answers(
    session: GenerationSession, conversations: dict[str, list[Turn]], sampling: Sampling
) -> dict[str, str]:
    """Print each variant's answer to its conversation while it is generated; return the answers by variant."""
    answers = {}
    for variant in session.variants:
        if len(session.variants) > 1:
            print(f"[{variant.name}] ", end="", flush=True)
        answers[variant.name] = ""
        prompt = session.prompt(conversations[variant.name])
        for piece in session.stream(variant, prompt, sampling):
            print(piece, end="", flush=True)
            answers[variant.name] += piece
        print()
    return answers


def answer_once(session: GenerationSession, text: str, sampling: Sampling) -> None:
    """Print each variant's answer to one message."""
    message: Turn = {"role": "user", "content": text}
    stream_answers(session, {variant.name: [message] for variant in session.variants}, sampling)


def answer_with_retries(
    session: GenerationSession, text: str, row: dict[str, Any], sampling: Sampling, retry: RetryOptions
) -> bool:
    """Print each variant's answer to one message, after retries with feedback; return whether all pass at the end.

    Args:
        session: the model variants.
        text: the message.
        row: columns for the assertions, in addition to `prompt`, which is the message.
        sampling: how tokens are chosen.
        retry: the assertions and the number of retries.
    """
    prompt = _prompt_from_text(session, text, row)
    all_pass = True
    for variant in session.variants:
        (result,) = _generate_answers(session, variant, [prompt], sampling, 1, retry)
        print(f"[{variant.name}] {result.answer}" if len(session.variants) > 1 else result.answer)
        tries = f"{result.tries} {'try' if result.tries == 1 else 'tries'}"
        if result.failed:
            reasons = "; ".join(dict.fromkeys(verdict.reason for verdict in result.failed))
            note(f"{variant.name}: still fails after {tries}: {reasons}")
            all_pass = False
        else:
            note(f"{variant.name}: passes after {tries}")
    return all_pass


def _generate_answers(
    session: GenerationSession,
    variant: ModelVariant,
    prompts: list[Prompt],
    sampling: Sampling,
    batch_size: int,
    retry: RetryOptions | None,
) -> list[RetryResult]:
    """Return a variant's answers to all prompts."""

    def generate_pending(pending: Sequence[tuple[int, list[Turn]]]) -> list[str]:
        token_ids = [prompts[index].token_ids(turns) for index, turns in pending]
        is_retry = bool(pending and pending[0][1])
        title = f"answers of the {variant.name} model{', retried' if is_retry else ''}"
        with progress(title, total=len(token_ids), unit="prompts") as advance:
            return generate(
                variant,
                token_ids,
                session.tokenizer,
                sampling,
                ends=session.stop_tokens,
                hidden=session.hidden_tokens,
                batch_size=batch_size,
                advance=advance,
            )

    if retry:
        return retry_with_feedback(generate_pending, [prompt.case for prompt in prompts], retry.runner, retry.retries)
    return [RetryResult(text, 1, []) for text in generate_pending([(index, []) for index in range(len(prompts))])]


def chat(session: GenerationSession, sampling: Sampling) -> None:
    """Chat with the user until the input ends. Each variant continues from its own answers."""
    multi_turn = keeps_history(session.spec.dataset)
    note("type a message; /new starts over, /exit or Ctrl-D ends" + ("" if multi_turn else "; each turn stands alone"))
    histories: dict[str, list[Turn]] = {variant.name: [] for variant in session.variants}
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print()
            return
        if text == "/exit":
            return
        if text == "/new":
            histories = {name: [] for name in histories}
        elif text:
            message: Turn = {"role": "user", "content": text}
            turns = {name: [*(history if multi_turn else []), message] for name, history in histories.items()}
            answers = stream_answers(session, turns, sampling)
            histories = {name: [*turns[name], {"role": "assistant", "content": answers[name]}] for name in turns}


def answer_file(
    session: GenerationSession, file: str, sampling: Sampling, batch_size: int, retry: RetryOptions | None = None
) -> Iterable[dict[str, Any]]:
    """Yield the answers to all prompts of a file as `{prompt, base?, tuned?}`; with retries also `tries` and `failed`.

    A .jsonl, .json, .csv or .parquet file has rows in the format of the dataset; any other file has a prompt a line.

    Raises:
        DataError: a row is invalid, or the file has no prompt.
        ConfigError: an assertion is at fault.
    """
    prompts = list(_read_prompts(session, file))
    if not prompts:
        raise DataError(f"{file} has no prompt")
    results = {
        variant.name: _generate_answers(session, variant, prompts, sampling, batch_size, retry)
        for variant in session.variants
    }
    for index, prompt in enumerate(prompts):
        answers = {name: column[index] for name, column in results.items()}
        entry: dict[str, Any] = {"prompt": prompt.text, **{name: result.answer for name, result in answers.items()}}
        if retry:
            entry["tries"] = {name: result.tries for name, result in answers.items()}
            entry["failed"] = {name: {v.name: v.reason for v in result.failed} for name, result in answers.items()}
        yield entry
    for name, column in results.items() if retry else ():
        num_failed = sum(bool(result.failed) for result in column)
        num_first = sum(result.tries == 1 and not result.failed for result in column)
        num_retried = len(column) - num_first - num_failed
        note(
            f"{name}: of {len(column):,} answers {num_first:,} pass at once, {num_retried:,} after a retry, "
            f"{num_failed:,} fail"
        )


def _read_prompts(session: GenerationSession, file: str) -> Iterable[Prompt]:
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{file}: no such file")
    if kind_suffix(path) not in SUFFIXES.keys() - {".txt"}:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                yield _prompt_from_text(session, line, {}, f"{file}:{number}")
        return
    dataset = session.spec.dataset.model_copy(update={"path": file, "ds_type": None, "split": None, "data_files": None})
    for row in data_source.read_rows(dataset, session.spec.source):
        if isinstance(row, BadRow):
            raise DataError(f"{row.file}:{row.number}: {row.reason}")
        yield _prompt_from_row(session, row)


def _prompt_from_text(
    session: GenerationSession, text: str, row: dict[str, Any], location: str = "the prompt"
) -> Prompt:
    turns: list[Turn] = [{"role": "user", "content": text}]
    return Prompt(text, Case({"prompt": text, **row}, "", "", location), partial(session.prompt, turns))


def _prompt_from_row(session: GenerationSession, row: Row) -> Prompt:
    location = f"{row.file}:{row.number}"

    def build(later: Sequence[Turn]) -> Question:
        try:
            row_format = (row.values, session.spec, session.tokenizer, later)
            prompt = open_question(*row_format) or question(*row_format)
        except DataError as error:
            raise DataError(f"{location}: {error}") from error
        if prompt is None:
            raise DataError(f"{location}: rows of type {session.spec.dataset.type} have no prompt")
        return prompt

    first = build(())
    text = session.tokenizer.decode(first.input_ids)
    case = Case(row.values, "", first.reference, location)
    return Prompt(text, case, lambda later: build(later).input_ids if later else first.input_ids)


def print_answers(answers: Iterable[dict[str, Any]]) -> None:
    """Print answers as JSON lines, for another program to read."""
    for entry in answers:
        print(json.dumps(entry, ensure_ascii=False), flush=True)
