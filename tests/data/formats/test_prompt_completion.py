"""TRL's rows of prompt and completion: texts in one go, messages through the chat template."""

import pytest

import tunesmith
from tunesmith.config.load import load_values
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.specs import format_spec
from tunesmith.data.question import conversation_prompt, question
from tunesmith.data.tokenizer import chat_template
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

CHAT = {
    "prompt": [
        {"role": "user", "content": "q1"},
        {"role": "assistant", "content": "a1"},
        {"role": "user", "content": "q2"},
    ],
    "completion": [{"role": "assistant", "content": "a2"}],
}


def trained(example, tokenizer):
    return tokenizer.decode([label for label in example.labels if label >= 0])


@pytest.mark.parametrize("name", ["tokenizer", "mistral_v1", "qwen3", "llama3_1"])
def test_text_is_one_text_with_the_prompt_masked(request, name):
    tokenizer = request.getfixturevalue(name)
    row = {"prompt": "Q: 2+2?\nA:", "completion": " 4, I think"}
    (example,) = tunesmith.encode(row, tokenizer=tokenizer)
    served = tokenizer(row["prompt"]).input_ids
    assert example.input_ids == [*tokenizer(row["prompt"] + row["completion"]).input_ids, tokenizer.eos_token_id]
    assert example.labels == [-100] * len(served) + example.input_ids[len(served) :]
    assert example.input_ids[: len(served)] == served
    assert (example.prompt, example.completion) == (row["prompt"], row["completion"])


def test_a_completion_that_has_its_end_is_given_no_second_one(tokenizer):
    (example,) = tunesmith.encode({"prompt": "q", "completion": "\na<|im_end|>"}, tokenizer=tokenizer)
    assert example.input_ids.count(tokenizer.eos_token_id) == 1


def test_a_begin_token_that_the_prompt_has_is_given_once(mistral_v1):
    (example,) = tunesmith.encode({"prompt": "<s>q", "completion": " a"}, tokenizer=mistral_v1)
    assert example.input_ids.count(mistral_v1.bos_token_id) == 1


def test_a_prompt_that_grows_into_its_completion_is_refused(tokenizer):
    with pytest.raises(
        DataError, match=r"up to 'A: ', becomes other tokens .* 'four' follows; let the prompt end earlier"
    ):
        tunesmith.encode({"prompt": "A: ", "completion": "four"}, tokenizer=tokenizer)
    (example,) = tunesmith.encode({"prompt": "A:", "completion": " four"}, tokenizer=tokenizer)
    assert trained(example, tokenizer) == " four<|im_end|>"


def test_as_trl_the_completion_begins_where_the_tokens_part(tokenizer):
    (example,) = tunesmith.encode(
        {"prompt": "A: ", "completion": "word"}, config={"mask": "axolotl"}, tokenizer=tokenizer
    )
    assert trained(example, tokenizer) == " word<|im_end|>"


def test_inputs_are_trained_where_that_is_asked_for(tokenizer):
    for row, text in (({"prompt": "A: ", "completion": "4"}, "A: 4<|im_end|>"), (CHAT, None)):
        for mask in ("served", "axolotl"):
            config = {"train_on_inputs": True, "mask": mask}
            (example,) = tunesmith.encode(row, config=config, tokenizer=tokenizer)
            assert example.labels == example.input_ids
            assert text is None or trained(example, tokenizer) == text


def test_of_messages_only_the_completion_is_trained(tokenizer):
    (example,) = tunesmith.encode(CHAT, tokenizer=tokenizer)
    assert trained(example, tokenizer) == "a2<|im_end|>"
    assert example.prompt + example.completion == example.text
    assert example.completion == "a2<|im_end|>\n"
    (as_trl,) = tunesmith.encode(CHAT, config={"mask": "axolotl"}, tokenizer=tokenizer)
    assert as_trl.input_ids == example.input_ids
    assert trained(as_trl, tokenizer) == "a2<|im_end|>\n"


