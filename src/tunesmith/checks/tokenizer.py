"""What the tokenizer alone tells, and its fit to the model: BOS and EOS, added tokens, the vocabulary."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.checks.catalogue import HITS, finding
from tunesmith.checks.report import Finding, Hit
from tunesmith.data.prefix import first_difference
from tunesmith.data.sentencepiece import sentencepiece_disagreements
from tunesmith.data.tokenizer import Tokenizer, adds_bos, bos_disagrees, eos_of
from tunesmith.sections import AdapterSection, ModelSection

NEITHER_SIDE_STRIPS = "a  b\n\n\tc"
"""A text whose whitespace a tokenizer for code keeps."""
AFTER = ("x", ".")
"""Texts after which the EOS token must be read as itself."""
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
"""Names of the embedding in the models of transformers."""


@dataclass(frozen=True)
class TokenFacts:
    """What the checks of rows know of the tokenizer.

    Attributes:
        bos: id of the BOS token, or None.
        eos: id of the EOS token.
        unk: id of the token for what the vocabulary lacks, or None.
        adds_bos: the tokenizer puts its BOS token before a text by itself, or promises to.
        control: finds the texts of control tokens.
        rows: rows of the model's embedding, or None where that is not known, or where they grow with the tokenizer.
        new: ids that `special_tokens` added to the vocabulary.
    """

    bos: int | None
    eos: int | None
    unk: int | None
    adds_bos: bool
    control: re.Pattern[str] | None
    rows: int | None
    new: frozenset[int]


def token_facts(tokenizer: Tokenizer, model_config: dict[str, Any]) -> TokenFacts:
    """Return what the checks of rows know of the tokenizer."""
    tokens = tokenizer.added_tokens_decoder
    special = sorted({str(token) for token in tokens.values() if token.special and str(token).strip()}, key=len)
    before = tokenizer.init_kwargs.get("added_tokens_decoder") or {}
    size = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    return TokenFacts(
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
        adds_bos(tokenizer) or bos_disagrees(tokenizer),
        re.compile("|".join(map(re.escape, reversed(special)))) if special else None,
        vocabulary_rows(model_config),
        frozenset(token for token in tokens if token >= size and token not in before),
    )


def vocabulary_rows(model_config: dict[str, Any]) -> int | None:
    """Return how many rows the model's embedding has, if its config says so."""
    size = model_config.get("vocab_size") or (model_config.get("text_config") or {}).get("vocab_size")
    return size if isinstance(size, int) else None


def tokenizer_findings(
    tokenizer: Tokenizer, model_config: dict[str, Any], *, layouts: Sequence[str], texts: Iterable[str] = ()
) -> Iterator[Finding]:
    """Yield what is wrong with a tokenizer.

    Args:
        tokenizer: it.
        model_config: what the model's config.json holds; empty where it is not at hand.
        layouts: texts that chat templates made, to see what they write.
        texts: texts of the data, to compare the tokenizer with its SentencePiece file.
    """
    if tokenizer.eos_token_id is None:
        yield finding("eos-missing")
    else:
        yield from _end(tokenizer, layouts)
    if bos_disagrees(tokenizer) and not adds_bos(tokenizer):
        yield finding("bos-setting-ignored", f"{tokenizer.bos_token} is not how an encoded text begins")
    if strips := [str(token) for token in tokenizer.added_tokens_decoder.values() if token.lstrip or token.rstrip]:
        yield finding("added-token-strips", ", ".join(strips[:5]), count=len(strips))
    ids = tokenizer(NEITHER_SIDE_STRIPS, add_special_tokens=False)["input_ids"]
    if (decoded_text := _decoded(ids, tokenizer).lstrip()) != NEITHER_SIDE_STRIPS:
        yield finding("whitespace-lost", f"{NEITHER_SIDE_STRIPS!r} becomes {decoded_text!r}")
    rows = vocabulary_rows(model_config)
    if rows and not 0.9 * rows <= len(tokenizer) <= 1.1 * rows:
        yield finding("vocabulary-mismatch", f"{len(tokenizer):,} tokens, {rows:,} rows of the model's embedding")
    yield from _sentencepiece(tokenizer, texts)


