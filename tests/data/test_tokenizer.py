"""Loading a tokenizer, and finding a chat template."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tunesmith
from tunesmith.data.tokenizer import adds_bos, bos_disagrees, chat_template, load_tokenizer, named_templates
from tunesmith.errors import ConfigError, DataError, ModelError
from tunesmith.sections import SpecialTokens

QUESTION = "What is 2+2?"
SOURCE = Path(tunesmith.__file__).with_name("cli").joinpath("main.py").read_text(encoding="utf-8")
KNOWN = [
    ("mistral_v1", "Hello", [22557]),
    ("mistral_v1", " ### Response:", [28705, 774, 12107, 28747]),
    ("mistral_v1", "\n### Response:", [28705, 13, 27332, 12107, 28747]),
    ("mistral_v2", "[INST] line1\nline2 \n[/INST]", [3, 2175, 29508, 781, 1849, 29518, 29473, 781, 4]),
    ("mistral_v3", "<s>[INST] Hello[/INST] 4</s>", [1, 3, 23325, 4, 29473, 29549, 2]),
    ("mistral_v3", " „naïve café“ 🤖", [29473, 3786, 2288, 29688, 1101, 29113, 29603, 29473, 1011, 930, 935, 921]),
    ("mistral_v7", "[SYSTEM_PROMPT] Be brief.[/SYSTEM_PROMPT][INST]", [16, 2507, 7585, 29491, 17, 3]),
    ("tekken", "Hello", [22177]),
    ("tekken", " „naïve café“ 🤖[/INST]", [2990, 2302, 7884, 1672, 35858, 1482, 119685, 1164, 1150, 4]),
    ("qwen", QUESTION, [3838, 374, 220, 17, 10, 17, 30]),
    ("qwen3", QUESTION, [3838, 374, 220, 17, 10, 17, 30]),
    ("llama3_1", "```python\nprint('x')\n```", [74694, 12958, 198, 1374, 493, 87, 1329, 74694]),
    ("gemma3", QUESTION, [3689, 563, 236743, 236778, 236862, 236778, 236881]),
    ("gptoss", QUESTION, [4827, 382, 220, 17, 10, 17, 30]),
    ("deepseek_v3", QUESTION, [3085, 344, 223, 20, 13, 20, 33]),
    ("deepseek_v4", QUESTION, [3085, 344, 223, 20, 13, 20, 33]),
]
"""Fixture, text, ids: as mistral-common, Axolotl or TRL gave them for these vocabularies."""


@pytest.mark.parametrize(("family", "text", "ids"), KNOWN)
def test_a_family_is_what_it_claims(family, text, ids, request):
    assert request.getfixturevalue(family)(text, add_special_tokens=False).input_ids == ids


@pytest.mark.parametrize("family", dict.fromkeys(family for family, *_ in KNOWN))
def test_texts_come_back_from_every_family(family, request):
    tokenizer = request.getfixturevalue(family)
    for text in ["  two\n\n\t### Response:\n", "é🤖 “1234” don't  \n x ", SOURCE]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_packages_of_one_vocabulary_agree(qwen, qwen3):
    assert qwen(SOURCE).input_ids == qwen3(SOURCE).input_ids


def with_settings(folder, model_folder, **settings):
    """Copy the built-in model's tokenizer to `folder`, with `settings` in its tokenizer_config.json."""
    shutil.copy(Path(model_folder) / "tokenizer.json", folder)
    own = json.loads((Path(model_folder) / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(own | settings))
    return str(folder)


def test_a_class_that_always_heeded_add_bos_token_heeds_it(model_folder, tokenizer, tmp_path, capsys):
    name = with_settings(tmp_path, model_folder, tokenizer_class="LlamaTokenizerFast", add_bos_token=True)
    begins = load_tokenizer(name)
    assert begins("a").input_ids == [tokenizer.bos_token_id, *tokenizer("a").input_ids]
    assert "add_bos_token is True by tokenizer_config.json, against tokenizer.json\n" in capsys.readouterr().err
    assert not bos_disagrees(begins)
    begins.save_pretrained(tmp_path / "saved")
    with_settings(tmp_path, tmp_path / "saved", tokenizer_class="LlamaTokenizer", add_bos_token=False)
    assert load_tokenizer(name)("a").input_ids == tokenizer("a").input_ids


def test_a_class_that_never_heeded_add_bos_token_disagrees_with_it(model_folder, tokenizer, tmp_path):
    name = with_settings(tmp_path, model_folder, tokenizer_class="PreTrainedTokenizerFast", add_bos_token=True)
    loaded = load_tokenizer(name)
    assert not adds_bos(loaded)
    assert bos_disagrees(loaded)
    assert not bos_disagrees(tokenizer)


def test_a_setting_that_tokenizer_json_follows_is_kept(gemma3, mistral_v1):
    assert [gemma3("a").input_ids[0], mistral_v1("a").input_ids[0]] == [2, 1]


def test_a_begin_token_by_setting_does_not_double_the_template_s(deepseek_v3):
    rows = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    text = deepseek_v3.apply_chat_template(rows, tokenize=False)
    assert adds_bos(deepseek_v3)
    assert deepseek_v3.apply_chat_template(rows).input_ids[:3] == [0, 128803, 19923]
    [example] = tunesmith.encode({"messages": rows}, dataset={"type": "chat_template"}, tokenizer=deepseek_v3)
    assert example.input_ids == deepseek_v3(text, add_special_tokens=False).input_ids


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


def test_added_tokens_are_one_token_each_and_come_back(model_folder, tokenizer):
    special = SpecialTokens(additional_special_tokens=["<tool>"])
    changed = load_tokenizer(model_folder, special_tokens=special, tokens=["<one>", "yes"])
    assert len(changed) == len(tokenizer) + 2  # "yes" is one already
    ids = changed("a<one>b<tool>").input_ids
    assert ids[1] == len(tokenizer)
    assert changed.decode(ids) == "a<one>b<tool>"
    assert changed.decode(ids, skip_special_tokens=True) == "a<one>b"
    again = load_tokenizer(model_folder, special_tokens=special, tokens=["<one>", "yes"])
    assert again("a<one>b<tool>").input_ids == ids


def test_further_special_tokens_leave_those_of_the_model(model_folder, tokenizer):
    changed = load_tokenizer(model_folder, special_tokens=SpecialTokens(additional_special_tokens=["<tool>"]))
    assert set(tokenizer.extra_special_tokens) <= set(changed.extra_special_tokens)


def reserved(tokenizer):
    """Return an added token that nothing uses."""
    used = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, "<|im_start|>", "<|im_end|>"}
    tokens = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
    return next((index, text) for index, text in tokens.items() if text not in used)


