"""`type: sharegpt`: what is trained, what the loaders read, and where the default mode is other than Axolotl's."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tunesmith
from tunesmith.checks.rows import full_text
from tunesmith.data.debug import token_view
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.fastchat import LAYOUTS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.marks import replaced_marks
from tunesmith.data.question import question
from tunesmith.errors import ConfigError, DataError
from tunesmith.sections import Dataset

SEED_ROW = {
    "conversations": [{"from": "human", "value": "What can I ask?"}, {"from": "gpt", "value": "Did your team ship?"}]
}
SEED_LINE = (
    "response(-100, 2899) that(-100, 369) appropri(-100, 6582) ately(-100, 1999)",
    "###(-100, 774) Response(-100, 12107) :(-100, 28747) Did(7164, 7164) your(574, 574)",
    "</s>(2, 2)",
)


def said(*texts, system=None):
    """Return a row in which human and gpt take turns."""
    turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]
    return {"conversations": ([{"from": "system", "value": system}] if system is not None else []) + turns}


@pytest.fixture
def encoded(tokenizer):
    """`encoded(row, config={...}, dataset keys...)` is the one sample of a row."""

    def call(row, *, config=None, **dataset):
        keys = {"type": "sharegpt"} | dataset
        (example,) = tunesmith.encode(row, dataset=keys, config=config, tokenizer=tokenizer)
        return example

    return call


@pytest.fixture
def shown(encoded, tokenizer):
    """The same as text, with its trained parts in brackets."""

    def call(row, **keys):
        example, text, on = encoded(row, **keys), "", False
        for token, label in zip(example.input_ids, example.labels, strict=True):
            text += ("" if (label >= 0) is on else "[" if label >= 0 else "]") + tokenizer.decode([token])
            on = label >= 0
        return text + ("]" if on else "")

    return call


@pytest.mark.parametrize("mask", ["served", "axolotl"])
def test_the_debug_view_prints_the_line_of_the_course(mistral_v1, mask):
    """Axolotl tokenizes each turn alone: its `###` has the token of a start of a text, which no server feeds."""
    (example,) = tunesmith.encode(
        SEED_ROW, dataset={"type": "sharegpt", "conversation": "alpaca"}, config={"mask": mask}, tokenizer=mistral_v1
    )
    printed = token_view(example.input_ids, example.labels, mistral_v1).plain
    place = 0
    for piece in SEED_LINE:
        piece = piece.replace("774", "27332") if mask == "served" else piece
        assert piece in printed[place:]
        place = printed.index(piece, place) + len(piece)
    assert printed.endswith(SEED_LINE[-1])
    assert "  " not in printed.replace("\\n", "")


def test_answers_are_trained_with_their_end_and_without_their_role(shown):
    assert shown(said("Hi", "Yo", "2+2?", "4", system="S"), conversation="zephyr") == (
        "<|system|>\nS<|im_end|>\n<|user|>\nHi<|im_end|>\n<|assistant|>\n[Yo<|im_end|>]"
        "\n<|user|>\n2+2?<|im_end|>\n<|assistant|>\n[4<|im_end|>]"
    )


def test_the_layout_of_types_without_one_is_vicuna(shown):
    text = shown(said("Hi", "Yo"))
    assert text.endswith("user's questions. USER: Hi ASSISTANT:[ Yo<|im_end|>]")


def test_a_system_text_can_be_set_for_rows_without_one(shown):
    for name in ("chatml", "llama3"):
        assert "You are a helpful assistant." in shown(said("Hi", "Yo"), conversation=name)
        config = {"default_system_message": "Be kind."}
        assert "Be kind." in shown(said("Hi", "Yo"), conversation=name, config=config)
        assert "Be kind." not in shown(said("Hi", "Yo", system="S"), conversation=name, config=config)
    assert "Be kind." not in shown(
        said("Hi", "Yo"), conversation="alpaca", config={"default_system_message": "Be kind."}
    )


def test_a_weight_of_zero_leaves_a_turn_untrained(shown):
    row = said("a", "bad", "b", "good")
    row["conversations"][1]["weight"] = 0
    row["conversations"][0]["weight"] = 0
    row["conversations"][3]["weight"] = None
    text = shown(row, conversation="oasst_llama")
    assert (
        text == "<|prompter|>a<|im_end|><|assistant|>bad<|im_end|><|prompter|>b<|im_end|><|assistant|>[good<|im_end|>]"
    )
    text = shown(row, conversation="oasst_llama", config={"train_on_inputs": True})
    assert (
        text == "<|prompter|>a<|im_end|><|assistant|>bad<|im_end|>[<|prompter|>b<|im_end|><|assistant|>good<|im_end|>]"
    )


LOADED = [
    ("sharegpt:chat", said("Hi", "Yo")),
    ("sharegpt_simple", said("Hi", "Yo")),
    ("sharegpt", {"conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}),
    ("sharegpt", {"conversations": [{"from": "user", "text": "Hi"}, {"from": "assistant", "text": "Yo"}]}),
    ("sharegpt.load_role", {"conversations": [{"role": "human", "value": "Hi"}, {"role": "gpt", "value": "Yo"}]}),
    (
        "sharegpt.load_guanaco",
        {"conversations": [{"role": "prompter", "text": "Hi"}, {"role": "assistant", "text": "Yo"}]},
    ),
    (
        "sharegpt.load_ultrachat",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]},
    ),
    ("sharegpt.load_glaive", {"system": "", "chat": "USER: Hi\n\n\nASSISTANT: Y\nASSISTANT: o\n"}),
    ("instruct", {"instruction": "Hi", "output": "Yo"}),
]


@pytest.mark.parametrize(("kind", "row"), LOADED)
def test_every_loader_reads_the_same_conversation(shown, kind, row):
    assert shown(row, type=kind, conversation="oasst_llama") == ("<|prompter|>Hi<|im_end|><|assistant|>[Yo<|im_end|>]")


def test_other_columns_and_names_can_be_set(shown):
    row = {"log": [{"from": "asker", "value": "Hi"}, {"from": "bot", "value": "Yo"}]}
    keys = {"field_messages": "log", "field_human": "asker", "field_model": "bot", "conversation": "oasst_llama"}
    assert shown(row, **keys).endswith("<|assistant|>[Yo<|im_end|>]")
    assert shown(row, **keys, strict=True) == shown(row, **keys)


def test_a_joke_is_two_questions(shown):
    text = shown({"title": "", "text": "Ha.", "explanation": "Puns."}, type="sharegpt_jokes")
    assert "USER: Tell me a joke. ASSISTANT:[ Ha." in text
    assert "USER: Why is that joke funny? ASSISTANT:[ Puns." in text


def test_glaive_has_a_system_text_and_a_tool(shown):
    chat = "USER: Weather?\nASSISTANT: <call>\nFUNCTION RESPONSE: rain\nASSISTANT: Rain.\n"
    text = shown({"system": "SYSTEM: S", "chat": chat}, type="sharegpt.load_glaive")
    assert text.startswith("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nWeather?")
    assert "<|im_start|>tool\nrain<|im_end|>\n<|im_start|>assistant\n[Rain." in text


def test_speakers_can_be_called_by_name_in_vicuna(shown):
    row = said("Hi", "Yo") | {"roles": ["ALICE", "BOB"]}
    assert shown(row).endswith("ALICE: Hi BOB:[ Yo<|im_end|>]")
    assert "BOB" not in shown(row, conversation="alpaca")


def test_further_roles_are_heard_or_trained_as_set(shown):
    row = said("Weather?", "<call>")
    row["conversations"] += [{"from": "tool", "value": "rain"}, {"from": "poet", "value": "Rain."}]
    roles = {"input": ["tool"], "output": ["poet"]}
    text = shown(row, conversation="llama3", roles=roles)
    assert (
        "<|start_header_id|>tool<|end_header_id|>\n\nrain<|im_end|><|start_header_id|>poet<|end_header_id|>[\n\nRain"
        in text
    )
    twice = shown(row, conversation="llama3", roles=roles, config={"mask": "axolotl"})
    assert "<|start_header_id|><|start_header_id|>tool<|end_header_id|><|end_header_id|>" in twice


FAULTS = [
    ({"conversations": [{"from": "human", "value": "a"}]}, {}, "needs two messages or more; found 1"),
    ({"messages": []}, {}, "needs column conversations; found messages. Set field_messages: messages"),
    ({"conversations": [{"from": "human"}, {"from": "gpt"}]}, {}, "message 1 should hold from and value; found from"),
    ({"conversations": [{"from": "human", "value": 5}]}, {}, "message 1: value should be text; found 5"),
    (said("a", "b", "c"), {"field_model": "bot"}, "role gpt is neither heard nor trained"),
    (said("a", "b"), {"conversation": "alpaca", "field_model": "bot"}, "role gpt is not .* no place for others"),
    (said("a", "", "b", " "), {}, "every answer is empty"),
    ({"conversations": [{"from": "human", "value": t} for t in "ab"]}, {}, "no turn is trained"),
    (said("a", "b", system="S"), {"conversation": "gemma"}, "gemma has no place for a system turn; found 'S'"),
    ({"conversations": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]},
     {"type": "sharegpt.load_ultrachat", "field_messages": "conversations"}, "role system is none of user, assistant"),
    (said("a", "b", system="S"), {"conversation": "deepseek-coder"}, "no place for a system turn"),
    ({"chat": "Hi USER: a"}, {"type": "sharegpt.load_glaive"}, "column chat should begin with USER: .* found 'Hi'"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "keys", "message"), FAULTS)
def test_a_row_at_fault_is_told_what_is_wrong(encoded, row, keys, message):
    with pytest.raises(DataError, match=message):
        encoded(row, **keys)


def test_an_unknown_layout_is_a_fault_of_the_config(encoded):
    with pytest.raises(ConfigError, match="did you mean `chatml`"):
        encoded(said("a", "b"), conversation="chat_ml")


def test_begin_tokens_that_a_layout_writes_stay(shown):
    """SmolLM2's begin token is <|im_start|>, which Axolotl takes off every turn but the first."""
    row = said("Hi", "Yo", system="S")
    turns = "<|im_start|>system\nS<|im_end|>\n{0}user\nHi<|im_end|>\n{0}assistant{1}Yo<|im_end|>{2}"
    assert shown(row, conversation="chatml") == turns.format("<|im_start|>", "\n[", "]")
    assert shown(row, conversation="chatml", config={"mask": "axolotl"}) == turns.format("", "[\n", "\n]")


