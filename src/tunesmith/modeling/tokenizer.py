"""The tokenizer that belongs to a config's model."""

from tunesmith.config.sections import ModelSection
from tunesmith.data.tokenizer import Tokenizer, load_tokenizer
from tunesmith.modeling.builtin import local_base_model


def model_tokenizer(section: ModelSection) -> Tokenizer:
    """Return the tokenizer of `tokenizer_config`, else of `base_model`, with the config's special tokens.

    Raises:
        ModelError: there is none.
    """
    return load_tokenizer(
        section.tokenizer_config or local_base_model(section.base_model),
        special_tokens=section.special_tokens,
        revision=None if section.tokenizer_config else section.revision_of_model,
        trust_remote_code=section.trust_remote_code,
    )
