"""Documents laid end to end give the losses and logits that they have alone, on the real model."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tunesmith.data.types import MASKED, Example
from tunesmith.modeling.attention import DOCUMENTS, register_document_attention
from tunesmith.training.collate import ROUND, FlatCollator, Sequences, pieces

TEXTS = ["Paris is the capital of France.", "Two and two make four.", "Grass is green, and the sky is blue.", "No."]


@pytest.fixture(scope="module")
def documents(tokenizer):
    """Documents of which the second half is trained, and one that is trained from its first token."""
    made = []
    for text in TEXTS:
        ids = tokenizer(text).input_ids
        border = 0 if text == TEXTS[1] else len(ids) // 2
        made.append(Example(ids, [MASKED] * border + ids[border:]))
    return made


@pytest.fixture(scope="module")
def model(model_folder):
    register_document_attention()
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def losses_alone(model, documents):
    """Sum of the losses of each document alone, by the plain `forward` with labels, and how many tokens count."""
    model.set_attn_implementation("sdpa")
    alone = []
    for ids, labels, *_ in documents:
        trained = sum(label != MASKED for label in labels[1:])
        with torch.no_grad():
            mean = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
        alone.append((mean * trained, trained))
    return alone


def flat(model, batch):
    with torch.no_grad():
        return model(**batch)


@pytest.mark.parametrize("keep_logits", [True, False])
@pytest.mark.parametrize("attention", [DOCUMENTS, "sdpa", "eager"])
def test_the_loss_of_a_packed_row_is_the_mean_over_its_documents_tokens(
    model, documents, losses_alone, attention, keep_logits
):
    model.set_attn_implementation(attention)
    batch = FlatCollator(attention == DOCUMENTS, keep_logits)([documents[:2], documents[2:]])
    expected = sum(loss for loss, _ in losses_alone) / sum(trained for _, trained in losses_alone)
    assert flat(model, batch).loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("attention", [DOCUMENTS, "sdpa", "eager"])
def test_the_logits_of_a_document_do_not_change_with_its_neighbours(model, documents, attention):
    model.set_attn_implementation(attention)
    collate = FlatCollator(attention == DOCUMENTS, keep_logits=False)
    size = len(documents[1].input_ids)
    alone = flat(model, collate([[documents[1]]])).logits[0]
    first = flat(model, collate([[documents[1], documents[0]]])).logits[0, :size]
    last = flat(model, collate([[documents[2], documents[0]], [documents[1]]])).logits[0, -size:]
    torch.testing.assert_close(first, alone, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(last, alone, atol=2e-4, rtol=1e-4)


def test_kept_logits_are_those_of_the_positions_that_predict_a_trained_token(model, documents):
    model.set_attn_implementation(DOCUMENTS)
    kept, everything = (flat(model, FlatCollator(True, keep)([documents])).logits[0] for keep in (True, False))
    places, offset = [], 0
    for ids, labels, *_ in documents:
        places += [offset + place for place in range(len(ids) - 1) if labels[place + 1] != MASKED]
        offset += len(ids)
    torch.testing.assert_close(kept, everything[places], atol=2e-4, rtol=1e-4)


def test_the_last_token_of_a_document_predicts_nothing():
    first, second = Example([1, 2, 3], [MASKED, 2, 3]), Example([4, 5], [4, 5])
    batch = FlatCollator(document_borders=True, keep_logits=False)([[first, second]])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["shift_labels"].tolist() == [[2, 3, MASKED, 5, MASKED]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5]


def test_only_positions_with_a_target_are_kept():
    batch = FlatCollator()([[Example([1, 2, 3, 4], [MASKED, MASKED, 3, MASKED])]])
    assert batch["logits_to_keep"].tolist() == [1]
    assert batch["shift_labels"].tolist() == [[3]]
    assert "cu_seq_lens_q" not in batch


def test_sequences_hold_every_sample_once_packed_or_not():
    from datasets import Dataset

    samples = [{"input_ids": [n] * n, "labels": [n] * n, "file": "f", "row": n} for n in (3, 5, 2, 8, 1)]
    prepared = Dataset.from_list(samples)
    packed = Sequences(prepared, packed=True, sequence_len=8)
    single = Sequences(prepared, packed=False, sequence_len=8)
    assert [len(sequence) for sequence in (single[index] for index in range(len(single)))] == [1] * 5
    assert single[1] == [Example([5] * 5, [5] * 5)]
    assert len(packed) == 3
    documents = [document.input_ids for index in range(len(packed)) for document in packed[index]]
    assert sorted(map(len, documents)) == [1, 2, 3, 5, 8]
    assert all(sum(len(document.input_ids) for document in packed[index]) <= 8 for index in range(len(packed)))
    assert packed.tokens == single.tokens == 19


@pytest.mark.parametrize("keep_logits", [True, False])
def test_the_pieces_of_a_batch_have_its_loss(model, documents, monkeypatch, keep_logits):
    monkeypatch.setattr("tunesmith.training.collate.PIECE", 12)
    model.set_attn_implementation(DOCUMENTS)
    batch = FlatCollator(True, keep_logits)([documents])
    parts = pieces(batch)
    assert len(parts) > 2
    total = 0.0
    for part in parts:
        assert part["input_ids"].shape[1] % ROUND == 0
        trained = int((part["shift_labels"] != MASKED).sum())
        total += flat(model, part).loss.item() * trained
    trained = int((batch["shift_labels"] != MASKED).sum())
    assert total / trained == pytest.approx(flat(model, batch).loss.item(), abs=1e-4)


def test_pieces_are_whole_documents_and_little_is_filled_up():
    rows = [[Example([1] * size, [MASKED] + [1] * (size - 1))] for size in (700, 800, 40, 2000, 30, 1500)]
    batch = FlatCollator(True)(rows)
    parts = pieces(batch)
    sizes = [part["cu_seq_lens_q"].diff().tolist() for part in parts]
    assert [[size for size in found if size >= ROUND or size == 30] for found in sizes] == [
        [700, 800],
        [40],
        [2000],
        [30, 1500],
    ]
    assert sum(part["input_ids"].numel() for part in parts) < batch["input_ids"].numel() + len(parts) * ROUND
    assert all(int((part["position_ids"] == 0).sum()) == len(part["cu_seq_lens_q"]) - 1 for part in parts)


def test_only_trained_positions_are_projected_onto_the_vocabulary(model, documents):
    model.set_attn_implementation(DOCUMENTS)
    (part,) = pieces(FlatCollator(True)([documents]))
    trained = sum(label != MASKED for ids, labels, *_ in documents for label in labels[1:])
    assert trained <= flat(model, part).logits.shape[1] < trained + ROUND
