"""Time and memory of `tunesmith curate` on rows with planted duplicates: the table of docs/curate.md.

python tests/curation/measure_curate.py 10000 100000 1000000
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

WORDS = [f"word{number}" for number in range(20_000)]
KINDS = ("new", "equal", "near")


def write_rows(file: Path, count: int) -> list[str]:
    """Write rows of 40 words asked and 60 answered, of which one in ten repeats and one in ten nearly repeats one."""
    choice = random.Random(0)
    kinds, last = [], []
    with file.open("w") as lines:
        for _ in range(count):
            kind = choice.choices(KINDS, (8, 1, 1))[0] if last else "new"
            words = list(choice.choice(last)) if kind != "new" else choice.choices(WORDS, k=100)
            if kind == "near":
                words[choice.randrange(100)] = "changed"
            if kind == "new":
                last = [*last[-999:], words]
            lines.write(json.dumps({"question": " ".join(words[:40]), "answer": " ".join(words[40:])}) + "\n")
            kinds.append(kind)
    return kinds


def processor_time(command: list[str]) -> float:
    """Run a command and return the seconds that it had a processor, which other work on the machine changes little."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(count: int) -> None:
    """Print the line of a table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        kinds = write_rows(rows, count)
        command = [sys.executable, "-m", "tunesmith", "curate", str(rows), "--output", f"{folder}/out", "--show", "0"]
        seconds, again = (processor_time([*command, *more]) for more in ([], ["--keep", "near-duplicate"]))
        subprocess.run(command, check=True, capture_output=True)
        with open(f"{folder}/out/manifest.jsonl") as lines:
            rules = [json.loads(line).get("rule", "new").partition(":")[0] for line in lines]
    found = Counter(zip(kinds, rules, strict=True))
    wrong = sum(number for (kind, rule), number in found.items() if kind == "new" and rule != "new")
    caught = {kind: sum(found[kind, rule] for rule in ("duplicate", "near-duplicate")) for kind in KINDS[1:]}
    shares = " | ".join(f"{caught[kind]:,} of {kinds.count(kind):,}" for kind in KINDS[1:])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"| {count:,} | {seconds:.0f} s | {again:.0f} s | {peak:,.0f} MB | {shares} | {wrong} |", flush=True)


if __name__ == "__main__":
    print("| rows | processor time | a rule undone | peak memory | duplicates found | near ones | others left out |")
    print("|---|---|---|---|---|---|---|")
    for number in sys.argv[1:]:
        measure(int(number))
