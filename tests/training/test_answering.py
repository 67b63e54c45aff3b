"""Answers to held-out prompts during training: what is asked and written down; training does not notice."""

import json
from pathlib import Path

import pytest

from tunesmith.cli.train import main
from tunesmith.config.load import load
from tunesmith.data.formats.specs import format_specs
from tunesmith.data.question import question
from tunesmith.data.splits import prepare_splits
from tunesmith.data.types import MASKED, Example
from tunesmith.errors import ConfigError
from tunesmith.modeling.generate import find_hidden_tokens
from tunesmith.modeling.load import load_base_model
from tunesmith.sections import EvaluationSection
from tunesmith.training import answering
from tunesmith.training.answering import answers_during_training, sampling, scores, split
from tunesmith.training.record.run_record import RunRecord

HELD_OUT = {"max_steps": 4, "val_set_size": 4, "eval_steps": 2, "save_steps": 2, "lora_dropout": 0.5}
SAMPLES = {"generate_samples": True, "generation_max_new_tokens": 4}
SCORES = {"do_causal_lm_eval": True, "eval_causal_lm_metrics": ["chrf", "perplexity"]}


def samples(output):
    return [json.loads(line) for line in (output / "run/samples.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_config, train):
    """The output of a run without answers."""
    return train(tiny_config(tmp_path_factory.mktemp("plain"), **HELD_OUT))


@pytest.fixture(scope="module")
def answered(tmp_path_factory, tiny_config, train):
    """The output of the same run with samples, drawn at random, and scores."""
    keys = {"generation_temperature": 1.0, "num_generation_samples": 3, **SCORES}
    return train(tiny_config(tmp_path_factory.mktemp("answered"), **HELD_OUT, **SAMPLES, **keys))


def test_training_does_not_notice(plain, answered, losses, metrics):
    """With dropout, so that a draw too many would show."""
    assert losses(answered) == losses(plain)
    held_out = [[m["eval_loss"] for m in metrics(run) if "eval_loss" in m] for run in (plain, answered)]
    assert held_out[0] == held_out[1]
    assert not (plain / "run/samples.jsonl").exists()


def test_the_same_prompts_are_answered_at_each_evaluation(answered):
    found = samples(answered)
    assert [item["step"] for item in found] == [2, 2, 2, 4, 4, 4]
    assert [item["prompt"] for item in found[:3]] == [item["prompt"] for item in found[3:]]
    assert len({item["prompt"] for item in found}) == 3
    assert all(item["answer"] for item in found)


def test_scores_are_metrics_of_the_evaluation(answered, plain, metrics):
    found = [entry for entry in metrics(answered) if "eval_loss" in entry]
    assert [entry["eval_chrf"] >= 0 for entry in found] == [True, True]
    assert all("eval_perplexity" in entry and "eval_ter" not in entry for entry in found)
    assert not any("eval_chrf" in entry for entry in metrics(plain))


def test_a_score_can_choose_the_best_checkpoint(tmp_path, tiny_config, train):
    keys = {"load_best_model_at_end": True, "metric_for_best_model": "chrf", "greater_is_better": True}
    output = train(tiny_config(tmp_path, **HELD_OUT, **SCORES, **keys, eval_strategy="steps", save_strategy="steps"))
    state = json.loads((output / "checkpoint-4/trainer_state.json").read_text())
    assert state["best_metric"] in [entry["eval_chrf"] for entry in state["log_history"] if "eval_chrf" in entry]


def test_a_resumed_run_does_not_write_its_samples_twice(answered, tmp_path, tiny_config):
    config = tiny_config(tmp_path, **HELD_OUT, **SAMPLES)
    assert main([str(config)]) == 0
    output = tmp_path / "out"
    once = samples(output)
    for name in ("checkpoint-4", "adapter_model.safetensors"):
        (output / name).rename(tmp_path / name)
    assert main([str(config), "--resume"]) == 0
    assert samples(output) == once


@pytest.fixture(scope="module")
def answer(tmp_path_factory, tiny_config, tokenizer):
    """`answer(**keys)` returns the samples that the tiny model gives at one evaluation."""
    model = None

    def answers_of(**keys):
        nonlocal model
        folder = tmp_path_factory.mktemp("answers")
        config = load(str(tiny_config(folder, val_set_size=4, **SAMPLES | keys)))
        model = model or load_base_model(config.model, "float32").eval()
        splits = prepare_splits(config, tokenizer)
        (folder / "out/run").mkdir(parents=True)
        answers_during_training(config, splits, tokenizer, "sdpa", RunRecord(folder / "out/run"), is_main=True)(
            model, 1
        )
        return samples(folder / "out")

    return answers_of


HOT = {"generation_temperature": 2.0}


@pytest.mark.parametrize(
    ("keys", "flipped"),
    [
        ({}, {"num_generation_samples": 1}),
        ({}, {"generation_max_new_tokens": 1}),
        ({}, {"generation_prompt_ratio": 0.2}),
        ({}, {"generation_temperature": 2.0}),
        ({}, {"generation_do_sample": True}),
        (HOT, {"generation_top_k": 1}),
        (HOT, {"generation_top_p": 0.01}),
    ],
    ids=lambda keys: " ".join(keys),
)
def test_each_key_changes_the_samples(keys, flipped, answer):
    assert answer(**keys) == answer(**keys)
    assert answer(**keys) != answer(**keys | flipped)


def test_it_is_greedy_unless_something_asks_for_chance():
    def temperature(**keys):
        return sampling(EvaluationSection(**keys)).temperature

    assert temperature() == 0
    assert temperature(generation_top_k=5) == 0.7
    assert temperature(generation_temperature=0.2) == 0.2
    assert temperature(generation_do_sample=True) == 0.7
    assert temperature(generation_do_sample=False, generation_top_k=5) == 0


def test_old_keys_ask_for_the_same(tmp_path, write_config):
    config = load(str(write_config(tmp_path, eval_table_size=5, eval_max_new_tokens=7, val_set_size=2)))
    section = config.evaluation
    assert (section.generate_samples, section.num_generation_samples, section.generation_max_new_tokens) == (True, 5, 7)
    config = load(str(write_config(tmp_path, eval_table_size=0, eval_table_max_new_tokens=7, val_set_size=2)))
    assert not config.evaluation.generate_samples
    assert any("`generation_max_new_tokens`: ignored" in note for note in config.notes)


RULES = """
def test_short(answer):
    assert len(answer) < 20

def test_own(answer, row, reference):
    assert row["messages"][-1]["content"] == reference
"""


@pytest.fixture(scope="module")
def judged_config(tmp_path_factory, tiny_config, write_jsonl, chat_rows):
    """`judged_config(**evaluation)` writes a config that trains on chats, six of them held out, beside assertions."""

    def write(**evaluation):
        folder = tmp_path_factory.mktemp("judged")
        rows = write_jsonl(folder / "chats.jsonl", chat_rows(16))
        (folder / "rules.py").write_text(RULES)
        keys = HELD_OUT | {"val_set_size": 6, "datasets": [{"path": str(rows), "type": "chat_template"}]}
        section = {"assertions": "rules.py", "max_new_tokens": 8} | evaluation
        return tiny_config(folder, **keys, evaluation=section, dataset_prepared_path=str(folder / "prepared"))

    return write


def test_the_share_that_passes_is_logged_and_training_does_not_notice(judged_config, train, losses, metrics, capsys):
    plain, judged = train(judged_config()), train(judged_config(during_training=4))
    assert losses(judged) == losses(plain)
    found = [[entry for entry in metrics(run) if "eval_loss" in entry] for run in (plain, judged)]
    assert [entry["eval_loss"] for entry in found[0]] == [entry["eval_loss"] for entry in found[1]]
    assert [entry.get("eval_pass_rate") for entry in found[0]] == [None, None]
    assert all(entry["eval_pass_rate"] in (0, 0.25, 0.5, 0.75, 1) for entry in found[1])
    assert f"  pass rate {found[1][-1]['eval_pass_rate']:.0%}" in capsys.readouterr().out


def test_the_rate_is_what_the_assertions_say_of_the_answers(judged_config, tokenizer):
    config = load(str(judged_config(during_training=4)))
    splits = prepare_splits(config, tokenizer)
    answers = answers_during_training(config, splits, tokenizer, "sdpa", RunRecord(Path("none")), is_main=True)
    assertions = answers.assertions
    assert len(assertions.prompts) == 4
    assert all(
        row["messages"][-1]["content"] == prompt.expected
        for row, prompt in zip(assertions.rows, assertions.prompts, strict=True)
    )
    assert assertions.pass_rate(["short", "short", "a" * 30, "short"]) == 0.75


def test_assertions_that_do_not_load_end_the_run_before_it_starts(judged_config, capsys):
    file = judged_config(during_training=2)
    (file.parent / "rules.py").write_text("def test_x(:")
    assert main([str(file)]) == 2
    assert "does not load: SyntaxError" in capsys.readouterr().err
    assert not (file.parent / "out/run/run.json").exists()


def test_rows_without_a_prompt_can_not_be_judged(tmp_path, tiny_config, capsys):
    (tmp_path / "rules.py").write_text(RULES)
    assert (
        main([str(tiny_config(tmp_path, **HELD_OUT, evaluation={"assertions": "rules.py", "during_training": 2}))]) == 2
    )
    assert "`evaluation.during_training`: no held-out row has a prompt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"evaluation": {"during_training": 3}}, "`during_training: 3` needs `assertions`; they judge the answers"),
        (
            {"evaluation": {"during_training": 3, "assertions": "a.py"}, "deepspeed": "zero3.json"},
            "`evaluation.during_training` and `deepspeed`: a sharded model",
        ),
        (
            {"generate_samples": True, "fsdp_config": {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}},
            "and `fsdp`: a sharded model",
        ),
        ({"do_causal_lm_eval": True, "deepspeed": "zero3.json"}, "and `deepspeed`: a sharded model"),
        ({"eval_causal_lm_metrics": ["comet"]}, "does not take `comet`, which needs a large model; `chrf`"),
        ({"eval_causal_lm_metrics": ["rouge"]}, "expects 'sacrebleu', 'chrf', 'ter' or 'perplexity', found 'rouge'"),
        ({"num_generation_samples": 0}, "must be at least 1"),
    ],
)
def test_what_cannot_be_is_a_fault(keys, why, tmp_path, write_config):
    with pytest.raises(ConfigError) as error:
        load(str(write_config(tmp_path, val_set_size=2, **keys)))
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"generate_samples": True, "val_set_size": None}, "`generate_samples`: ignored: there are no rows"),
        (
            {"do_causal_lm_eval": True, "eval_strategy": "no"},
            "`do_causal_lm_eval`: ignored: `eval_strategy: no`",
        ),
        (
            {"evaluation": {"during_training": 3, "assertions": "a.py"}, "eval_strategy": "no"},
            "`evaluation.during_training`: ignored: `eval_strategy: no`",
        ),
        ({"generation_top_k": 3}, "`generation_top_k`: ignored: only with `generate_samples: true`"),
        ({"generation_max_new_tokens": 3}, "ignored: only with `generate_samples: true` or `do_causal_lm_eval: true`"),
        ({"eval_causal_lm_metrics": ["chrf"]}, "ignored: only with `do_causal_lm_eval: true`"),
        (
            {"generate_samples": True, "generation_do_sample": False, "generation_top_p": 0.5},
            "`generation_top_p`: ignored: `generation_do_sample: false` is greedy decoding",
        ),
    ],
)
def test_keys_that_change_nothing_are_named(keys, why, tmp_path, write_config):
    notes = load(str(write_config(tmp_path, **{"val_set_size": 2} | keys))).notes
    assert any(why in note for note in notes), notes


