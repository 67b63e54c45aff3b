"""The tokenizer that belongs to a config's model."""

from functools import cache
from pathlib import Path
from typing import Any

from tunesmith.data.mistral import compare_with_mistral_common
from tunesmith.data.tokenizer import Tokenizer, load_tokenizer, vocabulary_changes
from tunesmith.errors import ModelError
from tunesmith.log import note
from tunesmith.modeling.builtin import local_base_model
from tunesmith.sections import ModelSection


def model_tokenizer(section: ModelSection) -> Tokenizer:
    """Return the tokenizer of `tokenizer_config`, else of `base_model`, with the config's changes of its vocabulary.

    Raises:
        ModelError: there is none.
        ConfigError: the config asks for mistral-common, and it gives other tokens.
    """
    if section.tokenizer_use_mistral_common:
        _compare_once(*_source(section), section.trust_remote_code)
    return _load(section, **vocabulary_changes(section))


@cache
def _compare_once(name: str, revision: str | None, trust_remote_code: bool) -> None:
    tokenizer = load_tokenizer(name, revision=revision, trust_remote_code=trust_remote_code)
    note(compare_with_mistral_common(tokenizer, name, revision))


def new_tokens(section: ModelSection, tokenizer: Tokenizer) -> dict[str, int]:
    """Return the tokens, with their ids, that a config adds and that texts may hold, so that they must be trained.

    Those for padding and for what is unknown stand in no text.
    """
    special = section.special_tokens
    names = [*section.tokens, *special.additional_special_tokens, special.bos_token, special.eos_token]
    texts = [name for name in names if name]
    known = _load(section).get_vocab() if texts else {}
    ids = tokenizer.get_vocab() if texts else {}
    return {name: ids[name] for name in texts if name not in known}


def _load(section: ModelSection, **changes: Any) -> Tokenizer:
    name, revision = _source(section)
    try:
        return load_tokenizer(name, revision=revision, trust_remote_code=section.trust_remote_code, **changes)
    except ModelError as error:
        if Path(name).exists():
            raise
        option = "--tokenizer-config" if section.tokenizer_config else "--base-model"
        raise ModelError(f"{error}; if it was moved, set {option} FOLDER") from error


def _source(section: ModelSection) -> tuple[str, str | None]:
    """Return the folder or repository of the tokenizer, and its revision."""
    if section.tokenizer_config:
        return section.tokenizer_config, None
    return local_base_model(section.base_model), section.revision_of_model
