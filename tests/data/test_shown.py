"""A row whose template leaves out what it says is refused, also where the same words stand elsewhere in the text."""

import pytest

import tunesmith
from tunesmith.errors import DataError

ARGUMENTS = {
    "hive": 3,
    "unit": "kg",
    "deep": [[1, 2.5], {"wax": "ünï"}],
    "dry": True,
    "none": None,
    "note": 'say "hi"\nit\'s <b>',
}
FUNCTION = {
    "name": "weigh_hive",
    "description": "Weigh 3 kg.",
    "parameters": {"type": "object", "properties": {key: {"type": "string"} for key in ARGUMENTS}},
}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weigh_hive", "arguments": ARGUMENTS}}
ROW = {
    "messages": [
        {"role": "user", "content": "Weigh hive 3 in kg."},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": '{"kg": 40}', "tool_call_id": "abcdefghi", "name": "weigh_hive"},
        {"role": "assistant", "content": "It is 40 kg."},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
}


@pytest.fixture
def encode(tokenizer):
    """`encode(row, template)` returns the text of a row of chat_template."""

    def call(row, template, **config):
        dataset = {"type": "chat_template", "chat_template": template}
        return "\n".join(
            example.text for example in tunesmith.encode(row, dataset=dataset, config=config, tokenizer=tokenizer)
        )

    return call


TEMPLATES = ["jamba", "qwen_25", "trl:gemma4", "trl:glm4moe", "trl:gptoss", "trl:lfm2_2_5", "trl:lfm2_v2"]
TEMPLATES += ["trl:muse_glimmer", "trl:qwen2_5", "trl:qwen3", "trl:qwen3_6", "trl:qwen3_8", "trl:qwen3_training"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_calls_are_shown_as_json_xml_or_python_whatever_their_values_hold(encode, template):
    assert "weigh_hive" in encode(ROW, template)


def test_a_template_that_writes_tools_but_no_calls_is_refused_though_all_words_stand_in_the_text(encode):
    call = CALL | {"function": {"name": "weigh_hive", "arguments": {"hive": 3, "unit": "kg"}}}
    question, _, result, answer = ROW["messages"]
    row = ROW | {"messages": [question, {"role": "assistant", "content": "", "tool_calls": [call]}, result, answer]}
    for template in ("falcon_h1", "trl:lfm2"):
        with pytest.raises(DataError, match="leaves out 'weigh_hive' of the call of weigh_hive in message 2"):
            encode(row, template)


@pytest.mark.parametrize("inputs", [False, True])
def test_a_message_that_is_left_out_is_refused_though_another_says_the_same(encode, inputs):
    turns = [("user", "Do bees sleep?"), ("critic", "Yes."), ("assistant", "Yes.")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    with pytest.raises(DataError, match=r"leaves out message 2 \(critic\): 'Yes.'"):
        encode(row, "qwen_25", train_on_inputs=inputs)


def test_a_text_beside_a_call_is_not_lost(encode):
    question, call, result, answer = ROW["messages"]
    row = ROW | {"messages": [question, call | {"content": "I will weigh it."}, result, answer]}
    assert "I will weigh it." in encode(row, "qwen_25")
    only_call = {"messages": [question, call | {"content": "I will weigh it."}], "tools": ROW["tools"]}
    either = "{% for m in messages %}<|im_start|>{{ m.role }} {% if m.tool_calls %}{{ m.tool_calls }}{% else %}"
    either += "{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
    either += "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
    for values in (row, only_call):
        with pytest.raises(DataError, match=r"leaves out message 2 \(assistant\): 'I will weigh it.'"):
            encode(values, None, chat_template_jinja=either, chat_template="jinja")


@pytest.mark.parametrize("kind", ["chat_template", "chat_template.argilla_chat", None])
def test_a_preferred_call_that_the_template_leaves_out_is_refused(kind, tokenizer):
    question, call, *_ = ROW["messages"]
    before = [] if kind == "chat_template" else [question]
    row = {"chosen": [*before, call], "rejected": [*before, {"role": "assistant", "content": "No."}]}
    row |= {"messages": [question]} if kind == "chat_template" else {}
    options = {"dataset": {"type": kind}, "tokenizer": tokenizer}
    with pytest.raises(DataError, match="leaves out 'weigh_hive' of the call"):
        tunesmith.encode(row, config={"rl": "dpo", "chat_template": "chatml"}, **options)
    (example,) = tunesmith.encode(row, config={"rl": "dpo", "chat_template": "qwen_25"}, **options)
    assert '"hive": 3' in example.chosen


@pytest.mark.parametrize("kind", ["chat_template", "chat_template.argilla_chat", None])
def test_the_reasoning_of_a_preferred_answer_is_refused_if_the_template_drops_it(kind, tokenizer):
    question = {"role": "user", "content": "Do bees sleep?"}
    chosen = {"role": "assistant", "content": "Yes.", "reasoning_content": "They rest at night."}
    before = [] if kind == "chat_template" else [question]
    row = {"chosen": [*before, chosen], "rejected": [*before, {"role": "assistant", "content": "No."}]}
    row |= {"messages": [question]} if kind == "chat_template" else {}
    options = {"dataset": {"type": kind}, "tokenizer": tokenizer}
    with pytest.raises(DataError, match=r"leaves out 'They rest at night\.' of an answer"):
        tunesmith.encode(row, config={"rl": "dpo", "chat_template": "chatml"}, **options)
    (example,) = tunesmith.encode(row, config={"rl": "dpo", "chat_template": "trl:qwen3_training"}, **options)
    assert "They rest at night." in example.chosen
