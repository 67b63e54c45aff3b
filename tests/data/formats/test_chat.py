"""Conversations: what trains, and which rows are refused with what words. Whole dumps are in test_golden.py."""

import pytest

from tunesmith.config.sections import Dataset
from tunesmith.data.formats.chat import chat
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import chat_template
from tunesmith.errors import DataError


def turns(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


PAIR = turns(("user", "hi"), ("assistant", "yo"))


@pytest.fixture
def render(tokenizer):
    """`render(row, jinja=..., template=..., **keys of the dataset)` renders a conversation."""

    def call(row, jinja=None, template=None, **keys):
        dataset = Dataset.model_validate({"path": "x", "type": "chat_template"} | keys)
        return chat(row, FormatSpec(dataset, False, chat_template(tokenizer, template, jinja, "config.yml")))

    return call


def trained(rendered):
    return [span.text for span in rendered.spans if span.train]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({}, "type chat_template needs column messages; found no columns"),
        ({"conversations": []}, "needs column messages; found conversations. Set field_messages: conversations"),
        ({"messages": []}, "column messages should hold a list of messages; found []"),
        ({"messages": "text"}, "column messages should hold a list of messages; found 'text'"),
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
    with pytest.raises(DataError, match="no turn is trained"):
        render(PAIR, jinja="{{ 'always the same' }}")


def test_a_generation_prompt_that_is_no_prefix_is_refused_with_both_texts(render):
    jinja = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<model>{% endif %}"
    )
    with pytest.raises(DataError) as caught:
        render(PAIR, jinja=jinja)
    assert str(caught.value).startswith(
        "the prompt that a server feeds before turn 2 is not how the training text goes on: after '<user>hi<' it has "
        "'model>', the training text 'assistant>yo'. The chat template rewrites earlier turns"
    )


def test_a_template_that_rewrites_earlier_turns_is_refused(render):
    jinja = (
        "{% for m in messages %}{% if loop.last or m.role == 'user' %}<{{ m.role }}>{{ m.content }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    with pytest.raises(DataError, match="is not how the training text goes on"):
        render(turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")), jinja=jinja)


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
    assert rendered.spans[0].text.endswith("<|im_start|>user\n")
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
    assert render(row, jinja=jinja).spans[0].text == "<user>glad a<assistant>"


def test_a_prompt_that_would_have_other_tokens_alone_is_refused(render, tokenizer):
    """SmolLM2's tokenizer splits two line ends before a letter, and joins them at the end of a text."""
    (error,) = encode([render(PAIR, template="llama3")], tokenizer)
    assert isinstance(error, DataError)
    assert "becomes other tokens than in the training text" in str(error)