def test_there_is_one_begin_token(mistral_v1):
    """Axolotl writes none if nothing stands before the first turn, and two if the layout writes one."""
    for conversation in LAYOUTS:
        keys = {"type": "sharegpt", "conversation": conversation}
        (example,) = tunesmith.encode(said("Hi", "Yo"), dataset=keys, tokenizer=mistral_v1)
        assert example.input_ids[0] == 1
        assert example.input_ids[1] != 1


def test_a_turn_is_not_cut(encoded):
    row = said("one two three four five six seven", "Yo", "Go on", "Well")
    assert len(encoded(row, conversation="tulu", config={"sequence_len": 9}).input_ids) > 25
    cut = encoded(row, conversation="tulu", config={"sequence_len": 9, "mask": "axolotl"})
    assert len(cut.input_ids) < len(encoded(row, conversation="tulu").input_ids)


def test_the_end_of_an_empty_answer_is_trained(shown):
    row = said("a", "", "b", "c", system="S")
    assert "<|im_start|>assistant\n[<|im_end|>]<|im_start|>user" in shown(row, conversation="chatml")
    assert "assistant[\n]user" in shown(row, conversation="chatml", config={"mask": "axolotl"})


def test_no_turn_is_dropped_without_a_word(encoded, shown):
    row = {"conversations": [{"from": "bing", "value": "x"}, *said("a", "b")["conversations"]]}
    assert "x" not in shown(row, conversation="tulu", config={"mask": "axolotl"}).replace("<|", "")
    with pytest.raises(DataError, match="role bing"):
        encoded(row, conversation="tulu")


