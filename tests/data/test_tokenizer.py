"""Loading a tokenizer, and finding a chat template."""

import subprocess
import sys

import pytest

from tunesmith.config.sections import SpecialTokens
from tunesmith.data.tokenizer import chat_template, load_tokenizer, named_templates
from tunesmith.errors import ConfigError, DataError, ModelError


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"holds no tokenizer \(no tokenizer\.json\); set `tokenizer_config`"):
        load_tokenizer(str(tmp_path))


def test_special_tokens_are_set_and_a_new_one_gets_an_id(model_folder, tokenizer):
    changed = load_tokenizer(model_folder, special_tokens=SpecialTokens(pad_token="<|endoftext|>", eos_token="<stop>"))
    assert changed.pad_token_id == 0
    assert changed("a<stop>").input_ids == [*tokenizer("a").input_ids, len(tokenizer)]


def test_a_tokenizer_loads_without_torch(model_folder):
    code = f"import sys; from tunesmith.data.tokenizer import load_tokenizer; load_tokenizer({model_folder!r}); "
    result = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert result.stdout.strip() == "False", result.stderr


def test_templates_are_found_by_name(tokenizer):
    assert chat_template(tokenizer, None, None, "x").text == tokenizer.chat_template
    assert chat_template(tokenizer, "tokenizer_default", None, "x").text == tokenizer.chat_template
    assert chat_template(tokenizer, "chatml", None, "x").text == named_templates()["chatml"]
    assert chat_template(tokenizer, None, "{{ 1 }}", "x").text == "{{ 1 }}"
    assert chat_template(tokenizer, "tokenizer_default_fallback_chatml", None, "x").text == tokenizer.chat_template


def test_a_tokenizer_without_a_template_asks_for_one(model_folder):
    bare = load_tokenizer(model_folder)
    bare.chat_template = None
    with pytest.raises(ConfigError, match="the tokenizer has no chat template; set `chat_template` to one of alpaca"):
        chat_template(bare, None, None, "x")
    fallback = chat_template(bare, "tokenizer_default_fallback_chatml", None, "x")
    assert fallback.text == named_templates()["chatml"]


def test_an_unknown_template_lists_the_known_ones(tokenizer):
    with pytest.raises(ConfigError, match=r"`chat_template: chatm` is none of tokenizer_default, .*mean `chatml`\?"):
        chat_template(tokenizer, "chatm", None, "x")


def test_a_template_file_that_is_missing_is_no_template(tokenizer):
    with pytest.raises(ConfigError, match=r"`chat_template_jinja: mine\.jinja` is no file here or beside a\.yml"):
        chat_template(tokenizer, "jinja", "mine.jinja", "a.yml")


@pytest.mark.parametrize(("name", "end"), [(None, "<|im_end|>"), ("chatml", "<|im_end|>"), ("llama3", None)])
def test_the_end_of_a_turn_is_a_token_of_the_vocabulary(tokenizer, name, end):
    assert chat_template(tokenizer, name, None, "x").turn_end() == end


def test_a_conversation_that_the_template_refuses_is_a_fault_of_the_row(tokenizer):
    template = chat_template(tokenizer, "mistral_v1", None, "x")
    with pytest.raises(DataError, match="refuses the conversation: roles must alternate"):
        template.render([{"role": "assistant", "content": "a"}])
