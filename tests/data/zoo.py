"""The zoo: rows in the shapes of public datasets and of bug reports, each with what it should become.

`zoo.yml` holds the shapes. `python tests/data/zoo.py` writes their table to docs/shapes.md.
"""

import csv
import json
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import yaml

from tunesmith.config.load import load
from tunesmith.data.formats.detect import with_types
from tunesmith.data.prepare import Report, prepare
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.data.types import MASKED, Example
from tunesmith.sections import Config

HERE = Path(__file__).parent
SHAPES: list[dict[str, Any]] = yaml.safe_load((HERE / "zoo.yml").read_text(encoding="utf-8"))
"""Name, rows, settings and right result of each shape; the keys are described at the top of the file."""


class Outcome(NamedTuple):
    """What a shape became.

    Attributes:
        settings: those that its columns stand for: `type`, and the keys that go with it.
        samples: the text of each sample, with the trained parts in brackets.
        report: counts of rows, tokens, and what nothing reads.
    """

    settings: dict[str, Any]
    samples: list[str]
    report: Report


def write_shape(shape: dict[str, Any], folder: Path) -> Config:
    """Write the rows of a shape and a config, and return the config."""
    file = folder / f"rows.{shape.get('file', 'jsonl')}"
    _write_rows(shape["rows"], file)
    values = {
        "base_model": "builtin/smollm2-135m-instruct",
        "chat_template": "chatml",
        "datasets": [{"path": str(file), **shape.get("dataset", {})}],
        "sequence_len": 2048,
        "micro_batch_size": 1,
        "learning_rate": 1e-3,
        "shuffle_merged_datasets": False,
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        **shape.get("config", {}),
    }
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return load(str(config))


def _write_rows(rows: list[dict[str, Any]], file: Path) -> None:
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif file.suffix == ".csv":
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def prepare_shape(config: Config, tokenizer: Tokenizer) -> Outcome:
    """Return what the rows of a config become."""
    (dataset,) = config.data.datasets
    settings: dict[str, Any] = {}
    if dataset.type is None and not config.data.rl:
        (typed,) = with_types([dataset], config.source, quiet=True)
        settings = {key: getattr(typed, key) for key in _changed(dataset, typed)}
    prepared = prepare(
        config.data.datasets, config.data, config.model, tokenizer=tokenizer, seed=1, source=config.source
    )
    samples = [
        marked(document, tokenizer)
        for row in prepared.load()
        for document in Example(row["input_ids"], row["labels"], split_index=row.get("border")).documents
    ]
    return Outcome(settings, samples, prepared.reports[0])


def _changed(before: Any, after: Any) -> list[str]:
    return [key for key, value in after if value != getattr(before, key)]


def marked(example: Example, tokenizer: Tokenizer) -> str:
    """Return the text of an example's tokens, with the trained ones in brackets."""
    pairs = zip(example.input_ids, example.labels, strict=True)
    text = ""
    for is_trained, run in groupby(pairs, key=lambda pair: pair[1] != MASKED):
        part = tokenizer.decode([token for token, _ in run])
        text += f"⟦{part}⟧" if is_trained else part
    return text


def table() -> str:
    """Return docs/shapes.md: which shapes are read, as what, and which are refused."""
    read = [shape for shape in SHAPES if "samples" in shape]
    groups = {
        "Read without settings": [shape for shape in read if not shape.get("dataset")],
        "Read with settings": [shape for shape in read if shape.get("dataset")],
        "Refused": [shape for shape in SHAPES if "error" in shape],
    }
    parts = [INTRODUCTION]
    for title, shapes in groups.items():
        last = "error" if title == "Refused" else "nothing reads"
        parts.append(f"## {title}\n\n| shape | columns | read as | {last} |\n|---|---|---|---|")
        parts[-1] += "".join("\n| " + " | ".join(_cells(shape)) + " |" for shape in shapes)
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# Shapes of rows

What becomes of rows in the shapes of public datasets and of bug reports. tests/data/zoo.yml has the rows of each, and
the text that is trained. `python tests/data/zoo.py` writes this page, and a test compares it. [Data](data.md) describes
the types.

"Read as" names the keys of `datasets` that the columns stand for, or those that were set. Columns with names of
bookkeeping (`id`, `source`, `*_score`, ...) need no reader. Others are named by `preprocess` and `check`, and refused
if they would change what is trained."""


def _cells(shape: dict[str, Any]) -> list[str]:
    settings = shape.get("dataset") or shape.get("detects") or {}
    columns = dict.fromkeys(name for row in shape["rows"] for name in row)
    config = {key: value for key, value in shape.get("config", {}).items() if key == "rl"}
    last = shape.get("error") or ", ".join(f"`{name}`" for name in shape.get("unread", []))
    return [
        shape["like"],
        ", ".join(f"`{name}`" for name in columns),
        ", ".join(f"`{key}: {_flow(value)}`" for key, value in (config | settings).items()),
        last.replace("|", "\\|"),
    ]


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip() or "''"


if __name__ == "__main__":
    (HERE.parents[1] / "docs" / "shapes.md").write_text(table(), encoding="utf-8")
