"""How the trained model is judged."""

from tunesmith.config.sections.section import Count, Section


class Evaluation(Section):
    """The `evaluation:` block."""

    assertions: str | None = None
    """Python file whose `test_*` functions judge an answer."""
    max_new_tokens: Count = 256
    """Longest answer generated, in tokens."""
    max_rows: Count | None = None
    """Generate answers for at most this many held-out rows; by default for all."""
    batch_size: Count = 16
    """Answers generated at once."""


class EvaluationSection(Section):
    """How `evaluate` judges the model."""

    evaluation: Evaluation = Evaluation()
    """Assertions and how answers are generated."""
