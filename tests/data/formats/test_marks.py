"""Marks of layouts: what stands for them with a tokenizer that lacks them, and where it is said."""

import pytest

import tunesmith
from tunesmith.config.load import load
from tunesmith.data.formats.marks import fit_marks, replaced_marks
from tunesmith.data.splits import prepare_splits


def test_end_marks_become_the_eos_token_and_begin_marks_bos_or_nothing(tokenizer, mistral_v1):
    text = "<s> [INST] {x}</s>\\n<|im_end|>"
    assert fit_marks(text, tokenizer) == "[INST] {x}<|im_end|>\\n<|im_end|>"
    assert fit_marks(text, mistral_v1) == "<s> [INST] {x}</s>\\n</s>"
    assert fit_marks("<bos>a<|eot_id|>", mistral_v1) == "<s>a</s>"
    assert replaced_marks(text, tokenizer) == {"<s>": "", "</s>": "<|im_end|>"}


@pytest.mark.parametrize(("style", "end"), [("phi", "<|end|>"), ("chatml", "<|im_end|>")])
def test_the_layouts_of_instructions_have_them_too(mistral_v1, style, end):
    row, dataset = {"instruction": "Hi", "output": "Yo"}, {"type": f"alpaca:{style}"}
    texts = {
        mask: tunesmith.encode(row, dataset=dataset, config={"mask": mask}, tokenizer=mistral_v1)[0].text
        for mask in ("served", "axolotl")
    }
    assert end in texts["axolotl"]
    assert texts["served"] == texts["axolotl"].replace(end, "</s>")


def test_the_layouts_of_preference_data_have_them_too(tmp_path, tokenizer, write_jsonl, write_config, capsys):
    answers = [{"answer": "good", "rank": 1}, {"answer": "bad", "rank": 2}]
    file = str(write_jsonl(tmp_path / "a.jsonl", [{"prompt": f"q{n}", "answers": answers} for n in range(4)]))
    entry = {"path": file, "type": "zephyr.nectar"}
    splits = prepare_splits(load(str(write_config(tmp_path, datasets=[entry], rl="dpo"))), tokenizer)
    assert "layout zephyr.nectar: marks that are not tokens of this model are replaced: `</s>` by " in (
        capsys.readouterr().err
    )
    text = tokenizer.decode(splits.train[0]["input_ids"])
    assert "<|im_end|>\n<|assistant|>\ngood<|im_end|>" in text
    assert "</s>" not in text


def test_it_is_said_once_when_data_is_prepared(tmp_path, tokenizer, write_jsonl, write_config, capsys):
    rows = [{"conversations": [{"from": "human", "value": f"Q{n}"}, {"from": "gpt", "value": "A"}]} for n in range(4)]
    entry = {"path": str(write_jsonl(tmp_path / "a.jsonl", rows)), "type": "sharegpt", "conversation": "alpaca"}
    config = load(str(write_config(tmp_path, datasets=[entry, entry], test_datasets=[entry])))
    prepare_splits(config, tokenizer)
    assert capsys.readouterr().err.count("`</s>` by `<|im_end|>`") == 1
