"""tokenizer.json beside mistral-common: what is said, and that other tokens end the run."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tunesmith.data.mistral import compare_with_mistral_common
from tunesmith.errors import ConfigError
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import ModelSection

IS_INSTALLED = find_spec("mistral_common") is not None
needs_package = pytest.mark.skipif(not IS_INSTALLED, reason="needs mistral-common")


@pytest.fixture
def own_file(tmp_path):
    """`own_file(name, kind)` puts a file of mistral-common into the folder of a tokenizer, as `kind`."""
    import mistral_common

    def put(name, kind):
        shutil.copy(Path(mistral_common.__file__).parent / "data" / name, tmp_path / kind)
        return str(tmp_path)

    return put


@pytest.mark.skipif(IS_INSTALLED, reason="mistral-common is installed")
def test_without_the_package_a_note_names_the_source_and_the_package_once(capsys):
    section = ModelSection(base_model="builtin/smollm2-135m-instruct", tokenizer_use_mistral_common=True)
    assert model_tokenizer(section)("a").input_ids == model_tokenizer(section)("a").input_ids
    printed = capsys.readouterr().err
    assert printed.count("`tokenizer_use_mistral_common`: the tokens come from tokenizer.json of ") == 1
    assert "to compare them with Mistral's own: pip install 'tunesmith[mistral]'" in printed


@needs_package
def test_a_faithful_tokenizer_is_said_to_be_the_same(tekken, own_file):
    text = compare_with_mistral_common(tekken, own_file("tekken_240718.json", "tekken.json"), None)
    assert text.endswith("; mistral-common has the same for 7 texts")


@needs_package
def test_other_tokens_are_an_error_with_the_fix(tokenizer, own_file):
    with pytest.raises(ConfigError, match=r"have other tokens for 'What is 2 \+ 2\?': .* Set `tokenizer_config`"):
        compare_with_mistral_common(tokenizer, own_file("tekken_240718.json", "tekken.json"), None)


@needs_package
def test_a_repository_without_its_file_is_said_to_have_none(tokenizer, tmp_path):
    assert "has no file of mistral-common" in compare_with_mistral_common(tokenizer, str(tmp_path), None)
