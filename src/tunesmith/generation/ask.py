"""One conversation or many prompts on the command line: who is asked, with what settings, and how it is printed."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.assertions import Case, Jury
from tunesmith.checks.manifest import changed_prompts, prompt_manifest
from tunesmith.data import source as data_source
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.formats.specs import as_chat, format_specs
from tunesmith.data.question import Question, Turn, conversation_prompt, keeps_history, question, shared_system_turn
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import DataError
from tunesmith.generation.heal import Healed, heal
from tunesmith.generation.voices import load_voices
from tunesmith.hardware import detect
from tunesmith.log import note, progress
from tunesmith.modeling.generate import Sampling, Voice, end_tokens, generate, stream
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config


@dataclass(frozen=True)
class Asker:
    """All that asking takes: the voices, and how a prompt is made of words.

    Attributes:
        voices: the tuned model, the base, or both (the base first).
        tokenizer: of the model.
        spec: settings of the dataset whose layout the prompts have.
        ends: ids of tokens that end an answer.
        system: system turn put before a conversation, or None.
        source: file of the config.
    """

    voices: list[Voice]
    tokenizer: Tokenizer
    spec: FormatSpec
    ends: list[int]
    system: str | None
    source: str

    def prompt(self, turns: list[Turn], said: Sequence[Turn] = ()) -> list[int]:
        """Return the tokens that are fed after `turns` and what is `said` since, with the system turn before them."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return conversation_prompt([*first, *turns], self.spec, self.tokenizer, self.source, said)


class Prompt(NamedTuple):
    """What is asked.

    Attributes:
        text: the prompt, for reading.
        case: what assertions may know of it.
        tokens: what is fed, with the turns that are said since, an answer and a turn of the user by turns.
    """

    text: str
    case: Case
    tokens: Callable[[Sequence[Turn]], list[int]]


class Healing(NamedTuple):
    """Whose answers are asked for again: those to which `judge` says no, so many times."""

    judge: Jury
    retries: int


def make_asker(config: Config, *, tuned: bool, base: bool, system: str | None) -> Asker:
    """Return an asker for a config, whose first dataset gives the layout of prompts.

    Without `system`, the system turn that the training rows share is used, if they do. Prompts other than the trained
    ones are only warned of: a person may want to try another template, and sees what comes of it.
    """
    tokenizer = model_tokenizer(config.model)
    first = as_chat(config.data.datasets[0]) if config.data.rl else config.data.datasets[0]
    spec = format_specs([first], config.data, config.model, tokenizer, config.source)[0]
    if system is None and (system := shared_system_turn(spec, config.source)):
        note(f"system turn, as in the training rows: {system}")
    weights = config.adapter.lora_model_dir or config.training.output_dir
    if tuned and (change := changed_prompts(weights, prompt_manifest(tokenizer, spec), tokenizer)):
        note(f"warning: prompts are not what {weights} was trained with: {change.text}")
    voices = load_voices(config, detect(), tuned=tuned, base=base)
    ends = end_tokens(voices[0].model, tokenizer, spec.template)
    return Asker(voices, tokenizer, spec, ends, system or None, config.source)


def answer_once(asker: Asker, histories: dict[str, list[Turn]], sampling: Sampling) -> dict[str, str]:
    """Print each voice's answer to its conversation as it is made, and return the answers by voice."""
    answers = {}
    for voice in asker.voices:
        if len(asker.voices) > 1:
            print(f"[{voice.name}] ", end="", flush=True)
        answers[voice.name] = ""
        prompt = asker.prompt(histories[voice.name])
        for piece in stream(voice, prompt, asker.tokenizer, sampling, ends=asker.ends):
            print(piece, end="", flush=True)
            answers[voice.name] += piece
        print()
    return answers


def ask(asker: Asker, text: str, sampling: Sampling) -> None:
    """Print each voice's answer to one message."""
    answer_once(asker, {voice.name: [{"role": "user", "content": text}] for voice in asker.voices}, sampling)


def ask_healing(asker: Asker, text: str, row: dict[str, Any], sampling: Sampling, healing: Healing) -> bool:
    """Print each voice's answer to one message, asked for again where it fails; return whether all pass at last.

    Args:
        asker: who is asked.
        text: the message.
        row: further columns that the assertions may take, besides `prompt`, which is the message.
        sampling: how tokens are chosen.
        healing: what an answer has to pass.
    """
    prompt = _prompt_of_words(asker, text, row)
    passed = True
    for voice in asker.voices:
        (found,) = _answers(asker, voice, [prompt], sampling, 1, healing)
        print(f"[{voice.name}] {found.answer}" if len(asker.voices) > 1 else found.answer)
        tries = f"{found.tries} {'try' if found.tries == 1 else 'tries'}"
        reasons = "; ".join(dict.fromkeys(verdict.reason for verdict in found.failed))
        note(f"{voice.name}: {f'still fails after {tries}: {reasons}' if found.failed else f'passes after {tries}'}")
        passed = passed and not found.failed
    return passed


