"""Rows in the short form in which a model writes them: columns, question, answer. `loop.yml` trains on them by `chat`.

    python rows.py        # after generate.py: makes data/seeds.jsonl and data/writer.jsonl of data/train.jsonl

The first rows of train.jsonl are the seeds. From all others, which `loop.yml` leaves alone, the stand-in for a strong
model learns to write a row when it is asked as `generate.prompt` asks.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SEEDS = 200
COLUMNS = 8
"""Columns of a row that is made: half of them are of one seed, half of another, so that no seed has the same."""

PROMPT = """\
<|im_start|>system
Answer with a Honeycomb query in JSON.<|im_end|>
<|im_start|>user
Columns:
{columns}

{question}<|im_end|>
<|im_start|>assistant
"""


def chat(row: dict[str, Any], spec: object) -> list[tuple[str, bool]]:
    """Return the text of a short row, and what of it is trained: the same as of a row of train.jsonl."""
    prompt = PROMPT.format(columns="\n".join(row["columns"]), question=row["question"])
    return [(prompt, False), (row["answer"], True)]


def shortened(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of train.jsonl in short form, with fewer columns, among which are those of its query."""
    _, asked, answered = (turn["content"] for turn in row["messages"])
    used = [name for name in row["columns"] if json.dumps(name) in answered]
    kept = [*used, *(name for name in row["columns"] if name not in used)][:COLUMNS]
    columns = [name for name in row["columns"] if name in kept]
    return {"columns": columns, "question": asked.split("\n\n")[1], "answer": answered}


def lessons(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return conversations in which a row is asked for and written."""
    import jinja2
    import yaml

    config = yaml.safe_load((HERE / "loop.yml").read_text(encoding="utf-8"))
    template = jinja2.Template(config["generate"]["prompt"])
    found = []
    for row in rows:
        halves = row["columns"][: COLUMNS // 2], row["columns"][COLUMNS // 2 :]
        asked = template.render(seeds=[{"columns": half} for half in halves])
        turns = (("user", asked), ("assistant", json.dumps(row)))
        found.append({"messages": [{"role": role, "content": text} for role, text in turns]})
    return found


def main() -> None:
    """Write the files."""
    lines = (HERE / "data/train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [shortened(json.loads(line)) for line in lines]
    for name, made in (("seeds", rows[:SEEDS]), ("writer", lessons(rows[SEEDS:]))):
        file = HERE / "data" / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
        print(f"{file}: {len(made)} rows")


if __name__ == "__main__":
    main()
