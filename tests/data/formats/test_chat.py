"""Conversations: what trains, and which rows are refused with what words. Whole dumps are in test_golden.py."""

import json
from dataclasses import replace

import pytest

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import chat_template
from tunesmith.errors import DataError
from tunesmith.sections import Dataset


def turns(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


PAIR = turns(("user", "hi"), ("assistant", "yo"))


@pytest.fixture
def render_all(tokenizer):
    """`render(row, jinja=..., template=..., **keys of the dataset)` renders a conversation."""

    def call(row, jinja=None, template=None, **keys):
        dataset = Dataset.model_validate({"path": "x", "type": "chat_template"} | keys)
        return FORMATS["chat_template"](
            row, FormatSpec(dataset, False, chat_template(tokenizer, template, jinja, "config.yml"))
        )

    return call


@pytest.fixture
def render(render_all):
    """The same for a row that gives one sample."""

    def call(*args, **keys):
        (rendered,) = render_all(*args, **keys)
        return rendered

    return call


def trained(rendered):
    return [segment.text for segment in rendered.segments if segment.train]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, "type chat_template needs column messages; found no columns"),
        ({"conversations": []}, "needs column messages; found conversations. Set field_messages: conversations"),
        ({"messages": []}, "column messages should hold a list of messages; found []"),
        ({"messages": "text"}, "column messages is text, and no JSON: Expecting value at column 1"),
        ({"messages": 3}, "column messages should hold a list of messages; found 3"),
        ({"messages": "{}"}, "column messages should hold a list of messages; found {}"),
        ({"messages": ["text"]}, "message 1 should hold role and content; found 'text'"),
        ({"messages": [{"role": "user"}]}, "message 1 has no content; found role."),
        (
            {"messages": [{"content": "a"}]},
            "message 1 has no role; found content. Set message_property_mappings: {role",
        ),
        ({"messages": [{"role": "user", "content": 3}]}, "message 1: content should be text; found int"),
        (turns(("user", "hi")), "no assistant turn has content: there is nothing to train"),
        (turns(("user", "hi"), ("assistant", "  ")), "no assistant turn has content: there is nothing to train"),
    ],
)
def test_a_row_that_is_no_conversation_says_what_is_missing(render, row, expected):
    with pytest.raises(DataError) as caught:
        render(row)
    assert expected in str(caught.value)


def test_a_row_of_which_no_turn_is_trained_is_refused(render):
    with pytest.raises(DataError, match=r"roles_to_train is \['tool'\], the row has \['assistant', 'user'\]"):
        render(PAIR, roles_to_train=["tool"])


def test_a_template_that_leaves_out_what_is_asked_is_refused(render):
    with pytest.raises(DataError, match=r"the chat template leaves out message 1 \(user\): 'hi'"):
        render(PAIR, jinja="{{ 'always the same' }}")
    jinja = "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    with pytest.raises(DataError, match=r"leaves out message 1 \(system\): 'Be brief.'"):
        render(turns(("system", "Be brief."), ("user", "hi"), ("assistant", "yo")), jinja=jinja)


def test_a_generation_prompt_that_is_no_prefix_is_refused_with_both_texts(render):
    jinja = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<model>{% endif %}"
    )
    with pytest.raises(DataError) as caught:
        render(PAIR, jinja=jinja)
    assert str(caught.value).startswith(
        "the prompt that a server feeds before turn 2 is not how the training text starts: after '<user>hi<' it has "
        "'model>', the training text 'assistant>yo'. Choose another `chat_template`; trl has some made for training"
    )


