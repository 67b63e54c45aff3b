"""One conversation or many prompts on the command line: who is asked, with what settings, and how it is printed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.checks.manifest import changed_prompts, prompt_manifest
from tunesmith.config.sections import Config
from tunesmith.data import source as data_source
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.formats.specs import as_chat, format_specs
from tunesmith.data.question import Turn, conversation_prompt, keeps_history, question, shared_system_turn
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import BadRow
from tunesmith.errors import DataError
from tunesmith.generation.voices import load_voices
from tunesmith.hardware import detect
from tunesmith.log import note, progress
from tunesmith.modeling.generate import Sampling, Voice, end_tokens, generate, stream
from tunesmith.modeling.tokenizer import model_tokenizer


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

    def prompt(self, turns: list[Turn]) -> list[int]:
        """Return the tokens that are fed after `turns`, with the system turn before them."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return conversation_prompt([*first, *turns], self.spec, self.tokenizer, self.source)


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


def answer_file(asker: Asker, file: str, sampling: Sampling, batch_size: int) -> Iterable[dict[str, Any]]:
    """Yield the answers to all prompts of a file as `{prompt, base?, tuned?}`.

    A .jsonl, .json, .csv or .parquet file holds rows in the layout of the dataset; any other a prompt a line.

    Raises:
        DataError: a row does not fit, or the file holds no prompt.
    """
    prompts = list(_prompts(asker, file))
    if not prompts:
        raise DataError(f"{file} holds no prompt")
    ids = [tokens for _, tokens in prompts]
    answers = {}
    for voice in asker.voices:
        with progress(f"answers of the {voice.name} model", total=len(ids), unit="prompts") as advance:
            answers[voice.name] = generate(
                voice, ids, asker.tokenizer, sampling, ends=asker.ends, batch_size=batch_size, advance=advance
            )
    for index, (text, _) in enumerate(prompts):
        yield {"prompt": text, **{name: texts[index] for name, texts in answers.items()}}


def _prompts(asker: Asker, file: str) -> Iterable[tuple[str, list[int]]]:
    path = Path(file)
    if not path.is_file():
        raise DataError(f"{file}: no such file")
    if path.suffix not in data_source.SUFFIXES or path.suffix == ".txt":
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield line, asker.prompt([{"role": "user", "content": line}])
        return
    dataset = asker.spec.dataset.model_copy(update={"path": file, "ds_type": None, "split": None, "data_files": None})
    for row in data_source.read_rows(dataset, asker.source):
        if isinstance(row, BadRow):
            raise DataError(f"{row.file}:{row.number}: {row.reason}")
        try:
            found = question(row.values, asker.spec, asker.tokenizer, asker.source)
        except DataError as error:
            raise DataError(f"{row.file}:{row.number}: {error}") from error
        if found is None:
            raise DataError(f"{row.file}:{row.number}: rows of type {dataset.type} have no prompt")
        yield asker.tokenizer.decode(found.input_ids), found.input_ids


def print_answers(answers: Iterable[dict[str, Any]]) -> None:
    """Print answers as JSON lines, for another program to read."""
    for entry in answers:
        print(json.dumps(entry, ensure_ascii=False), flush=True)
