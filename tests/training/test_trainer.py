"""Evaluation gives one number for the same rows, whatever the batches."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainingArguments

from tunesmith.data.types import MASKED
from tunesmith.modeling.attention import DOCUMENTS, register_document_attention
from tunesmith.training.collate import FlatCollator, Sequences
from tunesmith.training.trainer import TokenMeanTrainer


@pytest.fixture(scope="module")
def model(tiny_model):
    register_document_attention()
    return AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=DOCUMENTS)


@pytest.fixture(scope="module")
def rows():
    """Rows of different lengths, a different share of them trained, and one without a trained token."""
    made = []
    for n in range(1, 8):
        ids = [(7 * n + 3 * place) % 1000 for place in range(5 * n)]
        made.append({"input_ids": ids, "labels": [MASKED] * n + ids[n:]})
    return [*made, {"input_ids": [1, 2, 3], "labels": [MASKED] * 3}]


def evaluate(model, rows, tmp_path, *, batch, packed):
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_eval_batch_size=batch,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        eval_strategy="epoch",
    )
    sets = rows if isinstance(rows, dict) else {"": rows}
    made = {name: Sequences(Dataset.from_list(part), packed=packed, sequence_len=64) for name, part in sets.items()}
    data = made if isinstance(rows, dict) else made[""]
    trainer = TokenMeanTrainer(
        model=model, args=arguments, eval_dataset=data, data_collator=FlatCollator(document_borders=True)
    )
    return trainer.evaluate()


@pytest.fixture(scope="module")
def expected(model, rows):
    """The mean over all trained tokens, computed row by row with plain `forward`."""
    model.eval()
    total = tokens = 0
    for row in rows:
        trained = sum(label != MASKED for label in row["labels"][1:])
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        if trained:
            borders = torch.tensor([0, ids.shape[1]])
            with torch.no_grad():
                total += model(input_ids=ids, labels=labels, cu_seq_lens_q=borders).loss.item() * trained
            tokens += trained
    return total / tokens, tokens


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_loss_is_the_mean_of_all_trained_tokens_whatever_the_batches(
    model, rows, expected, tmp_path, batch, packed
):
    found = evaluate(model, rows, tmp_path, batch=batch, packed=packed)
    assert found["eval_tokens"] == expected[1]
    assert found["eval_loss"] == pytest.approx(expected[0], abs=1e-5)
    assert found["eval_perplexity"] == pytest.approx(torch.tensor(expected[0]).exp().item(), rel=1e-4)


def test_the_model_is_back_in_training_mode(model, rows, tmp_path):
    evaluate(model, rows, tmp_path, batch=1, packed=False)
    assert model.training


def test_several_sets_have_a_loss_each_and_one_together(model, rows, tmp_path):
    sets = {"short": rows[:3], "long": rows[3:]}
    alone = {name: evaluate(model, part, tmp_path, batch=2, packed=False) for name, part in sets.items()}
    whole = evaluate(model, rows, tmp_path, batch=2, packed=False)
    found = evaluate(model, sets, tmp_path, batch=2, packed=False)
    for name, metrics in alone.items():
        assert found[f"eval_{name}_loss"] == pytest.approx(metrics["eval_loss"], rel=1e-6)
    assert found["eval_loss"] == pytest.approx(whole["eval_loss"], rel=1e-6)
    assert found["eval_tokens"] == whole["eval_tokens"]
    assert alone["short"]["eval_loss"] != pytest.approx(alone["long"]["eval_loss"], rel=1e-6)


def test_a_run_prints_and_records_the_loss_of_each_test_dataset(
    tmp_path, tiny_config, texts_file, write_jsonl, train, metrics, capsys
):
    other = write_jsonl(tmp_path / "numbers.jsonl", [{"text": f"{n} and {n} make {2 * n}."} for n in range(4)])
    tests = [{"path": str(path), "type": "completion"} for path in (texts_file, other)]
    output = train(tiny_config(tmp_path, test_datasets=tests, max_steps=2, eval_steps=2, eval_strategy="steps"))
    (found,) = [entry for entry in metrics(output) if "eval_loss" in entry]
    texts, numbers = found["eval_texts_loss"], found["eval_numbers_loss"]
    assert min(texts, numbers) < found["eval_loss"] < max(texts, numbers)
    assert f"  texts {texts:.4f}  numbers {numbers:.4f}" in capsys.readouterr().out
