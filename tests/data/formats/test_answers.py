"""Preference rows as tokens: what is seen is what trains."""

import json

import pytest

import tunesmith
from tunesmith.cli.preprocess import main as preprocess
from tunesmith.config.load import load
from tunesmith.data.splits import prepare_splits
from tunesmith.data.types import MASKED, Example
from tunesmith.errors import DataError

CHAT = {
    "messages": [{"role": "user", "content": "Say it."}],
    "chosen": {"role": "assistant", "content": "I say it."},
    "rejected": {"role": "assistant", "content": "No."},
}
TURNS = CHAT["messages"]
PAIR = {"prompt": "Say it.", "chosen": " I say it.", "rejected": " No."}
INTEL = {"system": "Be brief.", "question": "Say it.", "chosen": "I say it.", "rejected": "No."}
JUDGED = {"prompt": "Say it.", "completion": " I say it.", "label": False}


@pytest.fixture
def prepared(tmp_path, write_config, write_jsonl, tokenizer):
    """`prepared(rows, type, **keys)` is the prepared rows as examples, and the report."""

    def prepare(rows, kind=None, used=tokenizer, **keys):
        file = write_jsonl(tmp_path / "rows.jsonl", rows)
        entry = {"path": str(file)} | ({"type": kind} if kind else {})
        keys = {"rl": "dpo", "micro_batch_size": 2, "shuffle_merged_datasets": False} | keys
        splits = prepare_splits(load(str(write_config(tmp_path, datasets=[entry], **keys))), used)
        examples = [Example(row["input_ids"], row["labels"], split_index=row["border"]) for row in splits.train]
        return examples, splits.parts[0].reports[0]

    return prepare


@pytest.mark.parametrize(
    ("rl", "kind", "row"),
    [
        ("dpo", "chat_template.default", CHAT),
        ("ipo", "chatml.intel", INTEL),
        ("simpo", "chatml", INTEL | {"input": "Say it."}),
        ("dpo", None, PAIR),
        (
            "dpo",
            None,
            {key: [{"role": "user", "content": key}] for key in ("prompt",)}
            | {"chosen": [CHAT["chosen"]], "rejected": [CHAT["rejected"]]},
        ),
        ("orpo", "chat_template.argilla", {key: [*TURNS, CHAT[key]] for key in ("chosen", "rejected")}),
        ("kto", None, JUDGED),
        ("kto", "chatml.intel", {"question": "Say it.", "completion": "I say it.", "label": True}),
    ],
    ids=str,
)
def test_tokens_are_those_of_the_texts_that_encode_gives(rl, kind, row, prepared, tokenizer):
    (found,), _ = prepared([row], kind, rl=rl)
    (texts,) = tunesmith.encode(row, dataset={"type": kind}, config={"rl": rl}, tokenizer=tokenizer)
    answers = [texts.chosen, texts.rejected] if texts.label is None else [texts.completion]
    assert len(found.documents) == len(answers)
    for document, answer in zip(found.documents, answers, strict=True):
        prompt = tokenizer(texts.prompt, add_special_tokens=False)["input_ids"]
        ended = answer.rstrip() if answer.rstrip().endswith("<|im_end|>") else answer + tokenizer.eos_token
        assert document.input_ids == tokenizer(texts.prompt + ended, add_special_tokens=False)["input_ids"]
        assert document.labels == [MASKED] * len(prompt) + document.input_ids[len(prompt) :]
        assert document.input_ids.count(tokenizer.eos_token_id) == (texts.prompt + ended).count(tokenizer.eos_token)
    assert [document.label for document in found.documents] == ([True, False] if texts.label is None else [texts.label])


def test_whole_conversations_without_a_type_are_split_before_the_last_answer(prepared):
    row = {key: [*TURNS, CHAT[key]] for key in ("chosen", "rejected")}
    assert prepared([row])[0] == prepared([row], "chat_template.argilla_chat")[0]


def test_a_prompt_that_stands_in_both_texts_is_what_they_have_in_common(prepared):
    texts = {"chosen": "Say it. I say it.", "rejected": "Say it. I do not."}
    rest = {"prompt": "Say it. I", "chosen": " say it.", "rejected": " do not."}
    assert prepared([texts])[0] == prepared([rest])[0]


def test_no_prompt_at_all_is_a_bad_row(prepared):
    with pytest.raises(DataError, match=r"rows.jsonl:1: chosen and rejected have no prompt: name its column prompt"):
        prepared([{"chosen": "Yes.", "rejected": "No."}])


def test_a_begin_token_is_not_doubled(prepared, mistral_v1):
    (found,), _ = prepared([PAIR], used=mistral_v1)
    templated, _ = prepared([CHAT], "chat_template.default", used=mistral_v1, chat_template="mistral_v1")
    for document in (*found.documents, *templated[0].documents):
        assert document.input_ids[0] == mistral_v1.bos_token_id
        assert document.input_ids.count(mistral_v1.bos_token_id) == 1
        assert document.input_ids[-2:].count(mistral_v1.eos_token_id) == 1


LONG = PAIR | {"rejected": " No." * 40}


def test_a_pair_with_one_answer_too_long_is_dropped_and_named(prepared):
    found, report = prepared([PAIR, LONG], sequence_len=32)
    assert len(found) == 1
    (dropped,) = report.dropped
    assert (dropped.number, dropped.reason) == (2, "84 tokens, over sequence_len 32")
    with pytest.raises(DataError, match=r"rows.jsonl:2: 84 tokens, over sequence_len 32; raise sequence_len"):
        prepared([PAIR, LONG], sequence_len=32, excess_length_strategy="raise")


def test_a_long_answer_can_be_cut(prepared):
    (_, cut), _ = prepared([PAIR, LONG], sequence_len=32, excess_length_strategy="truncate")
    assert [len(document.input_ids) for document in cut.documents] == [8, 32]


def test_a_bad_row_is_named(prepared):
    rows = [PAIR] * 20 + [{"prompt": "Say it.", "chosen": " I say it."}]
    _, report = prepared(rows)
    assert [(row.number, row.reason) for row in report.bad] == [
        (21, "column rejected is missing; found prompt, chosen")
    ]


def test_the_cache_knows_the_kind(prepared, tmp_path):
    prepared([PAIR])
    prepared([PAIR], rl="orpo")
    prepared([PAIR])
    assert len([item for item in (tmp_path / "prepared").iterdir() if item.is_dir()]) == 2


def test_the_debug_view_shows_both_answers(tmp_path, write_config, write_jsonl, capsys):
    file = write_jsonl(tmp_path / "rows.jsonl", [PAIR])
    assert preprocess([str(write_config(tmp_path, rl="dpo", datasets=[{"path": str(file)}])), "--debug"]) == 0
    printed = capsys.readouterr().out
    assert "rows.jsonl:1, chosen" in printed
    assert "rows.jsonl:1, rejected" in printed
    assert printed.count("trained: ") == 2
    assert "1 rows -> 1 samples" in printed
    report = json.loads(next((tmp_path / "prepared").glob("*/report.json")).read_text())
    assert report[0]["kept"] == 1
