"""Planted faults, one a finding: each is found, with its row; and a clean set has none."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.checks.catalogue import known_findings


def chat(*contents, system="You help.", roles=("user", "assistant")):
    """Return a row with a system turn and turns of the given roles in turn."""
    turns = [{"role": roles[index % 2], "content": text} for index, text in enumerate(contents)]
    return {"messages": [{"role": "system", "content": system}, *turns]}


def alpaca(instruction="Name a bee.", output="A mason bee.", **more):
    return {"instruction": instruction, "output": output, **more}


CLEAN_CHATS = [chat(f"Where is hive {n}?", f"Hive {n} stands under tree {n * 7}.") for n in range(20)]
CLEAN = CLEAN_CHATS[:6]
CLEAN_ALPACA = [alpaca(f"Where is hive {n}?", f"Hive {n} stands under tree {n * 7}.") for n in range(6)]


def messages(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


CHAT_FAULTS = {
    "end-in-answer": chat("Stop.", "One.<|im_end|>Two."),
    "control-token-in-text": chat("Read <filename> and <|im_start|>.", "Done."),
    "roles-not-alternating": messages(("user", "a?"), ("user", "b?"), ("assistant", "c.")),
    "empty-turn": chat("Say it.", "Yes.", "", "No."),
    "ends-unanswered": chat("Say it.", "Yes.", "And now?"),
    "default-system": messages(("user", "Is there a system turn?"), ("assistant", "Not of ours.")),
    "answer-edge-space": chat("Begin.", " with a space"),
    "end-doubled": chat("Stop.", "Here.<|im_end|>"),
    "mojibake": chat("Translate.", "le cafÃ© est fermÃ©"),
    "replacement-character": chat("Translate.", "le caf\ufffd"),
    "control-character": chat("Print.", "a\x1b[31mred"),
    "invisible-character": chat("\ufeffPrint.", "Printed."),
    "decomposed-letters": chat("Translate.", "le cafe\u0301"),
    "secret": chat("My key is ghp_" + "a1B2" * 9, "Keep it."),
    "email-address": chat("Write to maja@hive.io today.", "Sent."),
    "over-length": chat("Count.", " ".join(map(str, range(300))) + "."),
    "bad-row": {"messages": [{"role": "user", "content": "No answer?"}]},
    "duplicate-row": CLEAN[1],
    "name-dropped": {
        "messages": [
            {"role": "user", "content": "Who am I?", "name": "Maja"},
            {"role": "assistant", "content": "A bee."},
        ]
    },
    "role-unknown": messages(("prompter", "Who am I?"), ("assistant", "A bee.")),
    "column-unread": chat("How are you?", "Fine.") | {"mood": "glad"},
}


@pytest.mark.parametrize("code", CHAT_FAULTS)
def test_a_planted_fault_of_a_conversation_is_found_in_its_row(code, examine, found):
    report = found(examine([*CLEAN[:3], CHAT_FAULTS[code], *CLEAN[3:]]))
    assert code in report
    assert report[code].count == 1
    (hit,) = report[code].hits
    assert (hit.file.endswith("rows.jsonl"), hit.row) == (True, 4)
    assert report[code].severity == (
        "error" if code == "bad-row" else known_findings()[code].severity
    )  # one in seven is a lot


ALPACA_FAULTS = {
    "end-in-answer": alpaca(output="One.<|im_end|>Two."),
    "control-token-in-text": alpaca("Read <filename>."),
    "answer-edge-space": alpaca(output="Yes.\n"),
    "bad-row": {"instruction": "No output?"},
}


@pytest.mark.parametrize("code", ALPACA_FAULTS)
def test_a_planted_fault_of_an_instruction_row_is_found_in_its_row(code, examine, found):
    report = found(examine([*CLEAN_ALPACA[:3], ALPACA_FAULTS[code], *CLEAN_ALPACA[3:]], "alpaca"))
    assert [hit.row for hit in report[code].hits] == [4]


SEGMENTS = {
    "prompt-ends-in-space": [("Question: a?\nAnswer: ", False), ("b<|im_end|>", True)],
    "prompt-parts-differ": [("Question: hel", False), ("lo?\n", False), ("b<|im_end|>", True)],
    "boundary-merge": [("Question: hel", False), ("lo<|im_end|>", True)],
    "answer-glued": [("Answer:", False), ("b<|im_end|>", True)],
}


@pytest.mark.parametrize("code", SEGMENTS)
def test_a_planted_fault_of_segments_is_found_in_its_row(code, examine, found):
    good = {"segments": [{"text": "Question: a?\n", "label": False}, {"text": "Yes.<|im_end|>", "label": True}]}
    bad = {"segments": [{"text": text, "label": label} for text, label in SEGMENTS[code]]}
    report = found(examine([good, bad], "input_output"))
    assert [hit.row for hit in report[code].hits] == [2]
    assert report[code].severity == known_findings()[code].severity


@pytest.mark.parametrize(("rows", "type"), [(CLEAN, "chat_template"), (CLEAN_ALPACA, "alpaca")])
def test_a_clean_set_has_no_finding_but_that_pad_equals_eos(rows, type, examine, found):
    assert found(examine(rows, type)).keys() == {"pad-equals-eos"}
    assert found(examine(rows, type, mask="axolotl")).keys() == {"pad-equals-eos"}
    assert found(examine(rows, type, quick=True)).keys() == {"pad-equals-eos"}


@pytest.mark.parametrize("style", ["instruct", "chatml"])
def test_a_clean_set_of_a_style_has_no_finding_either(style, examine, found):
    assert found(examine(CLEAN_ALPACA, f"alpaca:{style}")).keys() == {"pad-equals-eos"}


SHAREGPT = [
    {
        "conversations": [
            {"from": "system", "value": "You help."},
            {"from": "human", "value": f"Where is hive {n}?"},
            {"from": "gpt", "value": f"Under tree {n * 7}."},
            {"from": "human", "value": f"And {n + 30}?"},
            {"from": "gpt", "value": f"Under tree {n * 7 + 210}."},
        ]
    }
    for n in range(6)
]


def test_a_clean_set_of_sharegpt_has_no_finding_either(examine, found):
    report = examine(SHAREGPT, "sharegpt", dataset={"conversation": "chatml"})
    assert found(report).keys() == {"pad-equals-eos"}
    assert report.figures[0].by_role["assistant"][::2] == (12, 12)
    assert report.figures[0].end_trained == 6


def test_replaced_marks_of_a_layout_are_counted(examine, found):
    report = found(examine(SHAREGPT, "sharegpt", dataset={"conversation": "alpaca"}))["layout-mark-replaced"]
    assert (report.severity, report.count, report.hits[0].detail) == ("info", 6, "`</s>` by `<|im_end|>`")


def test_the_course_example_is_served_with_other_tokens_than_it_was_trained_with(examine, found, mistral_v1):
    """Axolotl tokenizes each turn alone: ` ### Response` is one token in training and another in the prompt."""
    keys = {"conversation": "alpaca"}
    report = found(examine(SHAREGPT, "sharegpt", dataset=keys, with_tokenizer=mistral_v1))
    assert not {"prompt-parts-differ", "boundary-merge"} & set(report)
    report = found(examine(SHAREGPT, "sharegpt", dataset=keys | {"mask": "axolotl"}, with_tokenizer=mistral_v1))
    assert report["prompt-parts-differ"].count == 6
    assert report["prompt-parts-differ"].hits[0].detail.endswith("is '###' for one text, '▁###' as trained")


@pytest.mark.parametrize(
    "family", ["mistral_v1", "mistral_v3", "mistral_v7", "tekken", "qwen", "deepseek_v4", "qwen3", "llama3_1", "gemma3"]
)
def test_a_clean_set_has_no_warning_with_the_tokenizers_of_other_models(family, examine, request):
    tokenizer = request.getfixturevalue(family)
    sets = [(CLEAN_ALPACA, "alpaca"), *([(CLEAN, "chat_template")] if tokenizer.chat_template else [])]
    for rows, type in sets:
        report = examine(rows, type, with_tokenizer=tokenizer)
        about_the_model = {"vocabulary-mismatch", "token-without-embedding", "stop-differs"}  # it is another one's
        rest = [item for item in report.findings if item.code not in about_the_model]
        assert [item for item in rest if item.severity != "info"] == []


WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
TEXT = st.lists(WORDS | st.sampled_from(["größer", "façade", "日本", "🐝", "`x = 1`", "a, b"]), min_size=2, max_size=12)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(TEXT.map(" ".join), min_size=8, max_size=8, unique=True))
def test_clean_rows_give_no_warning_whatever_they_say(contents, examine):
    rows = [chat(*contents[:4]), chat(*contents[4:])]
    assert [item for item in examine(rows).findings if item.severity != "info"] == []
    instructions = [alpaca(contents[0], contents[1]), alpaca(contents[2], contents[3], input=contents[4])]
    assert [item for item in examine(instructions, "alpaca").findings if item.severity != "info"] == []


def test_a_row_is_counted_once_for_each_finding(examine, found):
    row = chat("a@hive.io b@hive.io", " one", "c@hive.io", " two")
    report = found(examine([*CLEAN, row]))
    assert (report["email-address"].count, report["answer-edge-space"].count) == (1, 1)


def test_only_the_first_twenty_rows_of_a_finding_are_kept(examine, found):
    rows = [chat(f"Write to bee{n}@hive.io.", f"Sent {n}.") for n in range(30)]
    assert (found(examine(rows))["email-address"].count, len(found(examine(rows))["email-address"].hits)) == (30, 20)


def test_bad_rows_are_grouped_by_their_reason(examine):
    broken = [{"messages": [{"role": "user"}]}, {"messages": []}, {"messages": [{"role": "user"}]}]
    groups = [
        item for item in examine([*CLEAN * 10, *broken], dataset={"shards": 1}).findings if item.code == "bad-row"
    ]
    assert [(item.count, item.severity) for item in groups] == [(2, "warning"), (1, "warning")]
    assert "message 1 has no content" in groups[0].title


def test_a_row_with_nothing_trained_is_counted(examine, found):
    rows = [*copy.deepcopy(CLEAN), *CLEAN_CHATS[6:]]
    rows[2]["messages"][-1]["train"] = False
    report = examine(rows, dataset={"message_field_training": "train"}, mask="axolotl")
    assert report.figures[0].nothing_trained == 1
    assert [hit.row for hit in found(report)["nothing-trained"].hits] == [3]
    assert found(report)["nothing-trained"].severity == "warning"


@pytest.mark.parametrize("rows", [[], [{"messages": []}]])
def test_a_dataset_of_which_nothing_is_left(rows, examine, found):
    assert found(examine(rows))["nothing-left"].severity == "error"


def test_a_sample_that_is_too_short(examine, found):
    report = found(examine([*CLEAN_ALPACA, alpaca("?", "!")], "alpaca", min_sample_len=42))
    assert [hit.row for hit in report["under-length"].hits] == [7]


def test_a_vocabulary_that_lacks_a_word(examine, found):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(["<unk>", "</s>", "bees", "dance", "sing"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    small = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>", pad_token="</s>")
    rows = [{"text": "bees dance"}, {"text": "bees hum"}]
    report = found(examine(rows, "completion", with_tokenizer=small))
    assert [hit.row for hit in report["unknown-token"].hits] == [2]
    assert [hit.row for hit in report["roundtrip-differs"].hits] == [2]
    assert "'hum</s>' comes back as '<unk></s>'" in report["roundtrip-differs"].hits[0].detail


def test_a_begin_token_that_is_missing(examine, found, retokenised):
    def change(content):
        begin = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
        one = [begin, {"Sequence": {"id": "A", "type_id": 0}}]
        known = {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": one,
            "pair": [*one, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": known,
        }

    adds = retokenised(change)
    assert "bos-missing" not in found(examine(CLEAN, with_tokenizer=adds))  # its template begins with the token
    jinja = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    jinja += "{% if add_generation_prompt %}assistant:\n{% endif %}"
    report = found(examine(CLEAN, with_tokenizer=adds, chat_template="jinja", chat_template_jinja=jinja))
    assert (report["bos-missing"].count, report["bos-missing"].severity) == (6, "warning")
    assert "bos-missing" not in found(examine(CLEAN_ALPACA, "alpaca", with_tokenizer=adds))


@pytest.mark.parametrize(
    ("strategy", "code", "severity"),
    [("drop", "over-length", "warning"), ("raise", "over-length", "error"), ("truncate", "answer-cut", "warning")],
)
def test_what_is_cut_at_sequence_len(strategy, code, severity, examine, found):
    rows = [*CLEAN, chat("Count.", " ".join(map(str, range(300))) + ".")]
    report = examine(rows, excess_length_strategy=strategy)
    assert (found(report)[code].severity, [hit.row for hit in found(report)[code].hits]) == (severity, [7])
    assert report.figures[0].samples == (7 if strategy == "truncate" else 6)
    assert max(report.figures[0].lengths) > 256


def test_an_end_that_is_never_trained_is_an_error_and_an_end_that_is_missing_somewhere_a_warning(examine, found):
    rows = [alpaca(f"Count to {n}.", " ".join(map(str, range(n))) + ".") for n in (3, 4, 5)]
    long = alpaca("Count.", " ".join(map(str, range(600))) + ".")
    keys = {"mask": "axolotl", "sequence_len": 256, "excess_length_strategy": "truncate"}
    assert found(examine([*rows, long], "alpaca", **keys))["end-untrained"].severity == "warning"
    assert found(examine([long, long | {"output": "9 " * 600}], "alpaca", **keys))["end-untrained"].severity == "error"
    assert "end-untrained" not in found(examine(CLEAN, dataset={"train_on_eos": "none"}))


def test_a_begin_token_that_stands_twice(examine, found):
    rows = [{"text": f"<|im_start|><|im_start|>A text of bees, number {n}."} for n in range(2)]
    assert found(examine([{"text": "Plain."}, *rows], "completion"))["bos-doubled"].count == 2


def test_figures(examine):
    figures = examine(CLEAN, sample_packing=True).figures[0]
    assert (figures.rows, figures.samples, figures.nothing_trained, figures.end_trained) == (6, 6, 0, 6)
    assert figures.by_role == {"system": (6, 54, 0), "user": (6, 96, 0), "assistant": (6, 166, 6)}
    assert figures.tokens == sum(figures.lengths)
    assert 0 < figures.trained < figures.tokens
    assert figures.packing == pytest.approx(figures.tokens / 256)


def test_samples_are_kept_for_the_page_with_their_findings_and_their_pieces(examine, tokenizer):
    report = examine([*CLEAN, CHAT_FAULTS["mojibake"]])
    first = report.samples[0]
    assert (first.row, first.codes) == (7, ("mojibake",))
    assert "".join(first.pieces).endswith("est fermÃ©<|im_end|>\n") or "fermÃ" in "".join(first.pieces)
    assert len(first.pieces) == len(first.input_ids) == len(first.labels)
    assert len(report.samples) == 7


def test_content_that_the_template_drops(examine, found):
    jinja = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split(' (')[0] }}<|im_end|>\n{% endfor %}"
    jinja += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    row = messages(("system", "s"), ("user", "Weather?"), ("assistant", "Warm (21 C)."))
    report = found(examine([*CLEAN, row], chat_template="jinja", chat_template_jinja=jinja))
    assert (report["content-dropped"].severity, report["content-dropped"].hits[0].row) == ("error", 7)
    assert "21 C" in report["content-dropped"].hits[0].detail


def test_reasoning_that_the_template_drops(examine, found):
    row = chat("2 + 2?", "4")
    row["messages"][2]["reasoning_content"] = "Two and two."
    report = found(examine([*CLEAN, row]))
    assert [hit.row for hit in report["reasoning-dropped"].hits] == [7]