REWRITES = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""Writes thinking in the last turn alone, as Qwen3 does."""


def test_a_template_that_rewrites_earlier_turns_gives_a_sample_for_each_answer(render_all):
    row = turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    first, second = render_all(row, jinja=REWRITES)
    assert (first.text, trained(first)) == (
        "<user>a<|im_end|><assistant><think></think>b<|im_end|>",
        ["<think></think>b<|im_end|>"],
    )
    assert (
        second.text == "<user>a<|im_end|><assistant>b<|im_end|><user>c<|im_end|><assistant><think></think>d<|im_end|>"
    )
    assert trained(second) == ["<think></think>d<|im_end|>"]


def test_only_trained_turns_get_a_sample_of_their_own(render_all):
    row = turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    row["messages"][3]["train"] = False
    (only,) = render_all(row, jinja=REWRITES, message_field_training="train")
    assert only.text == "<user>a<|im_end|><assistant><think></think>b<|im_end|>"


@pytest.mark.parametrize(
    ("jinja", "reason"),
    [
        ("{{ raise_exception('no tools') }}", "no tools"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% for %}", "Expected an expression"),
        ("{{ messages[9].content.x }}", "list object has no element 9"),
    ],
)
def test_a_template_that_fails_gives_its_reason(render, jinja, reason):
    with pytest.raises(DataError, match=f"the chat template refuses the conversation: .*{reason}"):
        render(PAIR, jinja=jinja)


def test_a_template_from_a_file_is_found_beside_the_config(tokenizer, tmp_path):
    (tmp_path / "a.jinja").write_text("{{ messages }}")
    assert chat_template(tokenizer, "jinja", "a.jinja", str(tmp_path / "config.yml")).text == "{{ messages }}"


def test_words_of_the_header_are_not_taken_for_the_content(render):
    row = turns(("user", "user"), ("assistant", "assistant"))
    rendered = render(row, roles_to_train=["user"])
    assert trained(rendered) == ["user<|im_end|>"]
    assert rendered.segments[0].text.endswith("<|im_start|>user\n")
    assert trained(render(row)) == ["assistant<|im_end|>"]


def test_a_first_turn_of_the_assistant_is_trained_from_its_content_on(render):
    row = turns(("assistant", "AI"), ("user", "b"), ("assistant", "c"))
    assert trained(render(row)) == ["AI<|im_end|>", "c<|im_end|>"]


def test_an_end_token_inside_a_content_does_not_end_the_turn(render):
    row = turns(("user", "a <|im_end|> b"), ("assistant", "say <|im_end|> now"))
    assert trained(render(row)) == ["say <|im_end|> now<|im_end|>"]


def test_roles_to_train_knows_the_other_names_of_a_role(render):
    assert trained(render(PAIR, roles_to_train=["gpt"])) == trained(render(PAIR)) == ["yo<|im_end|>"]
    own = render(turns(("user", "hi"), ("bee", "yo")), roles={"assistant": ["bee"]}, roles_to_train=["bee"])
    assert trained(own) == ["yo<|im_end|>"]


def test_blank_space_around_an_answer_is_kept_as_the_template_keeps_it(render):
    assert trained(render(turns(("user", "a"), ("assistant", " b \n")))) == [" b \n<|im_end|>"]


def test_further_keys_of_a_message_reach_the_template(render):
    jinja = (
        "{% for m in messages %}<{{ m.role }}>{{ m.mood }}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    row = {"messages": [{"role": "user", "content": "a", "mood": "glad "}, {"role": "assistant", "content": "b"}]}
    assert render(row, jinja=jinja).segments[0].text == "<user>glad a<assistant>"


def test_a_prompt_that_would_have_other_tokens_alone_is_refused(render, tokenizer):
    """SmolLM2's tokenizer splits two line ends before a letter, and joins them at the end of a text."""
    (error,) = encode([render(PAIR, template="llama3")], tokenizer)
    assert isinstance(error, DataError)
    assert "becomes other tokens than in the training text" in str(error)


TOOLS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for call in m.tool_calls or [] %}[{{ call.function.name }} "
    "{{ call.function.arguments | tojson }}]{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_a_call_of_a_tool_is_trained_and_its_arguments_may_be_json_text(render):
    call = {"type": "function", "function": {"name": "look", "arguments": '{"where": "<|im_end|>"}'}}
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "found"},
            {"role": "assistant", "content": "b"},
        ]
    }
    assert trained(render(row, jinja=TOOLS)) == ['[look {"where": "<|im_end|>"}]<|im_end|>', "b<|im_end|>"]


def test_an_empty_turn_trains_its_end(render):
    row = turns(("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c"))
    assert trained(render(row)) == ["<|im_end|>", "c<|im_end|>"]


