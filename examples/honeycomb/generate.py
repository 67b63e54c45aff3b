"""Write questions about columns, each with the one Honeycomb query that answers it, to train on and to test with.

    python generate.py [--train 1500] [--eval 200] [--seed 42] [--out DIR]

Held-out rows have domains and sentences that no training row uses. The same arguments give the same bytes.
"""

import argparse
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vocabulary

HERE = Path(__file__).resolve().parent
SYSTEM = "Answer with a Honeycomb query in JSON."
SAMPLE_ROWS = 20
INVENTED = 0.6  # share of a training row's own columns with a made-up name

KEYS = (
    "calculations", "filters", "filter_combination", "breakdowns", "orders", "havings", "limit",
    "time_range", "start_time", "end_time", "granularity",
)  # fmt: skip

# Weights of the choices: what is asked, of which measure, with which filter on a column of which kind.
KINDS = {
    "count": 15, "measure": 20, "pair": 6, "heatmap": 7, "distinct": 8, "concurrency": 5, "rate": 7,
    "top": 12, "slowest": 6, "most": 7, "sorted": 9, "having": 11,
}  # fmt: skip
MEASURES = {
    "AVG": 8, "SUM": 5, "MAX": 5, "MIN": 4, "P50": 3, "P75": 2, "P90": 3, "P95": 4, "P99": 5, "P999": 2,
    "P25": 1.5, "P10": 1.5, "P05": 1, "P01": 1, "P001": 1,
}  # fmt: skip
BOUNDS = {">": 5, ">=": 3, "<": 4, "<=": 3, "=": 1, "!=": 0.5}
PRESENCE = {"exists": 1.2, "does-not-exist": 1.2}
FILTERS: dict[str, dict[str, float]] = {
    "flag": {"=": 1},
    "number": {">": 5, ">=": 3, "<": 4, "<=": 3, "=": 1, **PRESENCE},
    "code": {"=": 5, "!=": 3, ">=": 2, "<": 1, "in": 3, "not-in": 2},
    "text": {"=": 8, "!=": 3, "in": 3, "not-in": 2, **PRESENCE},
}
PATTERNS = {"starts-with": 2, "does-not-start-with": 1.2, "contains": 2, "does-not-contain": 1.2}
RANKED = ("top", "slowest", "most", "sorted", "having")
COUNTED = ("count", "concurrency", "most")

# Last parts of a dotted name that say little alone: `user.id` is a user id, `cloud.region` simply a region.
VAGUE = re.compile(
    "id|type|size|code|version|system|mode|class|model|key|address|message|depth|cost|width|rule|group|app|question|"
    "source|user|tag|path|hit|build|map|title|plan|weight"
)
UNITS = re.compile(r"_(ms|s|seconds|hours|bytes|kb|mb|gb|kbps|mbps|usd|kg|km|millicores)$")
FIRST_MOMENT, LAST_MOMENT = 1_700_000_000, 1_750_000_000


@dataclass(frozen=True)
class Scene:
    """What one row is drawn from: chance, the phrases allowed, what the events are called and the columns listed."""

    rng: random.Random
    phrases: dict[str, list[str]]
    things: str
    columns: dict[str, list[Any]]
    names: dict[str, str]

    def say(self, part: str, **slots: str) -> str:
        """Fill in a phrase for a part of the question."""
        return self.rng.choice(self.phrases[part]).format(things=self.things, **slots)

    def of_kind(self, *kinds: str) -> list[str]:
        """Return the listed columns of the given kinds."""
        return [name for name, values in self.columns.items() if kind_of(name, values) in kinds]


def table(text: str) -> dict[str, list[str]]:
    """Read a block of the vocabulary into its entries and their items."""
    entries: dict[str, list[str]] = {}
    for line in text.strip().splitlines():
        items = line.strip()
        if not line.startswith(" "):
            name, items = line.split(": ", 1)
            entries[name] = []
        entries[name] += items.split(" | ")
    return entries