def _answers(
    asker: Asker, voice: Voice, prompts: list[Prompt], sampling: Sampling, batch_size: int, healing: Healing | None
) -> list[Healed]:
    """Return a voice's answers to all prompts."""

    def answers(pending: Sequence[tuple[int, list[Turn]]]) -> list[str]:
        ids = [prompts[index].tokens(said) for index, said in pending]
        again = ", asked again" if pending and pending[0][1] else ""
        with progress(f"answers of the {voice.name} model{again}", total=len(ids), unit="prompts") as advance:
            return generate(
                voice, ids, asker.tokenizer, sampling, ends=asker.ends, batch_size=batch_size, advance=advance
            )

    if healing:
        return heal(answers, [prompt.case for prompt in prompts], healing.judge, healing.retries)
    return [Healed(text, 1, []) for text in answers([(index, []) for index in range(len(prompts))])]


def chat(asker: Asker, sampling: Sampling) -> None:
    """Talk with the user until the input ends. Each voice goes on from its own answers."""
    multi_turn = keeps_history(asker.spec.dataset)
    note("type a message; /new starts over, /exit or Ctrl-D ends" + ("" if multi_turn else "; each turn stands alone"))
    histories: dict[str, list[Turn]] = {voice.name: [] for voice in asker.voices}
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
            asked: Turn = {"role": "user", "content": text}
            turns = {name: [*(history if multi_turn else []), asked] for name, history in histories.items()}
            answers = answer_once(asker, turns, sampling)
            histories = {name: [*turns[name], {"role": "assistant", "content": answers[name]}] for name in turns}


def answer_file(
    asker: Asker, file: str, sampling: Sampling, batch_size: int, healing: Healing | None = None
) -> Iterable[dict[str, Any]]:
    """Yield the answers to all prompts of a file as `{prompt, base?, tuned?}`; healed ones with `tries` and `failed`.

    A .jsonl, .json, .csv or .parquet file holds rows in the layout of the dataset; any other a prompt a line.

    Raises:
        DataError: a row does not fit, or the file holds no prompt.
        ConfigError: an assertion is at fault.
    """
    prompts = list(_prompts(asker, file))
    if not prompts:
        raise DataError(f"{file} holds no prompt")
    answers = {voice.name: _answers(asker, voice, prompts, sampling, batch_size, healing) for voice in asker.voices}
    for index, prompt in enumerate(prompts):
        found = {name: healed[index] for name, healed in answers.items()}
        entry: dict[str, Any] = {"prompt": prompt.text, **{name: healed.answer for name, healed in found.items()}}
        if healing:
            entry["tries"] = {name: healed.tries for name, healed in found.items()}
            entry["failed"] = {name: {v.name: v.reason for v in healed.failed} for name, healed in found.items()}
        yield entry
    for name, healed in answers.items() if healing else ():
        fails = sum(bool(item.failed) for item in healed)
        first = sum(item.tries == 1 and not item.failed for item in healed)
        mended = len(healed) - first - fails
        note(f"{name}: of {len(healed):,} answers {first:,} pass at once, {mended:,} are healed, {fails:,} fail")


def _prompts(asker: Asker, file: str) -> Iterable[Prompt]:
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{file}: no such file")
    if data_source.kind_suffix(path) not in data_source.SUFFIXES.keys() - {".txt"}:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                yield _prompt_of_words(asker, line, {}, f"{file}:{number}")
        return
    dataset = asker.spec.dataset.model_copy(update={"path": file, "ds_type": None, "split": None, "data_files": None})
    for row in data_source.read_rows(dataset, asker.source):
        if isinstance(row, BadRow):
            raise DataError(f"{row.file}:{row.number}: {row.reason}")
        yield _prompt_of_row(asker, row)


def _prompt_of_words(asker: Asker, text: str, row: dict[str, Any], place: str = "the prompt") -> Prompt:
    turns: list[Turn] = [{"role": "user", "content": text}]
    return Prompt(text, Case({"prompt": text, **row}, "", "", place), partial(asker.prompt, turns))


def _prompt_of_row(asker: Asker, row: Row) -> Prompt:
    place = f"{row.file}:{row.number}"

    def asked(said: Sequence[Turn]) -> Question:
        try:
            found = question(row.values, asker.spec, asker.tokenizer, asker.source, said)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
        if found is None:
            raise DataError(f"{place}: rows of type {asker.spec.dataset.type} have no prompt")
        return found

    first = asked(())
    text = asker.tokenizer.decode(first.input_ids)
    case = Case(row.values, "", first.reference, place)
    return Prompt(text, case, lambda said: asked(said).input_ids if said else first.input_ids)


def print_answers(answers: Iterable[dict[str, Any]]) -> None:
    """Print answers as JSON lines, for another program to read."""
    for entry in answers:
        print(json.dumps(entry, ensure_ascii=False), flush=True)
