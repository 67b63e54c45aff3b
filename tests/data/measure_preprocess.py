"""Time and memory of `tunesmith preprocess` on short rows: the figures of docs/speed.md.

python tests/data/measure_preprocess.py 50000 500000 5000000

Memory is that of all processes together. Pages of files, which the system takes back when it needs them, stand apart.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

WORDS = ["the", "a", "model", "data", "row", "token", "train", "learn", "loss", "step", "rate", "batch", "size", "long"]
WORDS += ["short", "fast", "slow", "test", "open", "file"]
KINDS = ("RssAnon", "RssFile")


def write_rows(file: Path, count: int) -> None:
    """Write rows of `type: alpaca` with 12 words asked and 16 answered, all different."""
    draw = random.Random(0)
    with file.open("w") as lines:
        for number in range(count):
            asked, answered = " ".join(draw.choices(WORDS, k=12)), " ".join(draw.choices(WORDS, k=16))
            lines.write(f'{{"instruction": "{asked} {number}", "output": "{answered}"}}\n')


def held(process: psutil.Popen) -> list[int]:
    """Return the MiB of each kind that a process and those that it has started hold."""
    total = dict.fromkeys(KINDS, 0)
    for number in [process.pid, *(child.pid for child in process.children(recursive=True))]:
        try:
            lines = Path(f"/proc/{number}/status").read_text().splitlines()
        except OSError:  # it has just ended
            continue
        for name, _, value in (line.partition(":") for line in lines):
            if name in total:
                total[name] += int(value.split()[0]) // 1024
    return list(total.values())


def measure(count: int) -> None:
    """Print the line of a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", count)
        values = {
            "base_model": "builtin/smollm2-135m-instruct",
            "datasets": [{"path": str(folder / "rows.jsonl"), "type": "alpaca"}],
            "dataset_prepared_path": str(folder / "prepared"),
            "learning_rate": 1e-4,
        }
        (folder / "config.yml").write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "tunesmith", "preprocess", str(folder / "config.yml")]
        begun, most = time.monotonic(), [0, 0]
        process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            most = [max(pair) for pair in zip(most, held(process), strict=True)]
            time.sleep(0.1)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    print(f"| {count:,} | {time.monotonic() - begun:.0f} s | {most[0]:,} MiB | {most[1]:,} MiB |", flush=True)


if __name__ == "__main__":
    print("| rows | time | memory | pages of files |\n|---|---|---|---|")
    for argument in sys.argv[1:]:
        measure(int(argument))
