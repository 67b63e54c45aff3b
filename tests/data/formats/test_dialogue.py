"""`pygmalion` and `llama2_chat`: what is trained, and where the default mode is other than Axolotl's."""

import pytest

import tunesmith
from tunesmith.errors import DataError

ROLE_PLAY = [("system", "Bot\n<START>"), ("human", "hi "), ("bot", " yo"), ("human", "2+2?"), ("bot", "4")]
CHAT = [("human", "Hello"), ("gpt", "Hi!"), ("human", "2+2?"), ("gpt", "4")]


def row(turns, role="from"):
    return {"conversations": [{role: name, "value": text} for name, text in turns]}


def shown(turns, tokenizer, kind, **config) -> str:
    """Return a conversation as text, with its trained parts in brackets."""
    values = row(turns, "role" if kind == "pygmalion" else "from")
    (example,) = tunesmith.encode(values, dataset={"type": kind}, config=config, tokenizer=tokenizer)
    text, on = "", False
    for token, label in zip(example.input_ids, example.labels, strict=True):
        text += ("" if (label >= 0) is on else "[" if label >= 0 else "]") + tokenizer.decode([token])
        on = label >= 0
    return text + ("]" if on else "")


def test_the_model_of_a_role_play_is_trained_without_its_name(tokenizer):
    persona = "<|system|>Persona: Bot"
    turns = "<|user|> hi<|model|>[ yo<|im_end|>]<|user|> 2+2?<|model|>[ 4<|im_end|>]"
    assert shown(ROLE_PLAY, tokenizer, "pygmalion") == persona + turns
    assert shown(ROLE_PLAY[1:], tokenizer, "pygmalion") == turns


def test_a_role_play_begins_with_one_begin_token(mistral_v1):
    """Axolotl writes one before each persona, and none where there is no persona."""
    for turns, count in ((ROLE_PLAY, 1), (ROLE_PLAY[1:], 0), ([*ROLE_PLAY, *ROLE_PLAY], 2)):
        found = {}
        for mask in ("served", "axolotl"):
            keys = {"dataset": {"type": "pygmalion"}, "config": {"mask": mask}, "tokenizer": mistral_v1}
            (example,) = tunesmith.encode(row(turns, "role"), **keys)
            found[mask] = example.input_ids.count(1)
        assert found == {"served": 1, "axolotl": count}


def test_inputs_are_trained_when_told_to(tokenizer):
    """Axolotl does not listen in these types."""
    for kind, turns in (("pygmalion", ROLE_PLAY), ("llama2_chat", CHAT)):
        whole = shown(turns, tokenizer, kind, train_on_inputs=True)
        assert whole.startswith("[")
        assert whole.endswith("]")
        assert "]<" not in whole
    assert shown(ROLE_PLAY, tokenizer, "pygmalion", train_on_inputs=True, mask="axolotl").startswith("<|system|>")


def test_answers_of_llama2_are_trained_with_the_end_token_of_the_tokenizer(tokenizer, mistral_v1):
    first = "[INST] <<SYS>>\nS\n<</SYS>>\n\nHello[/INST]"
    turns = [("system", "S"), *CHAT]
    assert shown(turns, tokenizer, "llama2_chat") == (f"{first}[ Hi! <|im_end|>][INST] 2+2? [/INST][ 4 <|im_end|>]")
    (example,) = tunesmith.encode(row(turns), dataset={"type": "llama2_chat"}, tokenizer=mistral_v1)
    assert mistral_v1.decode(example.input_ids) == f"<s> {first} Hi! </s><s> [INST] 2+2? [/INST] 4 </s>"
    assert mistral_v1.decode([label for label in example.labels if label >= 0]) == "Hi! </s> 4 </s>"


def test_llama2_has_the_tokens_of_axolotl_without_its_padding_and_with_right_labels(mistral_v1):
    """Axolotl's counted lengths fit only Llama-2's own tokenizer; else it trains nothing."""
    made = {}
    for mask in ("served", "axolotl"):
        keys = {"dataset": {"type": "llama2_chat"}, "config": {"mask": mask, "sequence_len": 300}}
        (made[mask],) = tunesmith.encode(row(CHAT), **keys, tokenizer=mistral_v1)
    size = len(made["served"].input_ids)
    assert made["axolotl"].input_ids[:size] == made["served"].input_ids
    assert len(made["axolotl"].input_ids) == 300


def test_an_empty_system_text_of_llama2_is_its_own(tokenizer):
    assert "helpful, respectful and honest" in shown(CHAT, tokenizer, "llama2_chat")
    assert "<<SYS>>\n\n<</SYS>>" in shown([("system", ""), *CHAT], tokenizer, "llama2_chat")


def test_a_last_question_is_left_out(tokenizer):
    assert shown([*CHAT, ("human", "bye")], tokenizer, "llama2_chat") == shown(CHAT, tokenizer, "llama2_chat")


FAULTS = [
    ("pygmalion", [("user", "a"), ("bot", "b")], "message 1: role user is none of system, human, bot"),
    ("pygmalion", [("human", "a"), ("human", "b")], "no turn is trained"),
    ("pygmalion", [("human", "a"), ("bot", " ")], "every answer is empty"),
    ("llama2_chat", CHAT[:1], "two messages or more"),
    ("llama2_chat", CHAT[1:], "should take turns, the human first; turn 1 is gpt's"),
    ("llama2_chat", [CHAT[0], CHAT[0]], "turn 2 is human's"),
    ("llama2_chat", [CHAT[0], ("bot", "b")], "message 2: role bot is neither human nor gpt"),
]


@pytest.mark.parametrize(("kind", "turns", "message"), FAULTS)
def test_a_row_at_fault_is_told_what_is_wrong(tokenizer, kind, turns, message):
    with pytest.raises(DataError, match=message):
        shown(turns, tokenizer, kind)
