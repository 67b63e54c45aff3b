"""What becomes of each key of a file: supported, renamed, without effect here, refused, or unknown. None is silent.

Supported keys are the fields of the sections, renamed ones are in `keys.py`, those without effect and those refused,
each with its reason, in `fates.tsv`.
"""

from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from tunesmith.config import keys
from tunesmith.config.places import Places
from tunesmith.config.yaml_source import KeyPath, shown
from tunesmith.errors import did_you_mean
from tunesmith.sections import OWNER


class Reason(NamedTuple):
    """A line of `fates.tsv`: why a key is not supported, and with which value it would do nothing anyway."""

    fate: str
    off: str
    text: str


class KeyFate(NamedTuple):
    """What became of one key of a file: its name there, where it stands, and what to know about it."""

    key: str
    place: str
    fate: Literal["supported", "renamed", "idle", "off", "empty"]
    text: str


@cache
def reasons() -> dict[str, Reason]:
    """Return why keys are without effect (`idle`) or `refused`; those inside entries of a list as `datasets[].key`."""
    lines = files("tunesmith.config").joinpath("fates.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {key: Reason(*rest) for key, *rest in (line.split("\t") for line in lines)}


def settle(values: dict[str, Any], where: Places, faults: list[str]) -> tuple[dict[str, Any], list[KeyFate]]:
    """Return the values of supported keys, and what became of every key; what is refused or unknown is a fault."""
    kept: dict[str, Any] = {}
    found: list[KeyFate] = []
    for key, value in values.items():
        place = where(key)
        if value is None and (key in OWNER or key in keys.RENAMED or key in reasons()):
            found.append(KeyFate(key, place, "empty", "has no value"))
        elif key in OWNER:
            kept[key] = _settle_inside(value, (key,), where, faults, found)
            found.append(KeyFate(key, place, "supported", ""))
        elif key in keys.RENAMED:
            _rename(key, values, kept, where, faults, found)
        elif key in reasons():
            _apply_reason(reasons()[key], value, (key,), where, faults, found)
        else:
            others = [name for name in (*keys.RENAMED, *reasons()) if "." not in name]
            nickname = keys.NICKNAMES.get(key.lower().replace("-", "_"))
            hint = (
                f"; did you mean `{nickname}`?" if nickname else did_you_mean(key, OWNER) or did_you_mean(key, others)
            )
            faults.append(f"{place}: unknown key `{key}`{hint}")
    return kept, found


def _rename(
    key: str,
    values: dict[str, Any],
    kept: dict[str, Any],
    where: Places,
    faults: list[str],
    found: list[KeyFate],
) -> None:
    """Put the keys that an old one stands for into `kept`."""
    value, place = values[key], where(key)
    if key in keys.ATTENTION_FLAGS and not isinstance(value, bool):
        faults.append(f"{place}: `{key}` expects true or false, found {shown(value, quoted=True)}")
        return
    new = keys.RENAMED[key](value)
    if not new:
        found.append(KeyFate(key, place, "off", f"is {shown(value)}"))
    for name, item in new.items():
        other = kept.get(name, values.get(name))
        if other not in (None, True, "auto", item):  # `bfloat16` says more exactly what `bf16: true` says
            faults.append(f"{place}: `{key}: {shown(value)}` and `{name}: {shown(other)}`: keep one")
        kept[name] = _settle_inside(item, (name,), where, faults, found)
        where.renamed[name] = key
        found.append(KeyFate(key, place, "renamed", f"is taken as `{name}: {shown(item)}`"))


def _apply_reason(
    reason: Reason, value: Any, path: KeyPath, where: Places, faults: list[str], found: list[KeyFate]
) -> None:
    """Say what becomes of a key that is not supported."""
    name = ".".join(map(str, path))
    if value in (None, False, "", [], {}) or str(value).lower() == reason.off.lower() != "":
        found.append(KeyFate(name, where(*path), "off", f"is {shown(value, quoted=True)}, so that it asks for nothing"))
    elif reason.fate == "idle":
        found.append(KeyFate(name, where(*path), "idle", reason.text))
    else:
        faults.append(f"{where(*path)}: `{name}`: {reason.text}")


def _settle_inside(value: Any, path: KeyPath, where: Places, faults: list[str], found: list[KeyFate]) -> Any:
    """Return the value of a block without what is empty or not supported in it."""
    if isinstance(value, list):
        return [_settle_inside(item, (*path, index), where, faults, found) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, item in value.items():
        inner = (*path, str(key))
        if item is None:
            found.append(KeyFate(".".join(map(str, inner)), where(*inner), "empty", "has no value"))
        elif reason := reasons().get(_pattern(inner)):
            _apply_reason(reason, item, inner, where, faults, found)
        else:
            kept[key] = _settle_inside(item, inner, where, faults, found)
    return kept


def _pattern(path: KeyPath) -> str:
    """Return the name of a nested key in `fates.tsv`: ("test_datasets", 0, "length") is datasets[].length."""
    first = "datasets" if path[0] == "test_datasets" else str(path[0])
    return first + "".join("[]" if isinstance(part, int) else f".{part}" for part in path[1:])


def notes(found: list[KeyFate]) -> list[str]:
    """Return what to print about the keys of a file: a line for each renamed one, and one for each reason."""
    by_reason: dict[str, list[str]] = {}
    for item in found:
        if item.fate == "idle":
            by_reason.setdefault(item.text, []).append(f"`{item.key}`")
    return [
        *(f"`{item.key}` {item.text}" for item in found if item.fate == "renamed"),
        *(f"{', '.join(names)}: without effect: {text}" for text, names in by_reason.items()),
    ]
