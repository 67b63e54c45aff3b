"""Mistral's own tokenizer, the package mistral-common: whether tokenizer.json gives the same tokens."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from tunesmith import hub
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError

KEY = "`tokenizer_use_mistral_common`"
PROBES = (
    "What is 2 + 2?",
    "  Two  spaces, a\ttab\n\nand lines \n",
    "Größe, façade, naïve, é and e\u0301",
    "日本語のテキスト, 한국어, русский текст, العربية, 🤖",
    'def add(a, b):\n    return a + b  # {"x": [1, 2.5]}',
    "https://example.org/a_b?c=1&d=%20 1234567890 3.14159",
    "It's the user's: they'll DON'T I'd we've",
)
"""Texts that show most of what two tokenizers may do differently; without control tokens."""


def compare_with_mistral_common(tokenizer: Tokenizer, name: str, revision: str | None) -> str:
    """Return what to say of a tokenizer whose config asks for mistral-common.

    Raises:
        ConfigError: the package is installed and gives other tokens.
    """
    said = f"{KEY}: the tokens come from tokenizer.json of {name}"
    if find_spec("mistral_common") is None:
        return f"{said}; to compare them with Mistral's own: pip install 'tunesmith[mistral]'"
    file = _find_own_file(name, revision)
    if file is None:
        return f"{said}, which has no file of mistral-common (tekken.json, tokenizer.model.v3) to compare them with"
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    own = MistralTokenizer.from_file(str(file)).instruct_tokenizer.tokenizer
    for text in PROBES:
        ids, own_ids = tokenizer(text, add_special_tokens=False)["input_ids"], own.encode(text, bos=False, eos=False)
        if ids != own_ids:
            raise ConfigError(
                f"{KEY}: tokenizer.json of {name} and mistral-common ({file.name}) have other tokens for {text!r}: "
                f"{ids[:8]} and {own_ids[:8]}. Set `tokenizer_config` to a repository whose tokenizer.json has the "
                "tokens of mistral-common; or remove the key, and serve the model with tokenizer.json too"
            )
    return f"{said}; mistral-common has the same for {len(PROBES)} texts"


def _find_own_file(name: str, revision: str | None) -> Path | None:
    """Return the file of mistral-common in a folder or repository, or None."""
    folder = Path(name)
    if folder.is_dir():
        return next(iter([*folder.glob("tekken.json"), *sorted(folder.glob("tokenizer.model.v*"))]), None)
    from huggingface_hub import hf_hub_download

    with suppress(OSError, ValueError):
        offline = not hub.is_reachable()
        return Path(hf_hub_download(name, "tekken.json", revision=revision, local_files_only=offline))
    return None