def test_a_reserved_token_can_be_renamed(model_folder, tokenizer, tmp_path):
    index, old = reserved(tokenizer)
    changed = load_tokenizer(model_folder, renamed={index: "<|tool|>"})
    assert changed("a<|tool|>").input_ids == [*tokenizer("a").input_ids, index]
    assert len(changed) == len(tokenizer)
    assert old not in changed.get_vocab()
    assert changed.chat_template == tokenizer.chat_template
    assert changed("Hello there <|im_end|>").input_ids == tokenizer("Hello there <|im_end|>").input_ids
    changed.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path), renamed={index: "<|tool|>"})("<|tool|>").input_ids == [index]


def test_a_special_token_that_is_renamed_stays_what_it_is(model_folder, tokenizer):
    changed = load_tokenizer(model_folder, renamed={tokenizer.eos_token_id: "<|over|>"})
    assert (changed.eos_token, changed.eos_token_id) == ("<|over|>", tokenizer.eos_token_id)


@pytest.mark.parametrize(
    ("renamed", "words"),
    [({999999: "<x>"}, "999999 is no added token; such are "), ({0: "<|im_start|>"}, "is a token already")],
)
def test_what_cannot_be_renamed_is_an_error(model_folder, renamed, words):
    with pytest.raises(ConfigError, match=words):
        load_tokenizer(model_folder, renamed=renamed)