def test_a_template_that_rewrites_history_gives_a_sample_for_each_answer_of_the_completion(qwen3):
    more = [*CHAT["completion"], {"role": "user", "content": "q3"}, {"role": "assistant", "content": "a3"}]
    examples = tunesmith.encode(CHAT | {"completion": more}, tokenizer=qwen3)
    assert [trained(example, qwen3) for example in examples] == [
        f"<think>\n\n</think>\n\n{answer}<|im_end|>" for answer in ("a2", "a3")
    ]


def test_an_answer_at_the_end_of_the_prompt_is_gone_on_with(tokenizer, qwen3):
    row = {"prompt": CHAT["prompt"][:2], "completion": CHAT["completion"]}
    (example,) = tunesmith.encode(row, tokenizer=tokenizer)
    assert example.prompt.endswith("assistant\na1")
    assert trained(example, tokenizer) == "a2<|im_end|>"
    with pytest.raises(DataError, match="is not how the training text starts"):
        tunesmith.encode(row, tokenizer=qwen3)
    (as_trl,) = tunesmith.encode(row, config={"mask": "axolotl"}, tokenizer=qwen3)
    assert as_trl.prompt.endswith("assistant\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "completion": " "}, "column completion is blank"),
        ({"prompt": "a", "completion": None}, "needs column completion; found prompt"),
        ({"prompt": "a", "completion": CHAT["completion"]}, "prompt is str, completion is list"),
        ({"prompt": CHAT["prompt"], "completion": [{"role": "assistant", "content": ""}]}, "nothing to train"),
        ({"prompt": {"a": 1}, "completion": "b"}, "prompt should hold text, found dict"),
        ({"prompt": [], "completion": CHAT["completion"]}, "should hold a list of messages"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tokenizer, row, reason):
    with pytest.raises(DataError, match=reason):
        tunesmith.encode(row, dataset={"type": "prompt_completion"}, tokenizer=tokenizer)


def test_texts_need_no_chat_template(mistral_v1):
    (example,) = tunesmith.encode({"prompt": "a", "completion": " b"}, tokenizer=mistral_v1)
    assert example.text == "a b"
    with pytest.raises(ConfigError, match="rows of messages need a chat template"):
        tunesmith.encode(CHAT, tokenizer=mistral_v1)
    (example,) = tunesmith.encode(CHAT, dataset={"chat_template": "mistral_v1"}, tokenizer=mistral_v1)
    assert trained(example, mistral_v1) == "a2</s>"


@pytest.mark.parametrize("row", [CHAT, {"prompt": "Q: 2+2?\nA:", "completion": " 4"}])
def test_what_is_asked_is_what_was_trained(tokenizer, tmp_path, write_jsonl, row):
    file = str(write_jsonl(tmp_path / "rows.jsonl", [row]))
    values = {"base_model": "none", "learning_rate": 1.0, "datasets": [{"path": file, "type": "prompt_completion"}]}
    config = load_values(values, "config.yml", {})
    spec = format_spec(config.data.datasets[0], config.data, config.model, tokenizer, "config.yml")
    (example,) = tunesmith.encode(row, tokenizer=tokenizer)
    served = example.input_ids[: next(place for place, label in enumerate(example.labels) if label >= 0)]
    asked = question(row, spec, tokenizer)
    assert asked.input_ids == served
    assert asked.reference == ("a2" if row is CHAT else " 4")
    turns = row["prompt"] if row is CHAT else [{"role": "user", "content": row["prompt"]}]
    assert conversation_prompt(turns, spec, tokenizer) == served


def test_the_row_is_not_changed(tokenizer):
    before = repr(CHAT)
    spec = FormatSpec(
        Dataset(path="x", type="prompt_completion"),
        template=chat_template(tokenizer, "chatml", None, "config.yml"),
        tokenizer=tokenizer,
    )
    for mask in ("served", "axolotl"):
        tunesmith.encode(CHAT, config={"mask": mask}, tokenizer=tokenizer)
    assert repr(CHAT) == before
    assert spec.template is not None