def test_parts_of_a_content_that_are_not_trained_are_holes(render, tokenizer):
    parts = [{"type": "text", "text": "Think.", "train": False}, {"type": "text", "text": " It is 4."}]
    row = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": parts}]}
    rendered = render(row)
    assert trained(rendered) == [" It is 4.<|im_end|>"]
    assert rendered.text.endswith("assistant\nThink. It is 4.<|im_end|>\n")
    ((example,),) = encode([rendered], tokenizer)
    assert tokenizer.decode([label for label in example.labels if label >= 0]) == " It is 4.<|im_end|>"


def test_a_token_that_reaches_into_a_hole_is_not_trained(render, tokenizer):
    parts = [{"type": "text", "text": "The ans"}, {"type": "text", "text": "wer is 4.", "weight": 0}]
    row = {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": parts}]}
    ((example,),) = encode([render(row)], tokenizer)
    assert tokenizer.decode([label for label in example.labels if label >= 0]) == "The<|im_end|>"


def test_details_name_the_characters_that_are_trained(render):
    details = [
        {"begin_offset": 0, "end_offset": 2, "train": True},
        {"begin_offset": 3, "end_offset": 5, "train": False},
    ]
    row = turns(("user", "a"), ("assistant", "yes no"))
    row["messages"][1]["detail"] = details
    assert trained(render(row, message_field_training_detail="detail")) == ["yes", "<|im_end|>"]
    row["messages"][1]["detail"] = [{"begin_offset": 0, "end_offset": 6, "train": True}]
    with pytest.raises(DataError, match="message 2: a training detail needs begin_offset, end_offset \\(below 6\\)"):
        render(row, message_field_training_detail="detail")


def test_holes_move_with_the_space_that_a_template_strips(render):
    jinja = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<|im_end|>{% endfor %}"
    jinja += "{% if add_generation_prompt %}<assistant>{% endif %}"
    row = turns(("user", "a"), ("assistant", "  yes no "))
    row["messages"][1]["detail"] = [{"begin_offset": 6, "end_offset": 7, "train": True}]
    assert trained(render(row, jinja=jinja, message_field_training_detail="detail")) == ["no<|im_end|>"]


def test_a_column_of_its_own_may_hold_the_system_turn(render):
    rendered = render(PAIR | {"system": "Be brief."})
    assert rendered.text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    own = turns(("system", "Mine."), ("user", "hi"), ("assistant", "yo")) | {"system": "Be brief."}
    assert "Be brief" not in render(own).text


def test_thinking_is_taken_out_of_the_content(render):
    jinja = "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    jinja += "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    row = turns(("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nyes"))
    assert trained(render(row, jinja=jinja, split_thinking=True)) == ["(hm)yes<|im_end|>"]
    own = {"messages": [PAIR["messages"][0], {"role": "assistant", "content": "yes", "why": "hm"}]}
    assert trained(render(own, jinja=jinja, field_thinking="why")) == ["(hm)yes<|im_end|>"]


def test_messages_may_be_json_text(render):
    assert trained(render({"messages": json.dumps(PAIR["messages"])})) == ["yo<|im_end|>"]


def test_tools_reach_the_template(render):
    jinja = "{{ tools[0].function.parameters.type }}{{ tools[0].function.name }}" + TOOLS
    tool = {"type": "function", "function": {"name": "look", "parameters": '{"type": "object"}'}}
    assert render(PAIR | {"tools": [tool]}, jinja=jinja).text.startswith("objectlook<user>hi")
    with pytest.raises(DataError, match="column tools should be JSON"):
        render(PAIR | {"tools": "look"}, jinja=jinja)


def test_what_was_learnt_of_one_row_serves_the_next_without_more_renders(render_all, tokenizer):
    """The cost of a conversation is three renders, however many turns it has."""
    template = chat_template(tokenizer, None, None, "config.yml")
    spec = FormatSpec(Dataset(path="x", type="chat_template"), False, template)
    renders = []

    class Counting(type(template)):
        def render(self, messages, **options):
            renders.append(len(messages))
            return super().render(messages, **options)

    counting = Counting(template.tokenizer, template.text, template.stops)
    row = turns(*[("user", f"q{n}") if n % 2 == 0 else ("assistant", f"a{n}") for n in range(200)])
    FORMATS["chat_template"](row, replace(spec, template=counting))
    assert len(renders) < 15
    renders.clear()
    (rendered,) = FORMATS["chat_template"](row, replace(spec, template=counting))
    assert renders == [200, 200, 199]
    assert len(rendered.prompt_ends) == 100
