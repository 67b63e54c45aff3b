"""Checks of single texts: broken encodings, invisible characters, secrets and e-mail addresses.

Secrets are never shown: `mask_secrets` is applied to everything that is printed or written to a page.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate

from tunesmith.data.tokenizer import Tokenizer

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
"""Type of secret -> substrings of which it has one, for a fast search, and its pattern."""

_SECRETS = {name: (hints, re.compile(pattern)) for name, (hints, pattern) in SECRETS.items()}
_SECRET_START = re.compile(
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


def iterate_strings(value: object, *, skip: str = "") -> Iterator[str]:
    """Yield all strings in a row's values, at any depth, except below the key `skip`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != skip or not skip:
                yield from iterate_strings(item, skip=skip)
    elif isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, float)):
        for item in value:
            yield from iterate_strings(item, skip=skip)


def check_text(text: str) -> Iterator[tuple[str, str]]:
    """Yield the code and detail of each suspicious finding in a text."""
    if match := _CONTROL.search(text):
        yield "control-character", f"U+{ord(match[0]):04X} {_around(text, match.start())}"
    for name, secret in _find_secrets(text):
        yield "secret", f"{name} {secret[:4]}..., {len(secret)} characters"
        break
    if "@" in text and (email := _EMAIL.search(text)):
        yield "email-address", f"{email[0][0]}...@..."
    if text.isascii():
        return
    if "\ufffd" in text:
        yield "replacement-character", _around(text, text.index("\ufffd"))
    if match := _INVISIBLE.search(text):
        yield "invisible-character", f"U+{ord(match[0]):04X} {_around(text, match.start())}"
    if match := next((item for item in _MOJIBAKE.finditer(text) if _repair(item[0])), None):
        yield "mojibake", f"{match[0]} for {_repair(match[0])}: {_around(text, match.start())}"
    for match in _DECOMPOSED.finditer(text):
        if len(unicodedata.normalize("NFC", match[0])) == 1:
            yield "decomposed-letters", _around(text, match.start())
            break


def mask_secrets(text: str, *, strict: bool = False) -> str:
    """Return the text with secrets and e-mail addresses masked except for their start; the length stays the same.

    Unless `strict`, what only starts like a secret is masked, too, because the text may be truncated.
    """
    for _, secret in _find_secrets(text):
        text = text.replace(secret, secret[:4] + "•" * (len(secret) - 4))
    if "@" in text:
        text = _EMAIL.sub(lambda match: match[0][0] + "•" * (len(match[0]) - 1), text)
    return text if strict else _SECRET_START.sub(lambda match: match[0][:4] + "•" * (len(match[0]) - 4), text)


def mask_pieces(pieces: list[str]) -> list[str]:
    """Return the pieces of one text with secrets and addresses masked; their lengths stay the same."""
    text = mask_secrets("".join(pieces), strict=True)
    ends = accumulate(map(len, pieces))
    return [text[end - len(piece) : end] for piece, end in zip(pieces, ends, strict=True)]


def _find_secrets(text: str) -> Iterator[tuple[str, str]]:
    for name, (hints, pattern) in _SECRETS.items():
        if any(hint in text for hint in hints):
            yield from ((name, match[0]) for match in pattern.finditer(text))


def _repair(garbled_text: str) -> str:
    """Return the original of a text that was decoded as Windows-1252, or Latin-1 where that has no character."""
    codes = [letter.encode("latin-1" if letter <= "\xff" else "cp1252") for letter in garbled_text]
    try:
        return b"".join(codes).decode("utf-8")
    except UnicodeError:
        return ""


def _around(text: str, offset: int) -> str:
    return repr(mask_secrets(text, strict=True)[max(0, offset - 15) : offset + 15])


def token_pieces(ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """Return the text of each token, with the space that a SentencePiece vocabulary puts before a word.

    A character of several tokens stands at the last of them; the others are empty.
    """
    texts: list[str] = []
    start = 0
    names = tokenizer.convert_ids_to_tokens(list(ids))
    for index, name in enumerate(names):
        text = str(tokenizer.decode(list(ids[start : index + 1])))
        if text.endswith("\ufffd") and index - start < 3 and index + 1 < len(names):
            texts.append("")
            continue
        starts_word = start == index and str(name).startswith("▁") and not text.startswith(" ")
        texts.append(f" {text}" if starts_word else text)
        start = index + 1
    return texts