def test_of_a_chat_the_prompt_is_the_one_that_is_served(tmp_path, write_config, chat_rows, tokenizer):
    config, rows = load(str(write_config(tmp_path))), chat_rows(8)
    (spec,) = format_specs(config.data.datasets, config.data, config.model, tokenizer, config.source)
    for row in prepare_splits(config, tokenizer).train:
        asked = split(
            Example(row["input_ids"], row["labels"]), 0.5, tokenizer, find_hidden_tokens(tokenizer, spec.template)
        )
        expected = question(rows[row["row"] - 1], spec, tokenizer)
        assert asked.input_ids == expected.input_ids
        assert asked.expected == expected.reference


def test_a_sample_is_cut_before_its_last_answer_or_by_a_share(tokenizer):
    ids = tokenizer("one two three four five six seven eight").input_ids
    off = [MASKED] * len(ids)
    two_answers = [MASKED, *ids[1:3], MASKED, MASKED, *ids[5:7], *off[7:]]
    assert split(Example(ids, two_answers), 0.5, tokenizer, ()).input_ids == ids[:5]
    assert split(Example(ids, two_answers), 0.5, tokenizer, ()).expected == tokenizer.decode(ids[5:7])
    assert split(Example(ids, ids), 0.25, tokenizer, ()).input_ids == ids[:2]
    assert split(Example(ids, [MASKED, *ids[1:]]), 0.25, tokenizer, ()).input_ids == ids[:2]
    assert split(Example(ids, ids), 0.0, tokenizer, ()).input_ids == ids[:1]
    assert len(split(Example(ids, off), 0.5, tokenizer, ()).input_ids) == 1


