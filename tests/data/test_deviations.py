"""Where Axolotl is wrong and Tunesmith is not, unless `mask: axolotl` asks for it. The list is docs/deviations.md.

Two more are shown elsewhere: the cost of a conversation (formats/test_chat.py), and what a packed document's last token
predicts and sees (training/test_collate.py).
"""

import pytest

import tunesmith
from tunesmith.data.prepare import prepare
from tunesmith.errors import DataError
from tunesmith.sections import DataSection, Dataset, ModelSection

THINKS_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}<think>\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat(*contents):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]}


@pytest.fixture
def trained(tokenizer):
    """`trained(row, mask, dataset keys..., config={...})` is the trained text of each sample."""

    def call(row, mask, *, config=None, **dataset):
        examples = tunesmith.encode(row, dataset=dataset, config={"mask": mask} | (config or {}), tokenizer=tokenizer)
        return [tokenizer.decode([label for label in example.labels if label >= 0]) for example in examples]

    return call


@pytest.mark.parametrize("mask", ["served", "axolotl"])
@pytest.mark.parametrize("answer", ["[[1, 2], [3, 4]]", "ok]]", "zz"])
def test_an_answer_that_looks_like_a_placeholder_is_trained_whole(trained, mask, answer):
    """Axolotl before 0.21 lost the brackets; 0.21, which `mask: axolotl` repeats, does not."""
    assert trained(chat("a", answer), mask) == [f"{answer}<|im_end|>"]


def test_the_end_of_an_empty_turn_is_trained(trained):
    row = chat("a", "", "b", "c")
    assert trained(row, "served") == ["<|im_end|>c<|im_end|>"]
    assert trained(row, "axolotl") == ["c<|im_end|>"]


@pytest.mark.parametrize("mask", ["served", "axolotl"])
def test_a_row_of_which_nothing_is_trained_is_left_out_and_named(tokenizer, tmp_path, write_jsonl, mask):
    rows = [{"instruction": "a", "output": "b"}] * 10 + [{"instruction": "a", "output": ""}]
    dataset = Dataset(path=str(write_jsonl(tmp_path / "rows.jsonl", rows)), type="alpaca")
    data = DataSection(datasets=[dataset], mask=mask, dataset_prepared_path=str(tmp_path / "prepared"))
    model = ModelSection(base_model="builtin/smollm2-135m-instruct")
    prepared = prepare([dataset], data, model, tokenizer=tokenizer, seed=1, source="config.yml")
    (bad,) = prepared.reports[0].bad
    assert (bad.number, prepared.reports[0].kept) == (11, 10)
    assert "blank" in bad.reason if mask == "served" else bad.reason == "none of its tokens is trained"


def test_a_template_that_drops_the_system_prompt_is_refused(trained, tokenizer):
    row = {"messages": [{"role": "system", "content": "Be brief."}, *chat("a", "b", "c", "d")["messages"]]}
    with pytest.raises(DataError, match="Be brief"):
        trained(row, "served", chat_template="mistral_v2v3")
    (example,) = tunesmith.encode(
        row, dataset={"chat_template": "mistral_v2v3"}, config={"mask": "axolotl"}, tokenizer=tokenizer
    )
    assert "Be brief" not in example.text


def test_what_the_template_writes_and_the_model_must_emit_is_trained(trained):
    keys = {"type": "chat_template", "chat_template": "jinja", "chat_template_jinja": THINKS_LAST}
    assert trained(chat("a", "b", "c", "d"), "served", **keys) == ["<think>\nb<|im_end|>", "<think>\nd<|im_end|>"]
    assert trained(chat("a", "b", "c", "d"), "axolotl", **keys) == ["b<|im_end|>d<|im_end|>"]


def test_a_document_of_pretraining_ends_once_and_no_part_of_it_stands_twice(trained, tokenizer):
    row = {"text": "one two three four five six seven eight"}
    pieces = trained(row, "served", type="pretrain", config={"sequence_len": 6})
    assert "".join(pieces) == row["text"] + "<|im_end|>"
    windows = trained(row, "axolotl", type="pretrain", config={"sequence_len": 6})
    assert all(window.endswith("<|im_end|>") for window in windows)
    assert "".join(windows).count("four") > 1


def test_a_long_prompt_is_not_cut_apart_from_its_answer(trained, tokenizer):
    row = {"instruction": "count " * 30, "output": "one two three four five six"}
    assert trained(row, "served", type="alpaca", config={"sequence_len": 5}) == [
        "one two three four five six<|im_end|>"
    ]
    assert trained(row, "axolotl", type="alpaca", config={"sequence_len": 5}) == ["one two three four five"]


def test_a_begin_token_that_stands_in_the_text_is_kept(tokenizer):
    """SmolLM2's begin token is `<|im_start|>`; Axolotl takes it off each later part of a sharegpt row."""
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    texts = {}
    for mask in ("served", "axolotl"):
        dataset = {"type": "sharegpt", "conversation": "chatml"}
        (example,) = tunesmith.encode(row, dataset=dataset, config={"mask": mask}, tokenizer=tokenizer)
        texts[mask] = tokenizer.decode(example.input_ids)
    assert texts["served"].count("<|im_start|>") == texts["axolotl"].count("<|im_start|>") + 2