def test_what_axolotl_cannot_lay_out_is_laid_out(encoded, shown):
    assistant = {"conversations": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert shown(assistant, conversation="oasst_llama", field_model="assistant").endswith("[b<|im_end|>]")
    rounds = said("a", "b", "c", "d")
    assert "[Round 2]" in encoded(rounds, conversation="chatglm2").text
    for row, keys in (
        (assistant, {"conversation": "alpaca", "field_model": "assistant"}),
        (rounds, {"conversation": "chatglm2"}),
    ):
        with pytest.raises(DataError):
            encoded(row, **keys, config={"mask": "axolotl"})


def test_layouts_without_role_names_train_the_answers_alone(encoded, shown):
    assert shown(said("a", "b"), conversation="raw") == "a[b<|im_end|>]"
    example = encoded(said("a", "b"), conversation="raw", config={"mask": "axolotl"})
    assert set(example.labels) == {-100}


def test_an_answer_that_merges_with_its_role_is_tokenised_apart(llama3_1):
    keys = {"type": "sharegpt", "conversation": "tulu"}
    labels = {}
    for mask in ("served", "axolotl"):
        config = {"mask": mask}
        (example,) = tunesmith.encode(said("a", "\nb"), dataset=keys, config=config, tokenizer=llama3_1)
        labels[mask] = llama3_1.decode([label for label in example.labels if label >= 0])
    assert labels == {"served": "\nb\n<|eot_id|>", "axolotl": "b\n<|eot_id|>"}


TEXTS = st.sampled_from(
    ["Hello", " x", "y \n", "4", "(x)", '"q"', "> z", "<b>", "é🤖", "\n\nNew", "a\n\nb", "{c}", "|", "A"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from([*LAYOUTS]), texts=st.lists(TEXTS, min_size=2, max_size=6))
def test_the_prompt_is_how_the_training_tokens_begin(tokenizer, data, name, texts):
    row = said(*texts[: len(texts) // 2 * 2])
    dataset = Dataset.model_validate({"path": "x", "type": "sharegpt", "conversation": name})
    spec = FormatSpec(dataset, tokenizer=tokenizer)
    asked = question(row, spec, tokenizer)
    (example,) = tunesmith.encode(row, dataset={"type": "sharegpt", "conversation": name}, tokenizer=tokenizer)
    size = len(asked.input_ids)
    assert asked.input_ids == example.input_ids[:size]
    assert all(label >= 0 for label in example.labels[size:])
    assert example.labels[size - 1] == -100
    assert asked.reference == texts[: len(texts) // 2 * 2][-1]


def test_every_form_is_a_type():
    assert {"sharegpt", "sharegpt.load_role", "sharegpt_jokes", "instruct", "pygmalion", "llama2_chat"} <= set(FORMATS)


@pytest.mark.parametrize("family", ["tokenizer", "mistral_v1", "llama3_1"])
@pytest.mark.parametrize("name", sorted({*LAYOUTS} - {"codegeex"}))  # its prompt ends with blank lines
def test_a_server_feeds_the_tokens_that_are_trained(request, family, name):
    """The prompts of both answers, tokenized as one text, are how the sample starts."""
    tokenizer = request.getfixturevalue(family)
    dataset = {"type": "sharegpt", "conversation": name}
    row = said("Hi\n", "Yo", "2 + 2?", "4")
    (example,) = tunesmith.encode(row, dataset=dataset, tokenizer=tokenizer)
    ids, labels = example.input_ids, example.labels
    starts = [place for place in range(1, len(ids)) if labels[place] >= 0 > labels[place - 1]]
    assert len(starts) == 2
    (rendered,) = FORMATS["sharegpt"](row, FormatSpec(Dataset(path="x", **dataset), tokenizer=tokenizer))
    for start, last in zip(starts, (False, True), strict=True):
        served = tokenizer(full_text(rendered.prompt(last=last), tokenizer), add_special_tokens=False)["input_ids"]
        assert served == ids[int(ids[0] == tokenizer.bos_token_id != served[0]) : start]
    trained = tokenizer.decode([label for label in labels if label >= 0], clean_up_tokenization_spaces=False)
    assert trained.count(tokenizer.eos_token) == 2
    assert replaced_marks(tokenizer.decode(ids), tokenizer) == {}


def test_marks_that_are_tokens_stay_and_those_of_axolotl_always(shown, mistral_v1):
    keys = {"type": "sharegpt", "conversation": "alpaca"}
    (example,) = tunesmith.encode(said("Hi", "Yo"), dataset=keys, tokenizer=mistral_v1)
    assert example.text.endswith("### Instruction: Hi\n\n### Response: Yo</s>")
    assert example.labels[-1] == mistral_v1.eos_token_id
    text = shown(said("Hi", "Yo"), conversation="alpaca", config={"mask": "axolotl"})
    assert text.endswith("### Response:[ Yo</s><|im_end|>]")
    assert shown(said("Hi", "Yo </s>"), conversation="alpaca").endswith("[ Yo </s><|im_end|>]")  # the user's own text


def test_a_last_question_without_an_answer_stays_in_the_text(shown):
    text = shown(said("Hi", "Yo", "And?"), conversation="zephyr", config={"train_on_inputs": True})
    assert text.endswith("<|assistant|>\nYo<|im_end|>\n<|user|>\nAnd?<|im_end|>\n]")
