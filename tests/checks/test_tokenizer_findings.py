"""Faults of the tokenizer alone, and of its fit to the model: planted in a copy of the built-in one."""

import json
from pathlib import Path

import pytest

from tunesmith.checks.tokenizer import embedding_findings, stop_findings, token_facts, tokenizer_findings
from tunesmith.data.tokenizer import load_tokenizer
from tunesmith.sections import AdapterSection, SpecialTokens

ROWS = [
    {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ]
    }
]


@pytest.fixture
def codes(model_folder):
    """`codes(tokenizer, **model_config)` maps each code to its finding."""

    def look(tokenizer, layouts=(), **model_config):
        return {item.code: item for item in tokenizer_findings(tokenizer, model_config, layouts=layouts)}

    return look


def added(tokenizer_json, text):
    return next(item for item in tokenizer_json["added_tokens"] if item["content"] == text)


def test_the_built_in_tokenizer_has_only_that_pad_equals_eos(codes, tokenizer):
    assert codes(tokenizer, vocab_size=49152).keys() == {"pad-equals-eos"}


def test_an_added_token_that_swallows_whitespace(codes, retokenised):
    found = codes(retokenised(lambda content: added(content, "<|im_start|>").update(lstrip=True)))
    assert found["added-token-strips"].title.endswith(": <|im_start|>")
    assert found["added-token-strips"].severity == "info"


def test_an_end_token_that_is_not_read_as_itself(codes, retokenised):
    def change(content):
        added(content, "<|im_end|>").update(normalized=True)
        content["normalizer"] = {"type": "Prepend", "prepend": "_"}  # as the tokenizers of Llama have it

    tokenizer = retokenised(change)
    assert codes(tokenizer)["eos-split"].severity == "warning"
    assert codes(tokenizer, layouts=["Hi.<|im_end|>"])["eos-split"].severity == "error"


def test_no_end_token(codes, retokenised):
    tokenizer = retokenised()
    tokenizer.eos_token = None
    assert codes(tokenizer)["eos-missing"].severity == "error"


def test_a_promised_begin_token_that_is_not_added(codes, retokenised):
    assert "bos-setting-ignored" in codes(retokenised(add_bos_token=True))
    assert "bos-setting-ignored" not in codes(retokenised(add_bos_token=False))


def test_rows_without_the_promised_begin_token(examine, found, retokenised):
    alpaca = [{"instruction": "Name a bee.", "output": "A mason bee."}]
    promises = retokenised(add_bos_token=True)
    assert found(examine(alpaca, "alpaca", with_tokenizer=promises))["bos-missing"].count == 1
    assert "bos-missing" not in found(examine(ROWS, with_tokenizer=promises))  # its template writes the token


def test_whitespace_that_is_lost(codes, retokenised):
    def change(content):
        content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}

    assert "becomes 'a b c'" in codes(retokenised(change))["whitespace-lost"].title


def test_a_sentencepiece_file_that_gives_other_tokens(tokenizer, retokenised, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    changed = retokenised()
    words = tmp_path / "words.txt"
    words.write_text("\n".join(f"bee{number} honey{number}" for number in range(200)))
    where = {"input": str(words), "model_prefix": str(Path(changed.name_or_path) / "tokenizer"), "vocab_size": 60}
    sentencepiece.SentencePieceTrainer.train(**where)
    (item,) = [
        item
        for item in tokenizer_findings(changed, {}, layouts=[], texts=["bee1", "honey2", "<|im_end|>"])
        if item.code == "sentencepiece-differs"
    ]
    assert (item.count, item.severity) == (2, "error")
    assert "'bee1': token 0 is " in item.title


def test_a_vocabulary_that_is_not_the_models(codes, tokenizer):
    assert "49,152 tokens, 32,000 rows" in codes(tokenizer, vocab_size=32000)["vocabulary-mismatch"].title
    assert "vocabulary-mismatch" in codes(tokenizer, text_config={"vocab_size": 256000})
    assert "vocabulary-mismatch" not in codes(tokenizer, vocab_size=49280)


def test_a_turn_end_at_which_the_server_does_not_stop(tokenizer):
    assert list(stop_findings([2], tokenizer, {"eos_token_id": 2})) == []
    assert list(stop_findings([2], tokenizer, {"eos_token_id": [0, 2]})) == []
    assert list(stop_findings([2], tokenizer, {})) == []
    (item,) = stop_findings([2], tokenizer, {"eos_token_id": 0})
    assert item.title.endswith(": 2 (<|im_end|>); it stops at 0")


@pytest.fixture
def with_new_token(model_folder):
    return load_tokenizer(model_folder, special_tokens=SpecialTokens(eos_token="<|over|>"))


def adapter(**keys):
    return AdapterSection(adapter="lora", lora_r=8, lora_target_linear=True, **keys)


def test_a_new_token_beyond_the_embedding(with_new_token):
    facts = token_facts(with_new_token, {"vocab_size": 49152})
    assert facts.new == {49152}
    (item,) = embedding_findings({49152}, facts, with_new_token, adapter())
    assert (item.code, item.severity) == ("token-without-embedding", "error")
    assert "49152 (<|over|>)" in item.title


def test_a_new_token_whose_embedding_no_adapter_trains(with_new_token):
    facts = token_facts(with_new_token, {"vocab_size": 49280})
    (item,) = embedding_findings({49152}, facts, with_new_token, adapter())
    assert (item.code, item.severity) == ("new-token-untrained", "error")
    assert not list(embedding_findings(set(), facts, with_new_token, adapter()))
    assert not list(embedding_findings({49152}, facts, with_new_token, adapter(lora_modules_to_save=["embed_tokens"])))
    assert not list(embedding_findings({49152}, facts, with_new_token, AdapterSection()))


def test_a_new_token_in_the_data_is_found_by_the_whole_look(examine, found, with_new_token):
    alpaca = [{"instruction": "Name a bee.", "output": "A mason bee."}]
    report = found(examine(alpaca, "alpaca", with_tokenizer=with_new_token))
    assert {"token-without-embedding", "stop-differs"} <= report.keys()
    assert "token-without-embedding" not in found(
        examine(ROWS, with_tokenizer=with_new_token, dataset={"train_on_eos": "none"})
    )


def test_a_generation_config_that_stops_elsewhere(
    examine, found, tmp_path, model_folder, tokenizer, write_jsonl, write_config
):
    from tunesmith.checks.doctor import run_checks
    from tunesmith.config.load import load

    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    file = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    config = load(str(write_config(tmp_path, datasets=[{"path": str(file), "type": "chat_template"}])))
    report = run_checks(config, tokenizer, model_folder=str(Path(tmp_path)))
    assert found(report)["stop-differs"].severity == "warning"
