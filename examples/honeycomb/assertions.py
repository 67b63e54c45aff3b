"""Check a Honeycomb query against the facts of its language, one `test_` function a rule.

Each function takes the row asked about (its `columns` are the ones a query may use) and the answer as written, and
raises AssertionError where the answer breaks the function's own rule. The answer is read as it stands: nothing but the
white space around it is removed, so what passes here is what would run.
"""

import json
import math
from difflib import get_close_matches
from typing import Any, NoReturn

PERCENTILES = ("P001", "P01", "P05", "P10", "P25", "P50", "P75", "P90", "P95", "P99", "P999")
RATES = ("RATE_AVG", "RATE_SUM", "RATE_MAX")
WITHOUT_COLUMN = ("COUNT", "CONCURRENCY")
CALCULATIONS = (*WITHOUT_COLUMN, "COUNT_DISTINCT", "HEATMAP", "SUM", "AVG", "MAX", "MIN", *PERCENTILES, *RATES)

COMPARISONS = ("=", "!=", ">", ">=", "<", "<=")
WITHOUT_VALUE = ("exists", "does-not-exist")
WITH_LIST = ("in", "not-in")
PATTERNS = ("starts-with", "does-not-start-with", "contains", "does-not-contain")
FILTERS = (*COMPARISONS, *PATTERNS, *WITHOUT_VALUE, *WITH_LIST)

ENTRY_KEYS = {
    "calculations": ("op", "column"),
    "filters": ("column", "op", "value"),
    "orders": ("op", "column", "order"),
    "havings": ("calculate_op", "column", "op", "value"),
}
TIME_KEYS = ("time_range", "start_time", "end_time", "granularity")
KEYS = (*ENTRY_KEYS, "breakdowns", "filter_combination", "limit", *TIME_KEYS)