def read_columns(items: list[str]) -> dict[str, list[Any]]:
    """Map each column of a vocabulary entry to its values."""
    return {name: [read_value(word) for word in words] or [True, False] for name, *words in map(str.split, items)}


def read_value(word: str) -> str | int | float:
    """Read a value as a number where it is written as one."""
    return json.loads(word) if re.fullmatch(r"-?\d+(\.\d+)?", word) else word


def kind_of(name: str, values: list[Any]) -> str:
    """Tell whether a column holds flags, text, codes (numbers that only name things) or numbers to calculate with."""
    if isinstance(values[0], bool):
        return "flag"
    if isinstance(values[0], str):
        return "text"
    return "code" if name.endswith(("code", "port")) else "number"


def spoken_forms(name: str) -> list[str]:
    """List the ways to say a column's name: in short, in full, and exactly."""
    *owners, short = UNITS.sub("", name).split(".")
    if owners and short == "name":
        short = owners[-1]
    elif owners and VAGUE.fullmatch(short):
        short = f"{owners[-1]} {short}"
    full = re.sub(r"\b(\w+) \1\b", r"\1", re.sub("[._]", " ", name))
    return [short.replace("_", " "), full, name]


def choose_names(rng: random.Random, columns: dict[str, list[Any]]) -> dict[str, str]:
    """Choose how the question calls each column, so that no name fits two of them."""
    forms = {name: spoken_forms(name) for name in columns}
    chosen = {}
    for name in columns:
        others = {form for other in columns if other != name for form in forms[other]}
        form = rng.choices(forms[name], weights=(3, 1, 6))[0]
        chosen[name] = name if form in others else form
    return chosen


def plural(name: str) -> str:
    """Say a column's name for several of its values."""
    if re.search(r"[._]", name):
        return f"{name} values"
    if re.search(r"[^aeiou]y$", name):
        return name[:-1] + "ies"
    return name + ("es" if re.search(r"(s|x|ch|sh)$", name) else "s")


def weighted(rng: random.Random, weights: Mapping[str, float]) -> str:
    """Choose a key of a table by its weight."""
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def draw_scene(
    rng: random.Random, domains: dict[str, list[str]], phrases: dict[str, list[str]], invented: float = 0.0
) -> Scene:
    """Choose a domain and 8 to 20 columns; the share `invented` of its own columns gets a made-up name."""
    entry = rng.choice(list(domains))
    own = read_columns(domains[entry])
    common = read_columns(table(vocabulary.COMMON_COLUMNS)["common"])
    kinds = {kind: [name for name in own if kind_of(name, own[name]) == kind] for kind in ("text", "number", "flag")}
    listed = [*rng.sample(kinds["text"], 3), *rng.sample(kinds["number"], 2), rng.choice(kinds["flag"])]
    if rng.random() < 0.6:
        listed.append("duration_ms")
    rest = [name for name in (*own, *common) if name not in listed]
    size = rng.choices(range(8, 21), weights=(18, 14, 9, 5, 3, 2, 2, 1, 1, 1, 1, 1, 1))[0]
    listed += rng.sample(rest, size - len(listed))
    rng.shuffle(listed)
    columns: dict[str, list[Any]] = {}
    for name in listed:
        shown = invented_name(rng, name) if name in own and rng.random() < invented else name
        columns[name if shown in columns else shown] = {**common, **own}[name]
    return Scene(rng, phrases, entry.split(" ", 1)[1], columns, choose_names(rng, columns))


def invented_name(rng: random.Random, name: str) -> str:
    """Make up a name for a column, with the unit of `name`. A model that meets many names learns to copy them."""
    words = rng.sample(vocabulary.INVENTED_WORDS.split(), 2)
    unit = UNITS.search(name)
    kept = unit.group() if unit else "_code" if name.endswith("code") else ""
    return rng.choice("._").join(words) + kept


