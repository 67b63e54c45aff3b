"""A task of lm-eval, of a local file, with the real model; skipped where lm-eval is not installed."""

import json

import pytest
import yaml

from tunesmith.cli.evaluate import main


@pytest.mark.optional
def test_a_task_is_measured_and_an_unknown_one_is_an_error(tmp_path, write_config, write_jsonl, capsys):
    pytest.importorskip("lm_eval")
    rows = write_jsonl(tmp_path / "sums.jsonl", [{"first": number} for number in range(1, 5)])
    task = {
        "task": "sums",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "What is {{first}} + 1? It is",
        "doc_to_choice": ["a number", "purple"],
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    }
    (tmp_path / "sums.yaml").write_text(yaml.safe_dump(task))
    config = str(write_config(tmp_path))
    assert main([config, "--base", "--tasks", str(tmp_path / "sums.yaml")]) == 0
    assert "| sums | acc,none | 1.0000 ± 0.0000 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/evaluation/tasks.json").read_text())["base"]["sums"]["acc,none"] == 1
    assert main([config, "--base", "--tasks", "nonesuch"]) == 2
    assert "--tasks nonesuch: lm-eval says: " in capsys.readouterr().err