def test_scores_are_those_of_sacrebleu():
    names = ["sacrebleu", "chrf", "ter", "perplexity"]
    expected = ["The capital of France is Paris."]
    assert scores(names, expected, expected) == {"sacrebleu": pytest.approx(100), "chrf": 100, "ter": 0}
    assert scores(["ter"], ["The capital of France is Rome."], expected) == {"ter": pytest.approx(100 / 6)}


def test_without_sacrebleu_the_run_does_not_start(tmp_path, tiny_config, monkeypatch, capsys):
    monkeypatch.setattr(answering, "find_spec", lambda name: None)
    assert main([str(tiny_config(tmp_path, **HELD_OUT, **SCORES))]) == 2
    assert "needs sacrebleu: pip install 'tunesmith[metrics]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_model_learns_to_answer(tmp_path, write_config, write_jsonl, chat_rows, train, metrics):
    rows = write_jsonl(tmp_path / "chat.jsonl", chat_rows(40))
    keys = {"val_set_size": 4, "max_steps": 3, "eval_steps": 1, "learning_rate": 4e-3, "sample_packing": True}
    config = write_config(
        tmp_path,
        datasets=[{"path": str(rows), "type": "chat_template"}],
        **{**keys, "sequence_len": 128, "save_strategy": "no", "do_causal_lm_eval": True},
        generate_samples=True,
        generation_max_new_tokens=12,
    )
    output = train(config)
    last = samples(output)[-1]
    assert last["prompt"].endswith("<|im_start|>assistant\n")
    assert last["answer"].startswith("It is ")
    assert last["answer"].endswith(".")
    assert last["expected"].startswith("It is ")
    # The learning rate of the first step is zero, so that the first scores are those of the base.
    base, *_, tuned = (entry for entry in metrics(output) if "eval_chrf" in entry)
    assert tuned["eval_chrf"] > base["eval_chrf"] + 10
    assert tuned["eval_sacrebleu"] > base["eval_sacrebleu"] + 10
    assert tuned["eval_ter"] < base["eval_ter"] - 10
