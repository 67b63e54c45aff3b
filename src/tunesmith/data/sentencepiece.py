"""SentencePiece: loading a folder that has `tokenizer.model` but no tokenizer.json, and comparing with SentencePiece.

`LlamaTokenizer` of transformers 5 orders the merges of such a file otherwise and drops a space at the start of a text.
Its plain fast tokenizer follows the file; `sentencepiece_disagreements` shows whether it does.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunesmith.errors import ModelError
from tunesmith.log import note

PROBES = (
    " ### Response:\n  two",
    "Hello, World  2024!",
    "\tif x:\n\t\treturn 'é🤖'\n\n",
    "    four   three",
    "日本語 ▁ \xa0",
)
"""Texts on which tokenizers of one vocabulary differ: spaces at the start, runs of them, tabs, bytes."""


def has_only_sentencepiece(folder: Path) -> bool:
    """Whether a folder has a SentencePiece file and no tokenizer.json."""
    return (folder / "tokenizer.model").is_file() and not (folder / "tokenizer.json").is_file()


def from_sentencepiece(folder: Path, settings: dict[str, Any]) -> Any:
    """Return the fast tokenizer of the `tokenizer.model` in `folder`, with the ids that SentencePiece gives.

    Args:
        folder: it.
        settings: its tokenizer_config.json. By `legacy: false` only the start of a text gets SentencePiece's prefix
            space; else a text after a special token gets one too.

    Raises:
        ModelError: the packages that read such a file are missing.
    """
    from tokenizers import pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.utils.import_utils import is_protobuf_available, is_sentencepiece_available

    if not (is_sentencepiece_available() and is_protobuf_available()):
        raise ModelError(f"{folder} has only a tokenizer.model; to read it: pip install 'tunesmith[sentencepiece]'")
    bos: dict[str, Any] = {} if "add_bos_token" in settings else {"add_bos_token": True}  # as LlamaTokenizer has it
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **bos)
    backend = tokenizer.backend_tokenizer
    prefixes = backend.pre_tokenizer is not None and backend.pre_tokenizer.pre_tokenize_str("x")[0][0] == "▁x"
    if settings.get("legacy") is False and prefixes:
        # Metaspace leaves out the prefix where a text begins with a space; this puts it there, as a space. Where the
        # file strips spaces, the start of a text is no longer known as such.
        strips = backend.normalizer.normalize_str(" x") == "x"
        prefix = pre_tokenizers.Metaspace(" ", prepend_scheme="always" if strips else "first", split=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([prefix, backend.pre_tokenizer])
    for text, ours, theirs in sentencepiece_disagreements(folder, tokenizer, PROBES)[:1]:
        note(f"{folder}: {text!r} gets other ids than SentencePiece gives, {ours} and not {theirs}")
    return tokenizer


def sentencepiece_disagreements(
    folder: Path, tokenizer: Any, texts: Iterable[str]
) -> list[tuple[str, list[int], list[int]]]:
    """Return the texts that SentencePiece reads otherwise, each with the tokenizer's ids and those of SentencePiece.

    None are returned where `folder` has no SentencePiece file named tokenizer.model, or its package is not installed.
    Texts with added tokens are left out: SentencePiece reads these as plain text.
    """
    file = folder / "tokenizer.model"
    try:
        from sentencepiece import SentencePieceProcessor

        processor = SentencePieceProcessor(model_file=str(file)) if file.is_file() else None
    except (ImportError, RuntimeError):  # not installed; or another kind of file by that name, such as tiktoken's
        processor = None
    if processor is None:
        return []
    added = re.compile("|".join(re.escape(str(token)) for token in tokenizer.added_tokens_decoder.values()) or r"\Z\A.")
    plain = [text for text in texts if not added.search(text)]
    ours = tokenizer(plain, add_special_tokens=False)["input_ids"] if plain else []
    pairs = zip(plain, ours, processor.encode(plain), strict=True)
    return [(text, ids, expected) for text, ids, expected in pairs if ids != expected]