def draw_filter(scene: Scene, column: str) -> tuple[str, dict[str, Any]]:
    """Draw a filter on a column, as words and as JSON."""
    values = scene.columns[column]
    kind = kind_of(column, values)
    pieces = {op: pattern_pieces(values, op) for op in PATTERNS} if kind == "text" else {}
    op = weighted(scene.rng, FILTERS[kind] | {op: PATTERNS[op] for op in PATTERNS if pieces.get(op)})
    name = scene.names[column]
    if op in PRESENCE:
        return scene.say(f"filter {op}", c=name), {"column": column, "op": op}
    if op in ("in", "not-in"):
        several = scene.rng.sample(values, min(len(values), scene.rng.choice((2, 2, 3))))
        *first, last = map(str, several)
        words = scene.say(f"filter {op}", c=name, v=f"{', '.join(first)} or {last}")
        return words, {"column": column, "op": op, "value": several}
    value = scene.rng.choice(pieces.get(op) or values)
    if kind == "flag":
        return f"{name} is {json.dumps(value)}", {"column": column, "op": op, "value": value}
    return scene.say(f"filter {op}", c=name, v=str(value)), {"column": column, "op": op, "value": value}


def pattern_pieces(values: list[str], op: str) -> list[str]:
    """List beginnings, or other parts, of those values that have several parts in words."""
    found = []
    for value in values:
        parts = list(re.finditer(r"[A-Za-z]{2,}", value))
        if "start" in op:
            found += [value[: parts[0].end()]] if parts and parts[0].start() < 2 and parts[0].end() < len(value) else []
        elif len(parts) > 1:
            found.append(parts[-1].group())
    return found


def draw_filters(scene: Scene, used: list[str]) -> tuple[str, dict[str, Any]]:
    """Draw up to three filters, all or any of which must hold, on columns not used to group by."""
    open_columns = [name for name in scene.columns if name not in used]
    count = scene.rng.choices((0, 1, 2, 3), weights=(42, 46, 10, 2))[0]
    if not count:
        return "", {}
    drawn = [draw_filter(scene, column) for column in scene.rng.sample(open_columns, count)]
    query: dict[str, Any] = {"filters": [entry for _, entry in drawn]}
    joint = scene.rng.choices(("and", "or"), weights=(2, 1))[0]
    if count > 1:
        query["filter_combination"] = joint.upper()
    return f" {joint} ".join(words for words, _ in drawn), query


def draw_measure(scene: Scene, ops: Mapping[str, float], columns: list[str]) -> tuple[str, dict[str, str]]:
    """Draw a calculation with one value, as words and as JSON."""
    op = weighted(scene.rng, ops)
    if op == "COUNT":
        return scene.say(op), {"op": op}
    column = scene.rng.choice(scene.of_kind("text") if op == "COUNT_DISTINCT" else columns)
    name = scene.names[column]
    nth = vocabulary.PERCENTILES.get(op, "")
    part = "percentile" if nth and op != "P50" else op
    words = scene.say(part, c=name, cs=plural(name), nth=nth, p="p" + nth.rstrip("thsnrd"))
    return words, {"op": op, "column": column}