def parse(answer: str) -> dict[str, Any]:
    """Read the answer as one JSON object, or raise AssertionError saying why it is not."""
    try:
        query = json.loads(answer.strip(), parse_constant=refuse_constant, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise AssertionError(f"not JSON: {error}") from None
    assert isinstance(query, dict), f"not a JSON object: found {show(query)}"
    return query


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads but JSON does not have."""
    raise ValueError(f"{name} is not a JSON value")


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object that gives a key twice, since readers differ on which one counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {show(next(key for key in keys if keys.count(key) > 1))} is given twice")
    return found


def show(value: object) -> str:
    """Name a value in a message, at a readable length."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: object, names: tuple[str, ...] | list[str]) -> str:
    """End a message with the known name closest to the one found."""
    close = get_close_matches(name[:80], names, n=1, cutoff=0.0) if isinstance(name, str) else []
    return f"; nearest is `{close[0]}`" if close else ""


def is_whole(value: object, least: int = 0) -> bool:
    """Tell whether a value is an integer no less than `least`; true and false are not numbers."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Tell whether a value is a finite number; JSON's 1e999 reads as infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_scalar(value: object) -> bool:
    """Tell whether a value is a string, a number or a boolean."""
    return isinstance(value, (str, bool)) or is_number(value)


def objects(query: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects under a key with their places, passing over what another rule reports as no object."""
    values = query.get(key)
    return [
        (f"{key}[{index}]", value)
        for index, value in enumerate(values if isinstance(values, list) else [])
        if isinstance(value, dict)
    ]


def entries(query: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the objects under a key with their places, after asserting that it holds a list of objects."""
    values = query.get(key, [])
    assert isinstance(values, list), f"{key}: must be a list, found {show(values)}"
    for index, value in enumerate(values):
        assert isinstance(value, dict), f"{key}[{index}]: must be an object, found {show(value)}"
    return objects(query, key)


def check_choice(place: str, entry: dict[str, Any], key: str, choices: tuple[str, ...]) -> None:
    """Assert that an entry has a key and that its value is one of the choices."""
    assert key in entry, f"{place}: `{key}` is missing"
    found = entry[key]
    assert found in choices, f"{place}: {show(found)} is not a known `{key}`{nearest(found, choices)}"


def check_column(place: str, entry: dict[str, Any], owner: str) -> None:
    """Assert that an entry names a column."""
    assert "column" in entry, f"{place}: {owner} needs a column"
    assert isinstance(entry["column"], str), f"{place}: `column` must be a string, found {show(entry['column'])}"


def check_calculation(place: str, entry: dict[str, Any], key: str) -> None:
    """Assert that the calculation named under `key` is known and has a column exactly where it takes one."""
    check_choice(place, entry, key, CALCULATIONS)
    if entry[key] in WITHOUT_COLUMN:
        assert "column" not in entry, f"{place}: {entry[key]} takes no column, found {show(entry['column'])}"
    else:
        check_column(place, entry, entry[key])


def check_calculated(place: str, entry: dict[str, Any], key: str, query: dict[str, Any]) -> None:
    """Assert that an entry refers to a calculation of the query, other than a heatmap."""
    check_calculation(place, entry, key)
    op, column = entry[key], entry.get("column")
    assert op != "HEATMAP", f"{place}: a HEATMAP has no single value to use here"
    # Columns are compared only as strings: deeply nested lists would overflow the stack.
    known = [
        (calculation.get("op"), calculation.get("column"))
        for _, calculation in objects(query, "calculations")
        if isinstance(calculation.get("column", ""), str)
    ]
    if not query.get("calculations"):
        known = [("COUNT", None)]  # what Honeycomb computes when none is asked for
    name = f"{op}({column})" if column is not None else op
    assert (op, column) in known, f"{place}: {name} is not among the query's calculations"


def test_is_one_json_object(row: dict[str, Any], answer: str) -> None:
    """The answer is one JSON object and nothing else."""
    parse(answer)


def test_only_known_keys(row: dict[str, Any], answer: str) -> None:
    """The query, and every entry in it, has only keys of the language."""
    query = parse(answer)
    for key in query:
        assert key in KEYS, f"unknown key {show(key)}{nearest(key, KEYS)}"
    for group, known in ENTRY_KEYS.items():
        for place, entry in objects(query, group):
            for key in entry:
                assert key in known, f"{place}: unknown key {show(key)}{nearest(key, known)}"


def test_calculations(row: dict[str, Any], answer: str) -> None:
    """Each calculation has a known op, with a column unless it is COUNT or CONCURRENCY, which take none."""
    for place, entry in entries(parse(answer), "calculations"):
        check_calculation(place, entry, "op")


def test_filters(row: dict[str, Any], answer: str) -> None:
    """Each filter has a column, a known op and the value that op takes; filter_combination is AND or OR."""
    query = parse(answer)
    for place, entry in entries(query, "filters"):
        check_column(place, entry, "a filter")
        check_choice(place, entry, "op", FILTERS)
        op, value = entry["op"], entry.get("value")
        if op in WITHOUT_VALUE:
            assert "value" not in entry, f"{place}: {op} takes no value, found {show(value)}"
            continue
        assert "value" in entry, f"{place}: {op} needs a value"
        if op in WITH_LIST:
            fits = isinstance(value, list) and value and all(is_scalar(item) for item in value)
            assert fits, f"{place}: {op} takes a list of one or more strings, numbers or booleans, found {show(value)}"
        else:
            assert is_scalar(value), f"{place}: {op} takes one string, number or boolean, found {show(value)}"
    if "filter_combination" in query:
        found = query["filter_combination"]
        assert found in ("AND", "OR"), f'filter_combination: must be "AND" or "OR", found {show(found)}'


def test_breakdowns(row: dict[str, Any], answer: str) -> None:
    """The breakdowns are a list of column names."""
    values = parse(answer).get("breakdowns", [])
    assert isinstance(values, list), f"breakdowns: must be a list, found {show(values)}"
    for index, value in enumerate(values):
        assert isinstance(value, str), f"breakdowns[{index}]: must be a column name, found {show(value)}"


def test_orders(row: dict[str, Any], answer: str) -> None:
    """Each order sorts, ascending or descending, by a breakdown or by a calculation of the query, but no HEATMAP."""
    query = parse(answer)
    for place, entry in entries(query, "orders"):
        check_choice(place, entry, "order", ("ascending", "descending"))
        if "op" in entry:
            check_calculated(place, entry, "op", query)
            continue
        check_column(place, entry, "an order without an op")
        breakdowns = query.get("breakdowns")
        known = breakdowns if isinstance(breakdowns, list) else []
        assert entry["column"] in known, f"{place}: column {show(entry['column'])} is not among the query's breakdowns"


def test_havings(row: dict[str, Any], answer: str) -> None:
    """Each having compares a calculation of the query, but no HEATMAP, with a number."""
    query = parse(answer)
    for place, entry in entries(query, "havings"):
        check_calculated(place, entry, "calculate_op", query)
        check_choice(place, entry, "op", COMPARISONS)
        assert "value" in entry, f"{place}: `value` is missing"
        assert is_number(entry["value"]), f"{place}: `value` must be a number, found {show(entry['value'])}"


def test_time(row: dict[str, Any], answer: str) -> None:
    """Times are whole seconds, start before end; a time range goes with at most one of start and end."""
    query = parse(answer)
    for key, least in zip(TIME_KEYS, (1, 0, 0, 0), strict=True):
        if key in query:
            assert is_whole(query[key], least), f"{key}: must be a whole number >= {least}, found {show(query[key])}"
    if "start_time" in query and "end_time" in query:
        start, end = query["start_time"], query["end_time"]
        assert "time_range" not in query, "time_range: goes with start_time or end_time, but both are given"
        assert start < end, f"start_time: {start} is not before end_time {end}"


def test_limit(row: dict[str, Any], answer: str) -> None:
    """The limit is a whole number from 1 to 1000."""
    limit = parse(answer).get("limit", 1)
    fits = is_whole(limit, 1) and limit <= 1000
    assert fits, f"limit: must be a whole number from 1 to 1000, found {show(limit)}"


def test_columns_exist(row: dict[str, Any], answer: str) -> None:
    """Every column the query uses is in the row's list."""
    query = parse(answer)
    breakdowns = query.get("breakdowns")
    used = [(place, entry.get("column")) for key in ENTRY_KEYS for place, entry in objects(query, key)]
    used += [(f"breakdowns[{i}]", name) for i, name in enumerate(breakdowns if isinstance(breakdowns, list) else [])]
    for place, name in used:
        if isinstance(name, str):
            close = nearest(name, row["columns"])
            assert name in row["columns"], f"{place}: column `{name}` is not in the list{close}"
