"""`evaluate` on the real model: the loss is that of the model, the answers are those of inference."""

import json
import math
from importlib.util import find_spec

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
    """Evaluate the base model on eight held-out rows; returns the JSON report and the rows."""
    folder = tmp_path_factory.mktemp("evaluate")
    rows = chat_rows(16)
    write_jsonl(folder / "train.jsonl", rows[:8])
    write_jsonl(folder / "held_out.jsonl", rows[8:])
    (folder / "rules.py").write_text(RULES)
    config = write_config(
        folder,
        datasets=[{"path": str(folder / "train.jsonl"), "type": "chat_template"}],
        test_datasets=[{"path": str(folder / "held_out.jsonl"), "type": "chat_template"}],
        bf16=False,
        evaluation={"assertions": "rules.py", "max_new_tokens": 8, "batch_size": 3, "metrics": ["similarity"]},
    )
    assert main([str(config), "--base", "--output", str(folder / "report.json")]) == 0
    return json.loads((folder / "report.json").read_text()), rows[8:], config


def test_the_loss_is_the_mean_over_trained_tokens_of_a_plain_forward(evaluated, tokenizer, model_folder):
    report, rows, _ = evaluated
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
    report, rows, _ = evaluated
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    for row, judged in zip(rows, report["rows"], strict=True):
        prompt = tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_tensors="pt")
        made = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt.input_ids.shape[1] :]
        assert judged["answers"]["base"]["text"] == tokenizer.decode(made, skip_special_tokens=True)
        assert judged["reference"] == row["messages"][-1]["content"]


def test_the_assertions_judge_every_answer(evaluated):
    report, rows, _ = evaluated
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
    assert "has no adapter yet; run tunesmith train first" in capsys.readouterr().err


def test_markdown_and_page_lie_beside_the_json(evaluated):
    report, _, config = evaluated
    assert "pass all assertions, of 8" in (config.parent / "report.md").read_text()
    page = (config.parent / "report.html").read_text()
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert 0 <= report["summary"]["base"]["metrics"]["similarity"]["value"] <= 1


@pytest.fixture(scope="module")
def gate(evaluated, tmp_path_factory):
    """`gate(change, *options)` evaluates again with the report, changed, as baseline; returns the exit code."""
    report, _, config = evaluated

    def run(change, *options):
        folder = tmp_path_factory.mktemp("gate")
        earlier = json.loads(json.dumps(report))
        change(earlier["rows"])
        (folder / "earlier.json").write_text(json.dumps(earlier))
        names = ["--baseline", str(folder / "earlier.json"), "--output", str(folder / "new.json")]
        return main([str(config), "--base", *names, *options])

    return run


def answer_all(rows, passing):
    for number, row in enumerate(rows):
        row["answers"]["base"] = {"text": "It is so." if number < passing else "No."}


def test_a_model_that_is_significantly_worse_than_its_baseline_ends_with_6(gate, evaluated, capsys):
    passed = evaluated[0]["summary"]["base"]["passed"]
    assert passed <= 2, "the base model would have to answer otherwise for this test"
    assert gate(lambda rows: answer_all(rows, 8)) == 6
    printed = capsys.readouterr().out
    assert "baseline -> base, 8 rows (pass all assertions):" in printed
    assert "worse: base against baseline, " in printed


def test_a_model_like_its_baseline_ends_with_0(gate, capsys):
    assert gate(lambda rows: rows.reverse(), "--max-drop", "0") == 0  # the order does not matter
    assert "cannot tell from 8 rows: base against baseline, +0.0 points" in capsys.readouterr().out


def test_a_drop_that_is_not_significant_ends_with_6_if_it_is_more_than_allowed(gate, evaluated, capsys):
    more = evaluated[0]["summary"]["base"]["passed"] + 2
    assert gate(lambda rows: answer_all(rows, more), "--max-drop", "0.1") == 6
    assert "worse: the pass rate fell by more than --max-drop 0.1" in capsys.readouterr().out


def test_a_baseline_over_other_rows_is_an_error_that_counts_them(gate, capsys):
    assert gate(lambda rows: rows[0].update(question="Another?")) == 3
    assert "has other rows: 7 of its 8 rows are among the 8 of this evaluation" in capsys.readouterr().err


def test_wrong_baselines_are_named(evaluated, tmp_path, capsys):
    _, _, config = evaluated
    report = config.parent / "report.json"
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "out").mkdir()
    for options, message in (
        (["--baseline", str(tmp_path / "out")], "there is no "),
        (["--baseline", str(tmp_path / "other.json")], "is no report of `tunesmith evaluate`"),
        (["--baseline", str(report), "--output", str(report)], "the new report would replace it; set --output"),
        (["--max-drop", "0.1"], "--max-drop needs --baseline"),
        (["--output", "report.md"], "name the JSON report"),
    ):
        assert main([str(config), "--base", *options]) == 2
        assert message in capsys.readouterr().err


def test_tasks_need_lm_eval(evaluated, capsys):
    if find_spec("lm_eval"):
        pytest.skip("it is installed")
    assert main([str(evaluated[2]), "--base", "--tasks", "arc_easy"]) == 2
    assert "--tasks needs lm-eval: pip install 'tunesmith[lm-eval]'" in capsys.readouterr().err


def test_rows_and_answers_at_once_are_as_many_as_asked_for(evaluated, monkeypatch, tmp_path):
    asked = []

    def generate(variant, prompts, *_, batch_size, **__):
        asked.append((len(prompts), batch_size))
        return ["It is so."] * len(prompts)

    monkeypatch.setattr("tunesmith.evals.evaluate.generate", generate)
    keys = ["--evaluation.max-rows", "2", "--evaluation.batch-size", "5"]
    assert main([str(evaluated[2]), "--base", "--output", str(tmp_path / "report.json"), *keys]) == 0
    assert asked == [(2, 5)]
