"""What a text alone tells: broken encodings, invisible characters, secrets and addresses.

Secrets are never shown: `masked` stands before everything that is printed or written to a page.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

SECRETS: dict[str, tuple[tuple[str, ...], str]] = {
    "AWS access key": (("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": (("gh", "github_pat_"), r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
    "GitLab token": (("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "Hugging Face token": (("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    "OpenAI or Anthropic key": (("sk-",), r"\bsk-(?=[\w-]*[0-9])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{32,}"),
    "Stripe key": (("_live_",), r"\b[sr]k_live_[A-Za-z0-9]{16,}"),
    "Slack token": (("xox",), r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "Google key": (("AIza",), r"\bAIza[A-Za-z0-9_-]{35}"),
    "JSON web token": (("eyJ",), r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "private key": (("PRIVATE KEY",), r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*"),
}
"""Kind of secret -> texts of which one stands in it, which are quick to look for, and its pattern."""

_SECRETS = {name: (hints, re.compile(pattern)) for name, (hints, pattern) in SECRETS.items()}
_BEGUN = re.compile(
    r"\b(?:AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|hf_|sk-|[sr]k_live_|xox[abprs]-|AIza|eyJ)[A-Za-z0-9_.-]{6,}"
)
_EMAIL = re.compile(
    r"(?<![\w.%+-])(?!git@|no-?reply@)[A-Za-z0-9._%+-]{1,64}@(?!(?:[\w-]+\.)*example\b)(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u202a-\u202e\u2066-\u2069]")
_DECOMPOSED = re.compile(r"[^\W\d_][\u0300-\u036f]")
_HIGH = (  # how Windows-1252 shows bytes 0x80 to 0xbf
    "\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
)
_MOJIBAKE = re.compile(
    f"[\u00c2\u00c3\u00c4\u00c5\u00d0\u00d1][\u0080-\u00bf]|\u00c3[{_HIGH}]|\u00e2[{_HIGH}]{{2}}|\u00f0[{_HIGH}]{{3}}"
)


def strings(value: Any, *, skip: str = "") -> Iterator[str]:
    """Yield all texts in a row's values, however deep; `skip` names a key whose value is left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != skip or not skip:
                yield from strings(item, skip=skip)
    elif isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, float)):
        for item in value:
            yield from strings(item, skip=skip)


def text_findings(text: str) -> Iterator[tuple[str, str]]:
    """Yield the code and detail of what is suspicious in a text."""
    if found := _CONTROL.search(text):
        yield "control-character", f"U+{ord(found[0]):04X} {_around(text, found.start())}"
    for name, secret in _secrets(text):
        yield "secret", f"{name} {secret[:4]}..., {len(secret)} characters"
        break
    if "@" in text and (email := _EMAIL.search(text)):
        yield "email-address", f"{email[0][0]}...@..."
    if text.isascii():
        return
    if "\ufffd" in text:
        yield "replacement-character", _around(text, text.index("\ufffd"))
    if found := _INVISIBLE.search(text):
        yield "invisible-character", f"U+{ord(found[0]):04X} {_around(text, found.start())}"
    if found := next((item for item in _MOJIBAKE.finditer(text) if _repaired(item[0])), None):
        yield "mojibake", f"{found[0]} for {_repaired(found[0])}: {_around(text, found.start())}"
    for found in _DECOMPOSED.finditer(text):
        if len(unicodedata.normalize("NFC", found[0])) == 1:
            yield "decomposed-letters", _around(text, found.start())
            break


def masked(text: str, *, strict: bool = False) -> str:
    """Return the text with all but the beginning of secrets and e-mail addresses blotted out, as long as it was.

    What only begins like a secret, since the text is cut off, is blotted out too, unless `strict`.
    """
    for _, secret in _secrets(text):
        text = text.replace(secret, secret[:4] + "•" * (len(secret) - 4))
    if "@" in text:
        text = _EMAIL.sub(lambda found: found[0][0] + "•" * (len(found[0]) - 1), text)
    return text if strict else _BEGUN.sub(lambda found: found[0][:4] + "•" * (len(found[0]) - 4), text)


def masked_pieces(pieces: list[str]) -> list[str]:
    """Return the pieces of one text with its secrets and addresses blotted out, each piece as long as it was."""
    text = masked("".join(pieces), strict=True)
    found, place = [], 0
    for piece in pieces:
        found.append(text[place : place + len(piece)])
        place += len(piece)
    return found


def _secrets(text: str) -> Iterator[tuple[str, str]]:
    for name, (hints, pattern) in _SECRETS.items():
        if any(hint in text for hint in hints):
            yield from ((name, found[0]) for found in pattern.finditer(text))


def _repaired(broken: str) -> str:
    """Return what was meant by a text that was decoded as Windows-1252 (or Latin-1, where that has no character)."""
    codes = [letter.encode("latin-1" if letter <= "\xff" else "cp1252") for letter in broken]
    try:
        return b"".join(codes).decode("utf-8")
    except UnicodeError:
        return ""


def _around(text: str, place: int) -> str:
    return repr(masked(text, strict=True)[max(0, place - 15) : place + 15])
