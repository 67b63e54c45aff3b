"""Which way a metric is better: one table, which everything that looks for the best reads."""

import pytest

from tunesmith.config.metrics import GREATER_IS_BETTER, best_evaluation, greater_is_better, metric_kind


@pytest.mark.parametrize(
    ("metric", "greater"),
    [
        ("eval_loss", False),
        ("loss", False),
        ("eval_code_loss", False),
        ("eval_perplexity", False),
        ("eval_ter", False),
        ("eval_reward_rejected", False),
        ("reward_margin", True),
        ("eval_reward_accuracy", True),
        ("eval_chrf", True),
        ("eval_sacrebleu", True),
        ("eval_pass_rate", True),
    ],
)
def test_losses_are_better_when_lower_and_scores_when_higher(metric, greater):
    assert metric_kind(metric) in GREATER_IS_BETTER
    assert greater_is_better(metric, None) is greater
    assert greater_is_better(metric, not greater) is not greater  # the config has the last word


def test_the_best_evaluation_is_the_first_of_the_best_ones():
    entries = [
        {"step": 1, "eval_loss": 2.0, "eval_chrf": 30.0},
        {"step": 2, "eval_loss": 1.0},
        {"step": 3, "eval_loss": 1.0, "eval_chrf": 10.0},
    ]
    assert best_evaluation(entries, "eval_loss", None)["step"] == 2
    assert best_evaluation(entries, "chrf", None)["step"] == 1
    assert best_evaluation(entries, "chrf", False)["step"] == 3
    assert best_evaluation(entries, "eval_pass_rate", None) is None
