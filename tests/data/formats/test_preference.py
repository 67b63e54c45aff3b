"""The texts of preference rows, in the right way and in Axolotl's."""

import copy

import pytest

import tunesmith
from tunesmith.data.formats.preference import LAYOUTS, STYLES, TYPES
from tunesmith.errors import ConfigError, DataError

NECTAR = {
    "prompt": "q",
    "answers": [{"answer": name, "rank": rank} for name, rank in (("ok", 2), ("bad", 3), ("good", 1))],
}
PARTS_WAYS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""A template whose generation prompt is not how an answer begins."""


def said(*texts, roles=("user", "assistant")):
    return [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]


@pytest.fixture
def texts(tokenizer):
    """`texts(row, rl, **dataset)` is the texts of a row by name."""

    def call(row, rl="dpo", mask="served", **dataset):
        before = copy.deepcopy(row)
        (example,) = tunesmith.encode(row, dataset=dataset, config={"rl": rl, "mask": mask}, tokenizer=tokenizer)
        assert row == before, "the row is not changed"
        assert example[:2] == ([], [])
        names = ("prompt", "completion", "label") if rl == "kto" else ("prompt", "chosen", "rejected")
        return {name: getattr(example, name) for name in names}

    return call


@pytest.mark.parametrize("rl", ["dpo", "kto"])
@pytest.mark.parametrize("layout", ["chatml", "llama3"])
def test_each_layout_goes_with_each_style(texts, rl, layout):
    for name, style in STYLES[rl].items():
        row = {"system": "s"} | dict.fromkeys(style.prompt[-1:], "q") | ({"label": True} if rl == "kto" else {})
        for answer in ("completion",) if rl == "kto" else ("chosen", "rejected"):
            row[answer] = said("q", answer) if style.lists else answer
        found = texts(row, rl, type=f"{layout}.{name}")
        turn, opening, end = (text.replace("<|eot_id|>", "<|im_end|>") for text in LAYOUTS[layout])  # the model's own
        before = turn.format(role="system", text="s") + turn.format(role="user", text="q") + opening
        assert found.pop("prompt") == before
        assert found.pop("label", True) is True
        assert found == {answer: answer + end for answer in found}


def test_plain_text_needs_no_tokenizer():
    row = {"question": "q", "chosen": "a", "rejected": "b"}
    (example,) = tunesmith.encode(row, dataset={"type": "chatml.intel"}, config={"rl": "ipo"})
    assert example.prompt == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
    assert (example.chosen, example.rejected) == ("a<|im_end|>", "b<|im_end|>")
    with pytest.raises(ConfigError, match="a chat template needs a tokenizer"):
        tunesmith.encode(row | {"messages": "q"}, dataset={"type": "chat_template"}, config={"rl": "dpo"})


def test_the_default_style_takes_the_first_column_that_has_words(texts):
    row = {"prompt": None, "question": "q", "instruction": "", "chosen_response": "a", "rejected": "b"}
    assert "user\nq<|im_end|>" in texts(row, type="chatml")["prompt"]
    assert "user\nNone<|im_end|>" in texts(row, mask="axolotl", type="chatml.default")["prompt"]


def test_argilla_chat_keeps_all_turns(texts):
    chosen, rejected = (said("a", "b", "c", answer) for answer in ("good", "bad"))
    row = {
        "chosen": said("be brief", roles=("system",)) + chosen,
        "rejected": said("be brief", roles=("system",)) + rejected,
    }
    found = texts(row, type="chatml.argilla_chat")
    assert found["prompt"].count("<|im_start|>") == 5
    assert (found["chosen"], found["rejected"]) == ("good<|im_end|>", "bad<|im_end|>")
    axolotl = texts(row, mask="axolotl", type="chatml.argilla_chat")
    assert axolotl["prompt"] == "<|im_start|>user\nbe brief<|im_end|>\n<|im_start|>assistant\n"
    assert axolotl["chosen"] == axolotl["rejected"] == "a<|im_end|>"


def test_nectar_takes_the_best_and_the_worst(texts):
    found = texts(NECTAR, type="zephyr.nectar")
    assert found == {
        "prompt": "<|system|>\n<|im_end|>\n<|user|>\nq<|im_end|>\n<|assistant|>\n",
        "chosen": "good",
        "rejected": "bad",
    }
    axolotl = texts(NECTAR, mask="axolotl", type="zephyr.nectar")
    assert (axolotl["chosen"], axolotl["rejected"]) == ("bad", "ok")
    with pytest.raises(DataError, match=r"different ranks; found ranks \[1, 1\]"):
        texts({"prompt": "q", "answers": [{"answer": "a", "rank": 1}] * 2}, type="zephyr.nectar")


def test_formats_of_the_users_own(texts):
    kind = {"field_prompt": "q", "prompt_format": "[{system}] {prompt}", "field_completion": "a", "field_label": "good"}
    row = {"q": "hi", "a": "yo", "good": 0}
    assert texts(row, "kto", type=kind) == {"prompt": "[] hi", "completion": "yo", "label": False}
    with pytest.raises(DataError, match=r"holds \{system\}, and the row has none"):
        texts(row, "kto", mask="axolotl", type=kind)
    with pytest.raises(ConfigError, match=r"`field_promt` in `datasets.type`; .*did you mean `field_prompt`"):
        texts(row, "kto", type={"field_promt": "q"})
    with pytest.raises(
        ConfigError, match=r"chosen_format: \{chosn\}` does not fit \('chosn'\); it may hold \{chosen\}"
    ):
        texts({"prompt": "q", "chosen": "a", "rejected": "b"}, type={"chosen_format": "{chosn}"})


@pytest.mark.parametrize("messages", ["q", said("q")])
@pytest.mark.parametrize("good", ["a", {"role": "assistant", "content": "a"}, said("q", "a")])
def test_the_chat_template_lays_out_messages_and_texts_alike(texts, messages, good):
    row = {"messages": messages, "chosen": good, "rejected": "b"}
    for mask in ("served", "axolotl"):
        for kind in ("chat_template", "chat_template.default"):
            assert texts(row, mask=mask, type=kind, chat_template="chatml") == {
                "prompt": "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
                "chosen": "a<|im_end|>",
                "rejected": "b<|im_end|>",
            }


def test_other_names_of_keys_and_roles(texts):
    row = {
        "chat": [{"from": "human", "value": "q"}],
        "good": {"from": "gpt", "value": "a"},
        "bad": {"from": "gpt", "value": "b"},
    }
    names = {"field_messages": "chat", "field_chosen": "good", "field_rejected": "bad", "chat_template": "chatml"}
    mapped = {"message_property_mappings": {"role": "from", "content": "value"}}
    own_roles = {"roles": {"user": ["human"], "assistant": ["gpt"]}}
    served = texts(row, type="chat_template", **names)
    assert served["chosen"] == "a<|im_end|>"
    assert texts(row, mask="axolotl", type="chat_template", **names, **mapped, **own_roles) == served
    with pytest.raises(DataError, match="from as one of user, assistant"):
        texts(row, mask="axolotl", type="chat_template", **names, **mapped)


def test_the_system_text_of_a_row_is_not_dropped(texts):
    row = {"system": "be brief", "messages": said("q"), "chosen": "a", "rejected": "b"}
    assert "be brief" in texts(row, type="chat_template")["prompt"]
    assert "be brief" not in texts(row, mask="axolotl", type="chat_template")["prompt"]


def test_a_prompt_that_a_server_feeds_otherwise_is_refused(texts):
    row = {"messages": said("q"), "chosen": "a", "rejected": "b"}
    own = {"type": "chat_template", "chat_template": "jinja", "chat_template_jinja": PARTS_WAYS}
    with pytest.raises(DataError, match=r"is not how the training text starts.*<think>"):
        texts(row, **own)
    assert texts(row, mask="axolotl", **own)["prompt"].endswith("<think>\n")


def test_an_answer_whose_words_stand_in_the_prompt_too_is_cut_at_the_right_place(texts):
    """Axolotl looks for the first such text where its stand-in prompt is not how the text begins."""
    turns = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    template = turns + "{% if add_generation_prompt %}bot:{% endif %}"
    row = {"messages": said("q"), "chosen": "user", "rejected": "b"}
    own = {"type": "chat_template", "chat_template": "jinja", "chat_template_jinja": template}
    assert texts(row, mask="axolotl", **own)["chosen"] == "user: [[dummy_message]]\nassistant: user"
    with pytest.raises(DataError, match="is not how the training text starts"):
        texts(row, **own)


def test_orpo_reads_whole_conversations(texts):
    row = {"prompt": "a", "chosen": said("a", "b", "c", "good"), "rejected": said("a", "b", "c", "bad")}
    for kind in ("chat_template", "chat_template.argilla"):
        found = texts(row, "orpo", type=kind, chat_template="chatml")
        assert [found["prompt"].count(text) for text in ("user\na<", "assistant\nb<", "user\nc<")] == [1, 1, 1]
        assert (found["chosen"], found["rejected"]) == ("good<|im_end|>\n", "bad<|im_end|>\n")
    assert texts(row, "orpo", mask="axolotl", type="chat_template.argilla")["prompt"].count("user\na<") == 2


def test_without_a_type_text_stands_as_it_is(texts):
    assert texts({"prompt": "p", "chosen": "a", "rejected": "b"}) == {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert texts({"chosen": "pa", "rejected": "pb"}) == {"prompt": None, "chosen": "pa", "rejected": "pb"}
    row = {"prompt": "p", "completion": "c", "label": False}
    assert texts(row, "kto") == row


def test_without_a_type_messages_are_rendered(texts):
    row = {
        "messages": said("q"),
        "chosen": said("a", roles=("assistant",)),
        "rejected": said("b", roles=("assistant",)),
    }
    assert texts(row, chat_template="chatml")["prompt"].endswith("q<|im_end|>\n<|im_start|>assistant\n")
    row["prompt"] = row.pop("messages")
    found = texts(row, chat_template="chatml")
    assert found["prompt"].endswith("q<|im_end|>\n<|im_start|>assistant\n")
    assert found["chosen"] == "a<|im_end|>\n"


@pytest.mark.parametrize(
    ("rl", "row", "reason"),
    [
        ("dpo", {"prompt": "q", "chosen": said("q", "a"), "rejected": said("q", "b")}, "chat_template.argilla_chat"),
        (
            "dpo",
            {"prompt": said("q"), "chosen": said("q", "a"), "rejected": said("q", "b")},
            "chosen repeats the prompt",
        ),
        ("dpo", {"chosen": said("q", "a"), "rejected": said("r", "b")}, "answer different conversations"),
        (
            "dpo",
            {"chosen": said("a", roles=["assistant"] * 2), "rejected": said("b", roles=["assistant"] * 2)},
            "begin with",
        ),
        ("dpo", {"prompt": "q", "chosen": " ", "rejected": "b"}, "column chosen is blank"),
        ("dpo", {"prompt": "q", "chosen": "a"}, "column rejected is missing; found prompt, chosen"),
        ("kto", {"prompt": "q", "completion": "a", "label": "yes"}, "true .a good completion. or false; found 'yes'"),
        ("kto", {"prompt": "q", "completion": "a"}, "column label is missing"),
        ("kto", {"completion": "a", "label": True}, "column prompt is missing"),
    ],
)
def test_rows_that_do_not_fit_are_refused(texts, rl, row, reason):
    with pytest.raises(DataError, match=reason):
        texts(row, rl)


@pytest.mark.parametrize(
    ("kind", "row", "reason"),
    [
        (
            "chatml.intel",
            {"prompt": "q", "chosen": "a", "rejected": "b"},
            "needs column question; found prompt, chosen",
        ),
        (
            "chatml",
            {"q": "q", "chosen": "a", "rejected": "b"},
            "needs column prompt or input or question or instruction",
        ),
        (
            "chatml.icr",
            {"input": "q", "chosen": said("q", "a"), "rejected": "b"},
            "chosen should hold text, found list",
        ),
        (
            "llama3.ultra",
            {"prompt": "q", "chosen": said("a", "b", "c", "d")} | {"rejected": said("a", "b", "c", "e")},
            "one question",
        ),
        (
            "chatml.argilla_chat",
            {"chosen": said("q", "a", "b"), "rejected": said("q", "a", "b")},
            "end with the answer",
        ),
        ("chatml.argilla_chat", {"chosen": said("q", ""), "rejected": said("q", "b")}, "the answer is blank"),
        (
            "chat_template.argilla_chat",
            {"chosen": said("q", "a"), "rejected": said("r", "b")},
            "different conversations",
        ),
        ("zephyr.nectar", {"prompt": "q", "answers": ["a", "b"]}, "a list of answer and rank"),
    ],
)
def test_rows_that_do_not_fit_their_type_are_refused(texts, kind, row, reason):
    with pytest.raises(DataError, match=reason):
        texts(row, type=kind)


def test_a_prompt_in_another_column_is_not_lost_without_a_word(texts):
    with pytest.raises(ConfigError, match=r"column question is none of TRL's; set `type`, such as chatml.default"):
        texts({"question": "q", "chosen": "a", "rejected": "b"})


def test_a_system_text_is_not_lost_without_a_word(texts):
    with pytest.raises(ConfigError, match="column system is none of TRL's"):
        texts({"system": "s", "prompt": "q", "chosen": "a", "rejected": "b"})
    assert texts(NECTAR | {"system": "s"}, type="zephyr.nectar")["prompt"].startswith("<|system|>\ns<|im_end|>")


@pytest.mark.parametrize(
    ("rl", "kind", "nearest"),
    [
        ("dpo", "chatml.intl", "chatml.intel"),
        ("simpo", "zephyr.nektar", "zephyr.nectar"),
        ("kto", "llama3.agilla", "llama3.argilla"),
    ],
)
def test_an_unknown_type_names_the_nearest(texts, rl, kind, nearest):
    with pytest.raises(
        ConfigError, match=rf"`datasets.type: {kind}` is not a type for `rl: {rl}`.*did you mean `{nearest}`"
    ):
        texts({}, rl, type=kind)


def test_types_are_those_of_the_kind_of_preference():
    assert len(TYPES["dpo"]) == 18
    assert len(TYPES["kto"]) == 12
    assert set(TYPES["orpo"]) == {"", "chat_template", "chat_template.argilla"}


def test_the_masks_differ_only_where_axolotl_is_wrong(texts):
    """A dataset may set the mask too, in place of the file's."""
    (example,) = tunesmith.encode(NECTAR, dataset={"type": "zephyr.nectar", "mask": "axolotl"}, config={"rl": "dpo"})
    assert example.chosen == "bad"


@pytest.mark.parametrize("name", ["system", "input", "question"])
def test_what_passthrough_does_not_write_is_refused(texts, name):
    row = {"prompt": "Do bees sleep?", "chosen": "Yes.", "rejected": "No."}
    assert texts(row, type="passthrough")["prompt"] == "Do bees sleep?"
    with pytest.raises(DataError, match=f"nothing reads {name}"):
        texts(row | {name: "Be brief."}, type="passthrough")
