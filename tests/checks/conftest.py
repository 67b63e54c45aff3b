"""What the tests of the data doctor share: a look at rows that a test writes."""

import json
from pathlib import Path

import pytest

from tunesmith.checks.doctor import run_checks
from tunesmith.config.load import load


@pytest.fixture
def examine(tmp_path, tokenizer, model_folder, write_jsonl, write_config):
    """`examine(rows, type="chat_template", **keys)` writes rows.jsonl and returns the report of its config.

    `dataset` holds further keys of the entry in `datasets`; `test` rows of `test_datasets`; `with_tokenizer` takes the
    place of the built-in model's.
    """

    def look(
        rows, type="chat_template", *, dataset=None, test=None, with_tokenizer=None, quick=False, limit=None, **keys
    ):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        entry = {"path": str(file), "type": type, **(dataset or {})}
        if test is not None:
            held_out = write_jsonl(tmp_path / "test.jsonl", test)
            keys["test_datasets"] = [{**entry, "path": str(held_out)}]
        config = load(str(write_config(tmp_path, datasets=[entry], **keys)))
        return run_checks(config, with_tokenizer or tokenizer, quick=quick, limit=limit, model_folder=model_folder)

    return look


@pytest.fixture(scope="session")
def found():
    """`found(report)` maps each code to its finding."""
    return lambda report: {item.code: item for item in report.findings}


@pytest.fixture
def retokenised(tokenizer, tmp_path):
    """`retokenised(change)` saves the tokenizer, lets `change` edit its tokenizer.json, and loads it again.

    `settings` are put into its tokenizer_config.json.
    """
    from tunesmith.data.tokenizer import load_tokenizer

    def make(change=lambda content: None, **settings):
        folder = tmp_path / "tokenizer"
        tokenizer.save_pretrained(folder)
        for name, edit in (("tokenizer.json", change), ("tokenizer_config.json", lambda old: old.update(settings))):
            content = json.loads((folder / name).read_text())
            edit(content)
            Path(folder / name).write_text(json.dumps(content))
        return load_tokenizer(str(folder))

    return make