def _end(tokenizer: Tokenizer, layouts: Sequence[str]) -> Iterator[Finding]:
    end, _ = eos_of(tokenizer)
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        yield finding("pad-equals-eos", end)
    for before in AFTER:
        ids = tokenizer(before + end, add_special_tokens=False)["input_ids"]
        if ids[-1] != tokenizer.eos_token_id:
            pieces = tokenizer.convert_ids_to_tokens(ids)
            in_use = any(end in layout for layout in layouts)
            yield finding("eos-split", f"{before + end!r} is {pieces}", severity="error" if in_use else "warning")
            return


def stop_findings(ends: Iterable[int], tokenizer: Tokenizer, generation: dict[str, Any]) -> Iterator[Finding]:
    """Yield that answers end with a token at which a server does not stop.

    Args:
        ends: ids of the tokens that end answers in the data.
        tokenizer: the model's.
        generation: what generation_config.json or config.json of the model holds; empty where it is not at hand.
    """
    eos_ids = generation.get("eos_token_id")
    if eos_ids is None:
        return
    stops = set(eos_ids if isinstance(eos_ids, list) else [eos_ids])
    if unstopped_ids := sorted(set(ends) - stops):
        names = ", ".join(f"{token} ({name})" for token, name in _named(unstopped_ids, tokenizer))
        yield finding("stop-differs", f"{names}; it stops at {', '.join(map(str, sorted(stops)))}")


def embedding_findings(
    used_ids: set[int], facts: TokenFacts, tokenizer: Tokenizer, adapter: AdapterSection
) -> Iterator[Finding]:
    """Yield that tokens in use have no embedding, or one that is not trained.

    Args:
        used_ids: ids in the data that `special_tokens` added, or that are over the vocabulary.
        facts: what is known of the tokenizer.
        tokenizer: it.
        adapter: the adapter's section.
    """
    ids_beyond = {token for token in used_ids if facts.rows is not None and token >= facts.rows}
    if ids_beyond:
        names = ", ".join(f"{token} ({name})" for token, name in _named(sorted(ids_beyond)[:5], tokenizer))
        yield finding(
            "token-without-embedding", f"{names}; the embedding has {facts.rows:,} rows", count=len(ids_beyond)
        )
    saved_modules = {name.rpartition(".")[2] for name in adapter.lora_modules_to_save or []}
    has_trained_embedding = bool(saved_modules & set(EMBEDDINGS) or adapter.peft_trainable_token_indices)
    untrained_ids = sorted((used_ids & facts.new) - ids_beyond) if adapter.adapter and not has_trained_embedding else []
    if untrained_ids:
        names = ", ".join(f"{token} ({name})" for token, name in _named(untrained_ids[:5], tokenizer))
        yield finding("new-token-untrained", names, count=len(untrained_ids))


def _sentencepiece(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Finding]:
    """Compare with the SentencePiece file beside tokenizer.json, if both it and its library are there."""
    disagreements = sentencepiece_disagreements(Path(tokenizer.name_or_path), tokenizer, islice(texts, 1000))
    hits = []
    for text, tokenizer_ids, sentencepiece_ids in disagreements[:HITS]:
        index = first_difference(tokenizer_ids, sentencepiece_ids)
        difference = f"token {index} is {tokenizer_ids[index:][:1]}, should be {sentencepiece_ids[index:][:1]}"
        hits.append(Hit("", 0, f"{text[:40]!r}: {difference}"))
    if hits:
        yield finding("sentencepiece-differs", hits[0].detail, count=len(disagreements), hits=hits)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Return what a JSON file in a model's folder holds; nothing if there is none."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def model_json(model: ModelSection, folder: str | None, name: str) -> dict[str, Any]:
    """Return a JSON file of the model: from `folder`, or from the cache of the Hub."""
    model_folder = folder_of(folder or model.base_model, model)
    return read_json(model_folder, name) if model_folder else {}


def folder_of(name: str, model: ModelSection) -> Path | None:
    """Return the folder that a model's name means: itself, or one in the cache of the Hub; None if there is none."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached_file = try_to_load_from_cache(name, "config.json", revision=model.revision_of_model)
    except HFValidationError:  # no name of a repository
        return None
    return Path(cached_file).parent if isinstance(cached_file, str) else None


def _named(ids: Iterable[int], tokenizer: Tokenizer) -> list[tuple[int, str]]:
    return [(token, tokenizer.convert_ids_to_tokens(token)) for token in ids]


def _decoded(ids: list[int], tokenizer: Tokenizer) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
