"""`evaluate` on the real model: the loss is that of the model, the answers are those of inference."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from tunesmith.cli.evaluate import main

pytestmark = pytest.mark.slow

RULES = """
def test_is_a_sum(answer):
    \"\"\"An answer states a sum.\"\"\"
    assert answer.startswith("It is"), f"starts with {answer[:5]!r}"
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, write_config, write_jsonl, chat_rows):
    """Evaluate the base model on four held-out rows; returns the JSON report and the rows."""
    folder = tmp_path_factory.mktemp("evaluate")
    rows = chat_rows(12)
    write_jsonl(folder / "train.jsonl", rows[:8])
    write_jsonl(folder / "held_out.jsonl", rows[8:])
    (folder / "rules.py").write_text(RULES)
    config = write_config(
        folder,
        datasets=[{"path": str(folder / "train.jsonl"), "type": "chat_template"}],
        test_datasets=[{"path": str(folder / "held_out.jsonl"), "type": "chat_template"}],
        bf16=False,
        evaluation={"assertions": "rules.py", "max_new_tokens": 8, "batch_size": 3},
    )
    assert main([str(config), "--base", "--output", str(folder / "report.json")]) == 0
    return json.loads((folder / "report.json").read_text()), rows[8:]


def test_the_loss_is_the_mean_over_trained_tokens_of_a_plain_forward(evaluated, tokenizer, model_folder):
    report, rows = evaluated
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    total, count = 0.0, 0
    for row in rows:
        prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True).input_ids
        answer = tokenizer(row["messages"][-1]["content"] + "<|im_end|>").input_ids
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            loss = model(torch.tensor([prompt + answer]), labels=labels).loss.item()
        total, count = total + loss * len(answer), count + len(answer)
    summary = report["summary"]["base"]
    assert summary["tokens"] == count
    assert math.isclose(summary["loss"], total / count, rel_tol=1e-4)
    assert math.isclose(summary["perplexity"], math.exp(summary["loss"]))


def test_answers_are_what_the_model_says_to_the_rows_prompts(evaluated, tokenizer, model_folder):
    report, rows = evaluated
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    for row, judged in zip(rows, report["rows"], strict=True):
        prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_tensors="pt")
        made = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt.input_ids.shape[1] :]
        assert judged["answers"]["base"]["text"] == tokenizer.decode(made, skip_special_tokens=True)
        assert judged["reference"] == row["messages"][-1]["content"]


def test_the_assertions_judge_every_answer(evaluated):
    report, rows = evaluated
    failed = [row for row in report["rows"] if not row["answers"]["base"]["text"].startswith("It is")]
    assert report["summary"]["base"]["passed"] == len(rows) - len(failed)
    for row in failed:
        text = row["answers"]["base"]["text"]
        assert row["answers"]["base"]["failed"] == {"test_is_a_sum": f"starts with {text[:5]!r}"}


def test_a_config_without_held_out_rows_is_refused(tmp_path, write_config, capsys):
    assert main([str(write_config(tmp_path))]) == 2
    assert "nothing to evaluate on; set `val_set_size: 0.05`" in capsys.readouterr().err


def test_nothing_trained_yet_is_said_so(tmp_path, write_config, capsys):
    assert main([str(write_config(tmp_path, val_set_size=2))]) == 4
    assert "holds no adapter yet; run tunesmith train first" in capsys.readouterr().err