def draw_calculations(scene: Scene, kind: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Draw what a question of a kind calculates: the words for its slots, and the calculations."""
    rng, numbers = scene.rng, scene.of_kind("number")
    if kind in COUNTED:
        return {}, [{"op": "CONCURRENCY" if kind == "concurrency" else "COUNT"}]
    if kind in ("heatmap", "distinct"):
        column = rng.choice(scene.of_kind("text") if kind == "distinct" else numbers)
        op = "COUNT_DISTINCT" if kind == "distinct" else "HEATMAP"
        return {"c": scene.names[column], "cs": plural(scene.names[column])}, [{"op": op, "column": column}]
    if kind == "rate":
        words, entry = draw_measure(scene, {"AVG": 1, "SUM": 1, "MAX": 1}, numbers)
        return {"m": words}, [{**entry, "op": f"RATE_{entry['op']}"}]
    if kind == "slowest":
        slow = {op: MEASURES[op] for op in ("AVG", "MAX", "P50", "P90", "P95", "P99")}
        words, entry = draw_measure(scene, slow, [name for name in numbers if name.endswith("_ms")])
        return {"m": words}, [entry]
    others = {"COUNT": 8, "COUNT_DISTINCT": 5} if kind in (*RANKED, "pair") else {}
    words, entry = draw_measure(scene, MEASURES | others, numbers)
    if kind != "pair":
        return {"m": words}, [entry]
    while True:
        second, other = draw_measure(scene, MEASURES, numbers)
        if other != entry:
            return {"m": words, "m2": second}, [entry, other]


def draw_groups(scene: Scene, kind: str, used: list[str]) -> list[str]:
    """Draw the columns to break down by: at least one where something is ranked."""
    fewest = 1 if kind in RANKED else 0
    count = max(fewest, scene.rng.choices((0, 1, 2), weights=(50, 44, 6))[0])
    kinds = ("text", "code") if kind in RANKED else ("text", "code", "flag")
    return scene.rng.sample([name for name in scene.of_kind(*kinds) if name not in used], count)


def group_words(scene: Scene, groups: list[str]) -> dict[str, str]:
    """Word the breakdowns, to follow "by" and to be ranked."""
    names = [scene.names[group] for group in groups]
    if not names:
        return {"by": "", "groups": ""}
    ranked = plural(names[0]) if len(names) == 1 else " and ".join(names) + " combinations"
    return {"by": " " + scene.say("by", g=" and ".join(names)), "groups": ranked}


def filter_words(scene: Scene, filters: str) -> dict[str, str]:
    """Word the filters, to follow the events they keep or to stand apart."""
    if not filters:
        return {"where": "", "scope": ""}
    return {"where": " " + scene.say("where", f=filters), "scope": " " + scene.say("scope", f=filters)}


def draw_time(scene: Scene) -> tuple[str, dict[str, int]]:
    """Draw the time asked about: mostly the last while, seldom moments in unix time, often none."""
    rng = scene.rng
    lasting = rng.choice(list(vocabulary.DURATIONS))
    start = rng.randrange(FIRST_MOMENT, LAST_MOMENT, 100)
    end = start + rng.randrange(600, 200_000, 100)
    seconds, moments = vocabulary.DURATIONS[lasting], {"a": str(start), "b": str(end), "d": lasting}
    times = {
        "": {},
        "when": {"time_range": seconds},
        "between": {"start_time": start, "end_time": end},
        "since": {"start_time": start},
        "until": {"end_time": end},
        "starting": {"time_range": seconds, "start_time": start},
    }
    part = rng.choices(list(times), weights=(28, 62, 4, 2, 2, 2))[0]
    return scene.say(part, **moments) if part else "", times[part]


def draw_rank(
    scene: Scene, kind: str, calculation: dict[str, str], groups: list[str]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Draw the order, the limit or the bound that a ranking question asks for."""
    rng = scene.rng
    if kind == "having":
        op = weighted(rng, BOUNDS)
        value = rng.choice(scene.columns.get(calculation.get("column", ""), [10, 50, 100, 500, 1000]))
        if calculation["op"] == "COUNT_DISTINCT":
            value = rng.choice((5, 10, 20, 50))
        target = {"calculate_op" if key == "op" else key: name for key, name in calculation.items()}
        return {"cmp": scene.say(f"bound {op}", v=str(value))}, {"havings": [{**target, "op": op, "value": value}]}
    down = rng.random() < 0.7
    order = "descending" if down else "ascending"
    if kind == "sorted" and rng.random() < 0.4:
        group = rng.choice(groups)
        words = scene.say(f"sort by {order}", g=scene.names[group])
        return {"sort": words}, {"orders": [{"column": group, "order": order}]}
    if kind == "sorted":
        return {"sort": scene.say(f"sort {order}")}, {"orders": [{**calculation, "order": order}]}
    limit = rng.choice((3, 5, 10, 15, 20, 25, 50, 100))
    sides = (("bottom", "top"), ("lowest", "highest"), ("fewest", "most"), ("fastest", "slowest"))
    slots = dict(zip(("top", "best", "most", "slow"), (pair[down] for pair in sides), strict=True))
    return slots | {"n": str(limit)}, {"orders": [{**calculation, "order": order}], "limit": limit}


def draw_step(scene: Scene, kind: str, time: dict[str, int]) -> tuple[str, dict[str, int]]:
    """Draw now and then a granularity, one that Honeycomb accepts for the time range."""
    seconds = time.get("time_range", 0)
    fitting = [step for step, length in vocabulary.STEPS.items() if seconds / 1000 <= length <= seconds / 10]
    if kind in RANKED or not fitting or scene.rng.random() > 0.12:
        return "", {}
    step = scene.rng.choice(fitting)
    return " " + scene.say("step", d=step), {"granularity": vocabulary.STEPS[step]}


def draw_question(scene: Scene) -> tuple[str, dict[str, Any]]:
    """Draw a question and the query that answers it."""
    kinds = dict(KINDS)
    if not any(name.endswith("_ms") for name in scene.of_kind("number")):
        del kinds["slowest"]
    kind = weighted(scene.rng, kinds)
    slots, calculations = draw_calculations(scene, kind)
    groups = draw_groups(scene, kind, [entry.get("column", "") for entry in calculations])
    filters, filter_query = draw_filters(scene, groups)
    time, time_query = draw_time(scene)
    step, step_query = draw_step(scene, kind, time_query)
    rank, rank_query = draw_rank(scene, kind, calculations[0], groups) if kind in RANKED else ({}, {})
    slots |= rank | group_words(scene, groups)
    slots |= filter_words(scene, filters)
    slots["by"] += step
    question = scene.say(kind, when=time and " " + time, lead=time and f"{time}, ", **slots)
    query = {"calculations": calculations, "breakdowns": groups, **filter_query, **rank_query, **time_query}
    query |= step_query
    return question[0].upper() + question[1:], {key: query[key] for key in KEYS if query.get(key)}


def draw_rows(split: str, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield distinct rows of a split, "train" or "eval"; fewer rows are the first of more."""
    held_out = split == "eval"
    domains = table(vocabulary.HELD_OUT_DOMAINS if held_out else vocabulary.TRAIN_DOMAINS)
    phrases = table(vocabulary.TRAIN_PHRASES) | (table(vocabulary.HELD_OUT_PHRASES) if held_out else {})
    rng = random.Random(f"{split} {seed}")
    asked: set[str] = set()
    while len(asked) < count:
        scene = draw_scene(rng, domains, phrases, invented=0.0 if held_out else INVENTED)
        question, query = draw_question(scene)
        # A line each: after a line break a name has the tokens that it has after the quote of the JSON.
        content = "\n".join(["Columns:", *scene.columns, "", question])
        if content in asked:
            continue
        asked.add(content)
        texts = {"system": SYSTEM, "user": content, "assistant": json.dumps(query)}
        messages = [{"role": role, "content": text} for role, text in texts.items()]
        yield {"messages": messages, "columns": list(scene.columns)}


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows so that a reader finds the old file or the new one, never a part, and say what was done."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    done = "unchanged"
    if not path.exists() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(data)
        os.replace(part, path)
        done = "written"
    print(f"{path}: {len(rows)} rows, {len(data)} bytes, {done}")


def main(arguments: list[str] | None = None) -> None:
    """Write train.jsonl and eval.jsonl, or the sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=1500, help="training rows (default: %(default)s)")
    parser.add_argument("--eval", type=int, default=200, help="held-out rows (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="start of the chance numbers (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "data", help="folder to write to (default: %(default)s)")
    parser.add_argument("--sample", action="store_true", help="write only sample.jsonl, the first training rows")
    given = parser.parse_args(arguments)
    if given.sample:
        save(HERE / "sample.jsonl", list(draw_rows("train", SAMPLE_ROWS, given.seed)))
        return
    for split, count in (("train", given.train), ("eval", given.eval)):
        save(given.out / f"{split}.jsonl", list(draw_rows(split, count, given.seed)))


if __name__ == "__main__":
    main()
