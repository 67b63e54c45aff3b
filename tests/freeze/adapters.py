"""The few places where the harness touches names that may move. A redesign changes this file and no other one here."""

import contextlib
import io
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import tunesmith

SMOLLM = "smollm2"
FIELDS = ("input_ids", "labels", "text", "prompt", "chosen", "rejected", "completion", "label")
"""What of an example is frozen; the column that parts two answers is not, since it may be renamed."""


@cache
def find_tokenizer(name: str | None) -> Any:
    """Return a tokenizer: the built-in model's, or a family of `tests/real_tokenizers.py`; None if it is not here."""
    from real_tokenizers import load_family
    from tunesmith.modeling.tokenizer import model_tokenizer
    from tunesmith.sections import ModelSection

    if name is None:
        return None
    if name == SMOLLM:
        return model_tokenizer(ModelSection(base_model="builtin/smollm2-135m-instruct"))
    return load_family(name)


def encoded(row: dict[str, Any], dataset: dict[str, Any], config: dict[str, Any], tokenizer: Any) -> list[list[Any]]:
    """Return the examples of a row as plain lists, by the public `tunesmith.encode`."""
    examples = tunesmith.encode(row, dataset=dataset, config=config, tokenizer=tokenizer)
    return [[getattr(example, field) for field in FIELDS] for example in examples]


def _spec(row: dict[str, Any], dataset: dict[str, Any], config: dict[str, Any], tokenizer: Any) -> Any:
    """Internal: the settings of one dataset, as `encode` makes them."""
    from tunesmith.config.load import load_values
    from tunesmith.data.formats.detect import detected
    from tunesmith.data.formats.specs import format_spec

    asked = {"base_model": "none", "learning_rate": 1.0, "micro_batch_size": 2}
    given = {key: value for key, value in dataset.items() if value is not None}
    checked = load_values({**asked, **config, "datasets": [{"path": "row", **given}]}, "config", {})
    section = checked.data.datasets[0]
    if section.type is None:
        section = section.model_copy(update=detected(row, section.model_fields_set - {"type"}))
    return format_spec(section, checked.data, checked.model, tokenizer, "config.yml")


def asked(row: dict[str, Any], dataset: dict[str, Any], config: dict[str, Any], tokenizer: Any) -> Any:
    """Internal: return the prompt of a row at inference as (ids, its own answer, what is asked), or None."""
    from tunesmith.data.question import question

    found = question(row, _spec(row, dataset, config, tokenizer), tokenizer)
    return None if found is None else [list(found.input_ids), found.reference, found.text]


def reference(row: dict[str, Any], dataset: dict[str, Any], config: dict[str, Any], tokenizer: Any) -> str:
    """Internal: return the row's own answer."""
    from tunesmith.data.question import reference_answer

    return reference_answer(row, _spec(row, dataset, config, tokenizer))


def typed(row: dict[str, Any], dataset: dict[str, Any], config: dict[str, Any], tokenizer: Any) -> list[int]:
    """Internal: return the ids that the model is fed after turns that a person typed; the row only tells the type."""
    from tunesmith.data.question import conversation_prompt

    turns = [
        {"role": "user", "content": "What is 2+2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3+3?"},
    ]
    return list(conversation_prompt(turns, _spec(row, dataset, config, tokenizer), tokenizer))


def loaded(file: str, arguments: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[str]]:
    """Return the value of every key of a config file, and the notes about its keys."""
    from tunesmith.config.load import load

    config = load(file, arguments)
    return config.settings(), list(config.notes)


def run_command(*arguments: str) -> tuple[int, str]:
    """Run a `tunesmith` command in this process; return its exit code and all that it printed."""
    from tunesmith.cli.main import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(list(arguments))
    return code, printed.getvalue()


def prepared_sets(folder: Path) -> list[dict[str, list[Any]]]:
    """Return ids and labels of all prepared datasets in a folder, in the order of their paths."""
    from datasets import Dataset, load_from_disk

    found = []
    for state in sorted(folder.rglob("state.json")):
        rows = load_from_disk(str(state.parent))
        if isinstance(rows, Dataset):
            found.append({name: list(rows[name]) for name in ("input_ids", "labels") if name in rows.column_names})
    return found


def metrics(output: Path) -> list[dict[str, Any]]:
    """Return what a training run recorded."""
    return [json.loads(line) for line in (output / "run" / "metrics.jsonl").read_text("utf-8").splitlines()]


@contextlib.contextmanager
def inside(folder: Path) -> Any:
    """Work in a folder, so that relative paths in messages are the same everywhere."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def stop_the_clock() -> None:
    """Internal: let templates that write today's date write that of the day on which `frozen.json` was made."""
    from transformers.utils import chat_template_utils

    class RecordedDay(chat_template_utils.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls(2026, 11, 30, 12, tzinfo=tz)

    chat_template_utils.datetime = RecordedDay
